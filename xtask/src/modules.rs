//! Kernel modules: which ones an image carries, with everything that they need.
//!
//! Names, dependencies and aliases come from [`depmod`].

mod depmod;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::initramfs::Archive;
use crate::{process, progress, stamp};

/// Where an initramfs has its modules and their index.
const INITRAMFS_FOLDER: &str = "lib/hardway/modules";

/// A list of modules in a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Folders below `kernel/`, taken with all that is in them.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Single modules.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Modules and folders that are left out, unless something that is taken needs them.
    #[serde(default)]
    pub without: Vec<String>,
}

/// Every module of one kernel.
#[derive(Debug)]
pub struct Modules {
    /// The kernel's release, as `uname -r` gives it.
    pub kernel: String,
    /// By name, with underscores.
    modules: BTreeMap<String, Module>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    path: PathBuf,
    /// Path below the folder of the release: `kernel/drivers/…`.
    place: String,
    depends: Vec<String>,
    softdeps: Vec<String>,
    aliases: Vec<String>,
}

/// `index.json`: what the inits read.
#[derive(Debug, Serialize)]
struct Index<'a> {
    kernel: &'a str,
    modules: BTreeMap<&'a str, IndexEntry<'a>>,
}

#[derive(Debug, Serialize)]
struct IndexEntry<'a> {
    file: &'a str,
    sha256: &'a str,
    size: u64,
    depends: Vec<&'a str>,
    softdeps: Vec<&'a str>,
    aliases: &'a [String],
}

impl Modules {
    /// Reads the modules of an unpacked kernel package.
    pub fn read(package: &Path) -> Result<Modules> {
        let base = package.join("usr/lib/modules");
        let mut releases =
            fs::read_dir(&base).with_context(|| format!("listing {}", base.display()))?;
        let Some(Ok(release)) = releases.next() else {
            bail!("no kernel release in {}", base.display())
        };
        let kernel = release.file_name().to_string_lossy().into_owned();
        let modules = depmod::read(package, &kernel, &release.path())?;
        ensure!(
            !modules.is_empty(),
            "depmod found no modules of kernel {kernel}"
        );
        Ok(Modules { kernel, modules })
    }

    /// The names that a selection comes to, with everything that they need.
    pub fn select(&self, selection: &Selection) -> Result<BTreeSet<String>> {
        let mut chosen = BTreeSet::new();
        for folder in &selection.folders {
            let found = self.under(folder);
            ensure!(
                !found.is_empty(),
                "kernel {} has no modules in {folder}",
                self.kernel
            );
            chosen.extend(found);
        }
        for unwanted in &selection.without {
            let found = if unwanted.contains('/') {
                self.under(unwanted)
            } else {
                vec![depmod::underscored(unwanted)]
            };
            ensure!(
                found.iter().any(|name| chosen.contains(name)),
                "`without` names {unwanted}, which is not taken anyway"
            );
            chosen.retain(|name| !found.contains(name));
        }
        for name in &selection.modules {
            let name = depmod::underscored(name);
            ensure!(
                self.modules.contains_key(&name),
                "kernel {} has no module {name}",
                self.kernel
            );
            chosen.insert(name);
        }
        Ok(self.with_needs(chosen))
    }

    /// Writes the modules as they are in the package, and their index, into a folder that is emptied
    /// first.
    pub fn write_store(&self, names: &BTreeSet<String>, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        let step = progress::spinner("gathering modules");
        let files = self.gather(names, folder, Form::Packed)?;
        let index = folder.join("index.json");
        fs::write(&index, self.index(&files, names)?)
            .with_context(|| format!("writing {}", index.display()))?;
        let total: u64 = files.values().map(|file| file.size).sum();
        step.done(&format!(
            "{} modules, {}",
            names.len(),
            progress::size(total)
        ));
        Ok(())
    }

