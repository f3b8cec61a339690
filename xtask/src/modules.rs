//! Kernel modules: which ones an image carries, with everything that they need.
//!
//! `depmod` reads the modules; its text files are the source of names, dependencies and aliases.
//! `modules.dep` leaves out soft dependencies (ext4 needs `crc32c`, by name only), so they are followed
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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
    file: String,
    sha256: String,
    size: u64,
    depends: Vec<&'a str>,
    softdeps: Vec<&'a str>,
    aliases: &'a [String],
}

impl Modules {
    /// Reads the modules of an unpacked kernel package.
    pub fn read(package: &Path) -> Result<Modules> {
        let base = package.join("usr/lib/modules");
        let mut releases = fs::read_dir(&base).with_context(|| format!("listing {}", base.display()))?;
        let Some(Ok(release)) = releases.next() else { bail!("no kernel release in {}", base.display()) };
        let kernel = release.file_name().to_string_lossy().into_owned();
        run_depmod(package, &kernel)?;
        let folder = release.path();
        let text = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| format!("reading {name} of kernel {kernel}"));
        let modules = parse(&folder, &Lists { dep: &text("modules.dep")?, alias: &text("modules.alias")?, softdep: &text("modules.softdep")? });
        ensure!(!modules.is_empty(), "depmod found no modules of kernel {kernel}");
        Ok(Modules { kernel, modules })
    }

    /// The names that a selection comes to, with everything that they need.
    pub fn select(&self, selection: &Selection) -> Result<BTreeSet<String>> {
        let mut chosen = BTreeSet::new();
        for folder in &selection.folders {
            let found = self.under(folder);
            ensure!(!found.is_empty(), "kernel {} has no modules in {folder}", self.kernel);
            chosen.extend(found);
        }
        for unwanted in &selection.without {
            let found = if unwanted.contains('/') { self.under(unwanted) } else { vec![underscored(unwanted)] };
            ensure!(found.iter().any(|name| chosen.contains(name)), "`without` names {unwanted}, which is not taken anyway");
            chosen.retain(|name| !found.contains(name));
        }
        for name in &selection.modules {
            let name = underscored(name);
            ensure!(self.modules.contains_key(&name), "kernel {} has no module {name}", self.kernel);
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
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let step = progress::items("gathering modules", names.len() as u64);
        let mut entries = BTreeMap::new();
        for (name, module) in self.chosen(names) {
            let data = fs::read(&module.path).with_context(|| format!("reading {}", module.path.display()))?;
            let file = format!("{name}.ko.xz");
            let path = folder.join(&file);
            fs::write(&path, &data).with_context(|| format!("writing {}", path.display()))?;
            entries.insert(name, module.entry(file, &data, names));
            step.advance(1);
        }
        let total: u64 = entries.values().map(|entry| entry.size).sum();
        let path = folder.join("index.json");
        fs::write(&path, self.index(entries)?).with_context(|| format!("writing {}", path.display()))?;
        step.done(&format!("{} modules, {}", names.len(), progress::size(total)));
        Ok(())
    }

    /// Puts the modules, unpacked, and their index into an initramfs: the whole of it is compressed
    /// later, and much better than each module by itself.
    pub fn add_to(&self, archive: &mut Archive, names: &BTreeSet<String>) -> Result<()> {
        let mut entries = BTreeMap::new();
        for (name, module) in self.chosen(names) {
            let data = unpack(&module.path)?;
            let file = format!("{name}.ko");
            entries.insert(name, module.entry(file.clone(), &data, names));
            archive.file(&format!("{INITRAMFS_FOLDER}/{file}"), 0o644, data);
        }
        archive.file(&format!("{INITRAMFS_FOLDER}/index.json"), 0o644, self.index(entries)?);
        Ok(())
    }

    fn under(&self, folder: &str) -> Vec<String> {
        let prefix = format!("kernel/{}/", folder.trim_end_matches('/'));
        self.modules.iter().filter(|(_, module)| module.place.starts_with(&prefix)).map(|(name, _)| name.clone()).collect()
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

    fn chosen<'a>(&'a self, names: &'a BTreeSet<String>) -> impl Iterator<Item = (&'a str, &'a Module)> {
        self.modules.iter().filter(|(name, _)| names.contains(*name)).map(|(name, module)| (name.as_str(), module))
    }

    fn index(&self, modules: BTreeMap<&str, IndexEntry>) -> Result<Vec<u8>> {
        serde_json::to_vec(&Index { kernel: &self.kernel, modules }).context("encoding the module index")
    }
}

