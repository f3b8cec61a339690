//! Debian packages through a private apt state: the machine's own apt is neither used nor changed.
//!
//! apt checks the archive's signature with the archive's keyring and every package against the signed
//! lists. The suite comes from a recipe, the mirror from the machine's own sources or `--mirror`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::mirror::{self, Mirror};
use crate::{process, progress, stamp, workspace};

/// The keyring that Debian's suites are signed with; package `debian-archive-keyring`.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Package lists younger than this are taken as they are.
const LISTS_ARE_FRESH: Duration = Duration::from_secs(24 * 3600);

/// A package as the signed lists describe it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// SHA-256 of the package file, in hexadecimal.
    pub sha256: String,
    /// The `Depends` field.
    #[serde(skip)]
    pub depends: String,
}

/// One suite of one mirror, with lists and a download cache of its own.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    suite: String,
    sources: String,
}

impl Apt {
    /// Opens the private state of a suite and brings its lists up to date. `mirror` overrides the
    /// machine's own sources.
    pub fn open(suite: &str, mirror: Option<&str>) -> Result<Apt> {
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing: install the package debian-archive-keyring"
        );
        let mirror = match mirror {
            Some(url) => Mirror {
                archive: url.trim_end_matches('/').to_owned(),
                security: None,
            },
            None => mirror::of_this_machine()?,
        };
        let sources = mirror.sources(suite, KEYRING);
        let name = format!("{suite}-{}", &stamp::sha256(sources.as_bytes())[..8]);
        let apt = Apt {
            folder: workspace::cache().join("apt").join(name),
            suite: suite.to_owned(),
            sources,
        };
        apt.prepare()?;
        apt.update()?;
        Ok(apt)
    }

    /// The suite.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The lines of a sources.list for this suite, `signed-by` included.
    pub fn sources(&self) -> &str {
        &self.sources
    }

    /// The private apt.conf, for `APT_CONFIG`.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    /// The candidate of a package.
    pub fn package(&self, name: &str) -> Result<Package> {
        let shown = process::run(
            self.tool("apt-cache")
                .args(["show", "--no-all-versions", name]),
        )
        .with_context(|| format!("looking for package {name} in {}", self.suite))?;
        parse_package(&shown).with_context(|| format!("reading what apt knows of package {name}"))
    }

    /// The package with the kernel itself that a metapackage such as `linux-image-amd64` depends on.
    pub fn kernel(&self, metapackage: &str) -> Result<Package> {
        let depends = self.package(metapackage)?.depends;
        let name = kernel_dependency(&depends)
            .with_context(|| format!("looking for the kernel of {metapackage} in `{depends}`"))?;
        self.package(&name)
    }

    /// Downloads a package unless it is there, and returns its file, whose hash is that of the lists.
    pub fn download(&self, package: &Package) -> Result<PathBuf> {
        let folder = self.folder.join("debs");
        let file = folder.join(package_file_name(package));
        if file.exists() && stamp::sha256_of(&file)? == package.sha256 {
            return Ok(file);
        }
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let step = progress::spinner(format!("downloading {} {}", package.name, package.version));
        let wanted = format!("{}={}", package.name, package.version);
        process::run(
            self.tool("apt-get")
                .args(["download", &wanted])
                .current_dir(&folder),
        )?;
        ensure!(file.exists(), "apt-get download left no {}", file.display());
        let found = stamp::sha256_of(&file)?;
        ensure!(
            found == package.sha256,
            "{} has the hash {found}, not {}",
            file.display(),
            package.sha256
        );
        step.done(&progress::size(
            fs::metadata(&file).map_or(0, |data| data.len()),
        ));
        Ok(file)
    }

    /// Downloads a package and unpacks its files below `into`; its scripts do not run.
    pub fn extract(&self, package: &Package, into: &Path) -> Result<()> {
        let file = self.download(package)?;
        fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
        process::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(into)).map(drop)
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.configuration())
            .env("LC_ALL", "C.UTF-8");
        command
    }

    fn prepare(&self) -> Result<()> {
        for name in ["lists/partial", "cache/archives/partial", "dpkg", "debs"] {
            let folder = self.folder.join(name);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        self.write("dpkg/status", "")?;
        self.write("sources.list", &self.sources)?;
        let base = self.folder.display();
        self.write(
            "apt.conf",
            &format!(
                "Dir::State \"{base}\";\n\
             Dir::State::status \"{base}/dpkg/status\";\n\
             Dir::State::lists \"{base}/lists\";\n\
             Dir::Cache \"{base}/cache\";\n\
             Dir::Etc::sourcelist \"{base}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::main \"/dev/null\";\n\
             Dir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             {}",
                proxy_settings()
            ),
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn update(&self) -> Result<()> {
        let done = self.folder.join("updated");
        let age = fs::metadata(&done)
            .and_then(|data| data.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age < LISTS_ARE_FRESH) {
            return Ok(());
        }
        let step = progress::spinner(format!("reading the package lists of {}", self.suite));
        // Without this mode apt ends with success although a list could not be fetched.
        let updated = process::run(self.tool("apt-get").args([
            "-o",
            "APT::Update::Error-Mode=any",
            "update",
        ]));
        match updated {
            Ok(_) => {
                step.done("up to date");
                fs::write(&done, "").with_context(|| format!("writing {}", done.display()))
            }
            // Offline, what was fetched once is still good.
            Err(error) if age.is_some() => {
                step.done(&format!("not reached, the older lists are used: {error:#}"));
                Ok(())
            }
            Err(error) => {
                Err(error.context(format!("reading the package lists of {}", self.suite)))
            }
        }
    }
}

/// The machine's own proxy settings, as lines of an apt.conf. Everything else in its configuration
/// (hooks, pins, other suites) stays out.
fn proxy_settings() -> String {
    let wanted: [OsString; 3] = [
        "dump".into(),
        "Acquire::http".into(),
        "Acquire::https".into(),
    ];
    let dump = process::run(Command::new("apt-config").args(wanted)).unwrap_or_default();
    dump.lines()
        .filter(|line| line.starts_with("Acquire::http"))
        .fold(String::new(), |text, line| text + line + "\n")
}

fn package_file_name(package: &Package) -> String {
    // apt writes the colon of an epoch as %3a.
    format!(
        "{}_{}_{}.deb",
        package.name,
        package.version.replace(':', "%3a"),
        package.architecture
    )
}

fn parse_package(shown: &str) -> Result<Package> {
    let stanza = shown.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| {
        let lines = stanza.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    let required = |name: &str| field(name).with_context(|| format!("no field {name}"));
    Ok(Package {
        name: required("Package")?,
        version: required("Version")?,
        architecture: required("Architecture")?,
        sha256: required("SHA256")?,
        depends: field("Depends").unwrap_or_default(),
    })
}

/// The first dependency that is a kernel image, without its version.
fn kernel_dependency(depends: &str) -> Result<String> {
    let names = depends
        .split([',', '|'])
        .filter_map(|part| part.split_whitespace().next());
    match names
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
    {
        Some(name) => Ok(name.to_owned()),
        None => bail!("no linux-image package among the dependencies"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Package: linux-image-amd64\n\
        Source: linux-signed-amd64 (6.12.1+1)\n\
        Version: 6.12.1-1\n\
        Architecture: amd64\n\
        Depends: linux-image-6.12.1+deb13-amd64 (= 6.12.1-1), linux-base | old\n\
        Description: Linux: for 64-bit PCs\n\
        SHA256: 00ff\n\
        \n\
        Package: linux-image-amd64\n\
        Version: 1\n";

    #[test]
    fn the_first_stanza_counts() {
        let package = parse_package(SHOWN).unwrap();
        assert_eq!(package.version, "6.12.1-1");
        assert_eq!(
            kernel_dependency(&package.depends).unwrap(),
            "linux-image-6.12.1+deb13-amd64"
        );
        assert_eq!(
            package_file_name(&package),
            "linux-image-amd64_6.12.1-1_amd64.deb"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse_package("Package: x\nVersion: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "no field Architecture");
        assert!(kernel_dependency("libc6, grub | lilo").is_err());
    }

    #[test]
    fn an_epoch_is_escaped_in_a_file_name() {
        let package = Package {
            version: "1:7.2+dfsg-1".into(),
            ..parse_package(SHOWN).unwrap()
        };
        assert_eq!(
            package_file_name(&package),
            "linux-image-amd64_1%3a7.2+dfsg-1_amd64.deb"
        );
    }
}