    /// Puts the modules, unpacked, and their index into an initramfs: the whole of it is compressed
    /// later, and much better than each module by itself.
    pub fn add_to(&self, archive: &mut Archive, names: &BTreeSet<String>) -> Result<()> {
        let step = progress::spinner("unpacking modules");
        let scratch = tempfile::tempdir().context("making a scratch folder")?;
        let files = self.gather(names, scratch.path(), Form::Unpacked)?;
        for file in files.values() {
            let data =
                fs::read(&file.path).with_context(|| format!("reading {}", file.path.display()))?;
            archive.file(&format!("{INITRAMFS_FOLDER}/{}", file.name), 0o644, data);
        }
        archive.file(
            &format!("{INITRAMFS_FOLDER}/index.json"),
            0o644,
            self.index(&files, names)?,
        );
        step.done(&format!("{} modules", names.len()));
        Ok(())
    }
    /// Copies modules into a folder, named by their own names.
    fn gather(
        &self,
        names: &BTreeSet<String>,
        folder: &Path,
        form: Form,
    ) -> Result<BTreeMap<&str, ModuleFile>> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let chosen: Vec<&str> = self
            .modules
            .keys()
            .filter(|name| names.contains(*name))
            .map(String::as_str)
            .collect();
        let mut paths = Vec::new();
        for name in &chosen {
            let path = folder.join(format!("{name}.ko.xz"));
            let packed = &self.modules[*name].path;
            fs::copy(packed, &path).with_context(|| format!("copying {}", packed.display()))?;
            paths.push(path);
        }
        if form == Form::Unpacked {
            process::run(Command::new("xz").args(["--decompress", "--"]).args(&paths))?;
            paths = paths.iter().map(|path| path.with_extension("")).collect();
        }
        let hashes = stamp::sha256_of_all(&paths)?;
        let files = paths
            .into_iter()
            .zip(hashes)
            .map(|(path, sha256)| ModuleFile::new(path, sha256))
            .collect::<Result<Vec<_>>>()?;
        Ok(chosen.into_iter().zip(files).collect())
    }

    fn under(&self, folder: &str) -> Vec<String> {
        let prefix = format!("kernel/{}/", folder.trim_end_matches('/'));
        self.modules
            .iter()
            .filter(|(_, module)| module.place.starts_with(&prefix))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn with_needs(&self, mut chosen: BTreeSet<String>) -> BTreeSet<String> {
        let mut waiting: Vec<String> = chosen.iter().cloned().collect();
        while let Some(module) = waiting.pop().and_then(|name| self.modules.get(&name)) {
            for needed in module.depends.iter().chain(&module.softdeps) {
                if chosen.insert(needed.clone()) {
                    waiting.push(needed.clone());
                }
            }
        }
        chosen
    }

    fn index(
        &self,
        files: &BTreeMap<&str, ModuleFile>,
        names: &BTreeSet<String>,
    ) -> Result<Vec<u8>> {
        let modules = files
            .iter()
            .map(|(name, file)| (*name, self.modules[*name].entry(file, names)))
            .collect();
        serde_json::to_vec(&Index {
            kernel: &self.kernel,
            modules,
        })
        .context("encoding the module index")
    }
}

/// Whether modules are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Packed,
    Unpacked,
}

/// A module's file in an image.
#[derive(Debug)]
struct ModuleFile {
    path: PathBuf,
    name: String,
    sha256: String,
    size: u64,
}

impl ModuleFile {
    fn new(path: PathBuf, sha256: String) -> Result<ModuleFile> {
        let size = fs::metadata(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .len();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(ModuleFile {
            path,
            name,
            sha256,
            size,
        })
    }
}

impl Module {
    fn entry<'a>(&'a self, file: &'a ModuleFile, shipped: &BTreeSet<String>) -> IndexEntry<'a> {
        let there = |names: &'a [String]| {
            names
                .iter()
                .filter(|name| shipped.contains(*name))
                .map(String::as_str)
                .collect()
        };
        IndexEntry {
            file: &file.name,
            sha256: &file.sha256,
            size: file.size,
            depends: there(&self.depends),
            softdeps: there(&self.softdeps),
            aliases: &self.aliases,
        }
    }
}

#[cfg(test)]
mod tests;
