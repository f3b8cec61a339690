//! `image agent`: what machines fetch. Kernel, initramfs, boot programs, and the store of modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::apt::{Apt, Package};
use crate::binaries::{self, Program};
use crate::disk::grub;
use crate::kernel::{self, Kernel};
use crate::manifest::Manifest;
use crate::modules::Selection;
use crate::stamp::Stamp;
use crate::{progress, stamp, workspace};

/// Kernel and initramfs together travel to every machine: more than this is a mistake.
const LARGEST_DOWNLOAD: u64 = 25_000_000;

/// What is made here, beside the boot files that packages bring.
const OWN_FILES: [&str; 3] = ["vmlinuz", "agent.initramfs", "local-disk.efi"];

/// `recipe.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Debian suite.
    pub suite: String,
    /// Metapackage of the kernel.
    pub kernel: String,
    /// By package: each file's name in the image, and its place in the package.
    boot_files: BTreeMap<String, BTreeMap<String, String>>,
}

/// `modules.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleLists {
    initramfs: Selection,
    store: Selection,
}

/// The agent's image, built.
pub struct AgentImage {
    /// Its folder: `vmlinuz`, `agent.initramfs`, `local-disk.efi`, the recipe's boot files, `modules/`.
    pub folder: PathBuf,
    /// The packages in it.
    pub packages: Vec<Package>,
    /// The kernel, for other images with the same one.
    pub kernel: Package,
    /// The state that it came from.
    pub apt: Apt,
}

/// Builds the image, unless it is there from the same inputs.
pub fn build(mirror: Option<&str>) -> Result<AgentImage> {
    let recipe: Recipe = read_recipe(&recipe_folder().join("recipe.toml"))?;
    let program = binaries::build(Program::Agent)?;
    let apt = Apt::open(&recipe.suite, mirror)?;
    let kernel = apt.kernel(&recipe.kernel)?;
    let mut packages = vec![kernel.clone()];
    for name in recipe.boot_files.keys() {
        packages.push(apt.package(name)?);
    }
    let image = AgentImage {
        folder: workspace::out().join("agent"),
        packages,
        kernel,
        apt,
    };

    let packages = image.packages.iter();
    let hashes: Vec<&str> = packages.map(|package| package.sha256.as_str()).collect();
    let hash = Stamp::new("agent")
        .text("packages", &hashes.join(" "))
        .file(&program)?
        .folder(&recipe_folder())?
        .sources(&[
            "agent.rs",
            "kernel.rs",
            "modules.rs",
            "modules/depmod.rs",
            "initramfs.rs",
            "manifest.rs",
            "disk/grub.rs",
        ])?
        .finish();
    let stamp_file = image.folder.join("stamp");
    let names = recipe.boot_files.values().flat_map(BTreeMap::keys);
    let outputs: Vec<PathBuf> = OWN_FILES
        .into_iter()
        .chain(["modules/index.json"])
        .chain(names.map(String::as_str))
        .map(|name| image.folder.join(name))
        .collect();
    if stamp::is_fresh(&stamp_file, &hash, &outputs) {
        eprintln!("image agent: up to date");
        return Ok(image);
    }
    image
        .make(&recipe, &program)
        .context("building the agent's image")?;
    stamp::write(&stamp_file, &hash)?;
    Ok(image)
}

/// Reads one file of a recipe.
pub fn read_recipe<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn recipe_folder() -> PathBuf {
    workspace::recipe("agent")
}

impl AgentImage {
    fn make(&self, recipe: &Recipe, program: &Path) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("making {}", self.folder.display()))?;
        let lists: ModuleLists = read_recipe(&recipe_folder().join("modules.toml"))?;
        let kernel = Kernel::unpack(&self.apt, &self.kernel)?;
        self.write("vmlinuz", &read(&kernel.image)?)?;
        self.write(
            "agent.initramfs",
            &kernel.initramfs("agent", program, &lists.initramfs)?,
        )?;
        kernel.modules.write_store(
            &kernel.modules.select(&lists.store)?,
            &self.folder.join("modules"),
        )?;

        let mut names = OWN_FILES.to_vec();
        for package in &self.packages {
            let Some(files) = recipe.boot_files.get(&package.name) else {
                continue;
            };
            let folder = kernel::unpacked(&self.apt, package)?;
            for (name, place) in files {
                self.write(name, &read(&folder.join(place))?)?;
                names.push(name);
            }
        }
        let commands = fs::read_to_string(recipe_folder().join("local-disk.cfg"))
            .context("reading local-disk.cfg")?;
        let loader = grub::efi_program(grub::Start::Commands(&without_comments(&commands)))?;
        self.write("local-disk.efi", &loader)?;

        let mut manifest = Manifest::new("agent", &recipe.suite, self.packages.clone());
        for name in names {
            manifest.add_file(&self.folder, name)?;
        }
        manifest.write(&self.folder, &[Program::Agent.package()])?;
        self.check_size()
    }

    fn check_size(&self) -> Result<()> {
        let size = |name: &str| fs::metadata(self.folder.join(name)).map_or(0, |data| data.len());
        let (kernel, initramfs) = (size("vmlinuz"), size("agent.initramfs"));
        let shown = format!(
            "vmlinuz {} + agent.initramfs {}",
            progress::size(kernel),
            progress::size(initramfs)
        );
        ensure!(
            kernel + initramfs <= LARGEST_DOWNLOAD,
            "{shown} is more than {}",
            progress::size(LARGEST_DOWNLOAD)
        );
        eprintln!(
            "image agent: {shown} = {} over the wire",
            progress::size(kernel + initramfs)
        );
        Ok(())
    }

    fn write(&self, name: &str, data: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, data).with_context(|| format!("writing {}", path.display()))
    }
}

/// GRUB runs embedded commands before it knows what a comment is.
fn without_comments(commands: &str) -> String {
    let lines = commands.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_do_not_reach_grub() {
        assert_eq!(
            without_comments("# one\nsearch --file /a#b\n# two\nboot\n"),
            "search --file /a#b\nboot\n"
        );
    }
}