impl Module {
    fn entry<'a>(&'a self, file: String, data: &[u8], shipped: &BTreeSet<String>) -> IndexEntry<'a> {
        let there = |names: &'a [String]| names.iter().filter(|name| shipped.contains(*name)).map(String::as_str).collect();
        IndexEntry {
            file,
            sha256: stamp::sha256(data),
            size: data.len() as u64,
            depends: there(&self.depends),
            softdeps: there(&self.softdeps),
            aliases: &self.aliases,
        }
    }
}

/// Has depmod write its lists, once.
fn run_depmod(package: &Path, kernel: &str) -> Result<()> {
    let done = package.join(".depmod");
    if done.exists() {
        return Ok(());
    }
    // Older kmod looks in /lib/modules, newer in /usr/lib/modules.
    let link = package.join("lib");
    if link.symlink_metadata().is_err() {
        std::os::unix::fs::symlink("usr/lib", &link).with_context(|| format!("linking {}", link.display()))?;
    }
    let step = progress::spinner(format!("reading the modules of kernel {kernel}"));
    process::run(process::system_tool("depmod").arg("-b").arg(package).arg(kernel))?;
    step.done("dependencies and aliases known");
    fs::write(&done, "").with_context(|| format!("writing {}", done.display()))
}

/// What depmod wrote.
struct Lists<'a> {
    dep: &'a str,
    alias: &'a str,
    softdep: &'a str,
}

fn parse(folder: &Path, lists: &Lists) -> BTreeMap<String, Module> {
    let mut modules = BTreeMap::new();
    for (place, needs) in lists.dep.lines().filter_map(|line| line.split_once(':')) {
        let module = Module {
            path: folder.join(place),
            place: place.to_owned(),
            depends: needs.split_whitespace().map(name_of_place).collect(),
            softdeps: Vec::new(),
            aliases: Vec::new(),
        };
        modules.insert(name_of_place(place), module);
    }
    let mut by_alias: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (alias, name) in lists.alias.lines().filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' ')) {
        if let Some(module) = modules.get_mut(name) {
            module.aliases.push(alias.to_owned());
            by_alias.entry(alias).or_default().push(name.to_owned());
        }
    }
    for line in lists.softdep.lines().filter_map(|line| line.strip_prefix("softdep ")) {
        let Some((name, needs)) = line.split_once(' ') else { continue };
        let known: BTreeSet<String> = modules.keys().cloned().collect();
        if let Some(module) = modules.get_mut(&underscored(name)) {
            module.softdeps.extend(soft_dependencies(needs, &known, &by_alias));
        }
    }
    modules
}

/// The modules before `post:` of a soft dependency. One that is neither a module nor an alias is built
/// into the kernel, or not there at all.
fn soft_dependencies(needs: &str, known: &BTreeSet<String>, by_alias: &BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let before = needs.split("post:").next().unwrap_or_default();
    let mut found = Vec::new();
    for word in before.split_whitespace().filter(|word| *word != "pre:") {
        let name = underscored(word);
        if known.contains(&name) {
            found.push(name);
        } else {
            found.extend(by_alias.get(word).into_iter().flatten().cloned());
        }
    }
    found
}

/// `kernel/fs/nls/nls_iso8859-1.ko.xz` is module `nls_iso8859_1`.
fn name_of_place(place: &str) -> String {
    let file = place.rsplit('/').next().unwrap_or(place);
    underscored(file.split(".ko").next().unwrap_or(file))
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let packed = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(packed);
    }
    let mut data = Vec::new();
    let mut reader = lzma_rust2::XzReader::new(packed.as_slice(), true);
    std::io::copy(&mut reader, &mut data).with_context(|| format!("unpacking {}", path.display()))?;
    Ok(data)
}

#[cfg(test)]
mod tests;
