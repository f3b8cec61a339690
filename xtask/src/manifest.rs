//! What an image is made of: `manifest.json` for reading, `sbom.spdx.json` (SPDX 2.3) for scanners.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::apt::Package;
use crate::{process, stamp, workspace};

/// What an image is made of.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// The image's name.
    pub image: String,
    /// The suite that its packages come from.
    pub suite: String,
    /// Its packages.
    pub packages: Vec<Package>,
    /// What came of them, and of this workspace.
    pub files: Vec<BuiltFile>,
}

/// One file of an image.
#[derive(Debug, Serialize)]
pub struct BuiltFile {
    /// Its name within the image's folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// A manifest without files.
    pub fn new(image: &str, suite: &str, mut packages: Vec<Package>) -> Manifest {
        packages.sort();
        Manifest {
            image: image.to_owned(),
            suite: suite.to_owned(),
            packages,
            files: Vec::new(),
        }
    }

    /// Adds a file of `folder` by its name.
    pub fn add_file(&mut self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name);
        let size = fs::metadata(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .len();
        self.files.push(BuiltFile {
            name: name.to_owned(),
            size,
            sha256: stamp::sha256_of(&path)?,
        });
        Ok(())
    }

    /// Writes `manifest.json` and `sbom.spdx.json` into a folder. The SBOM also has the crates that
    /// `binaries` (packages of this workspace) are linked from.
    pub fn write(&self, folder: &Path, binaries: &[&str]) -> Result<()> {
        write_json(
            &folder.join("manifest.json"),
            &serde_json::to_value(self).context("encoding the manifest")?,
        )?;
        write_json(
            &folder.join("sbom.spdx.json"),
            &self.sbom(&crates(binaries)?),
        )
    }

    fn sbom(&self, crates: &[Crate]) -> Value {
        let image = json!({
            "SPDXID": "SPDXRef-image", "name": self.image, "downloadLocation": "NOASSERTION",
            "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        });
        let packages = self.packages.iter().map(debian_package);
        let all: Vec<Value> = std::iter::once(image)
            .chain(packages)
            .chain(crates.iter().map(Crate::entry))
            .collect();
        let contains = |entry: &Value| {
            json!({
                "spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"],
            })
        };
        let described = json!({
            "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image",
        });
        let relationships: Vec<Value> = std::iter::once(described)
            .chain(all.iter().skip(1).map(contains))
            .collect();
        // The namespace has to be unique for each document: it carries the hash of the content. The
        // time is a fixed one, so that equal inputs give an equal file.
        let identity = stamp::sha256(json!([&all, &self.files]).to_string().as_bytes());
        json!({
            "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
            "name": format!("hardway-{}", self.image),
            "documentNamespace": format!("urn:hardway:{}:{identity}", self.image),
            "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: hardway-xtask"]},
            "packages": all, "relationships": relationships,
        })
    }
}

/// One crate of the dependency graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Crate {
    name: String,
    version: String,
    license: Option<String>,
    id: String,
}

impl Crate {
    fn entry(&self) -> Value {
        let license = self
            .license
            .as_deref()
            .map(|text| text.replace('/', " OR "));
        json!({
            "SPDXID": identifier("crate", &self.name, &self.version), "name": self.name, "versionInfo": self.version,
            "downloadLocation": "NOASSERTION", "licenseConcluded": "NOASSERTION",
            "licenseDeclared": license.as_deref().unwrap_or("NOASSERTION"), "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": format!("pkg:cargo/{}@{}", self.name, self.version),
            }],
        })
    }
}

fn debian_package(package: &Package) -> Value {
    json!({
        "SPDXID": identifier("deb", &package.name, &package.version), "name": package.name, "versionInfo": package.version,
        "downloadLocation": "NOASSERTION", "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.sha256}],
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": format!(
                "pkg:deb/debian/{}@{}?arch={}", package.name, package.version.replace('+', "%2B"), package.architecture
            ),
        }],
    })
}

/// SPDX allows letters, digits, `.` and `-` in an identifier.
fn identifier(kind: &str, name: &str, version: &str) -> String {
    let text = format!("SPDXRef-{kind}-{name}-{version}");
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// Every crate that the workspace's packages are linked from: normal dependencies on this platform.
fn crates(binaries: &[&str]) -> Result<Vec<Crate>> {
    let mut found = Vec::new();
    for binary in binaries {
        let tree = process::run(
            Command::new("cargo")
                .args([
                    "tree",
                    "--quiet",
                    "--offline",
                    "--edges",
                    "normal",
                    "--prefix",
                    "none",
                    "--format",
                    "{p}\t{l}",
                ])
                .args(["--package", binary])
                .current_dir(workspace::root()),
        )?;
        found.extend(tree.lines().filter_map(parse_tree_line));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// `serde v1.0.0 (proc-macro)<tab>MIT OR Apache-2.0`; a crate that was printed before has ` (*)`.
fn parse_tree_line(line: &str) -> Option<Crate> {
    let (package, license) = line.split_once('\t')?;
    let mut words = package.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let license = license.trim_end_matches("(*)").trim();
    Some(Crate {
        name: name.to_owned(),
        version: version.to_owned(),
        license: (!license.is_empty()).then(|| license.to_owned()),
        id: identifier("crate", name, version),
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = format!("{value:#}\n");
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sbom_names_packages_and_crates_with_their_purls() {
        let package = Package {
            name: "ipxe".into(),
            version: "1.21+git-1".into(),
            architecture: "all".into(),
            sha256: "00".into(),
            depends: String::new(),
        };
        let manifest = Manifest::new("agent", "trixie", vec![package]);
        let sbom = manifest
            .sbom(&[parse_tree_line("zstd-sys v2.0.16+zstd.1.5.7\tMIT/Apache-2.0 (*)").unwrap()]);
        let purl =
            |index: usize| sbom["packages"][index]["externalRefs"][0]["referenceLocator"].clone();
        assert_eq!(purl(1), "pkg:deb/debian/ipxe@1.21%2Bgit-1?arch=all");
        assert_eq!(purl(2), "pkg:cargo/zstd-sys@2.0.16+zstd.1.5.7");
        assert_eq!(
            sbom["packages"][2]["SPDXID"],
            "SPDXRef-crate-zstd-sys-2.0.16-zstd.1.5.7"
        );
        assert_eq!(sbom["packages"][2]["licenseDeclared"], "MIT OR Apache-2.0");
        assert_eq!(sbom["relationships"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn lines_of_cargo_tree() {
        let line = parse_tree_line("hardway-agent v0.1.0 (/somewhere)\tApache-2.0 OR MIT").unwrap();
        assert_eq!(
            (line.name.as_str(), line.version.as_str()),
            ("hardway-agent", "0.1.0")
        );
        assert_eq!(parse_tree_line(""), None);
    }
}
