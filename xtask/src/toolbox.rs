//! `image toolbox`: programs that the agent does not carry, and fetches where a plan needs them.
//!
//! ```text
//! recipe ─▶ closure ─▶ unpacked packages ─▶ files and what they are linked with ─▶ NAME.cpio.zst
//! ```
//!
//! A segment is a compressed archive in the initramfs format that is unpacked over the agent's root;
//! `index.json` lists them.

mod contents;
mod elf;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::apt::{Apt, Package};
use crate::binaries::{self, Program};
use crate::initramfs::Archive;
use crate::manifest::Manifest;
use crate::stamp::Stamp;
use crate::{agent, closure, kernel, progress, stamp, workspace};
use contents::{Contents, Unpacked};

/// The list of segments, within the toolbox's folder.
pub const INDEX: &str = "index.json";

/// `recipe.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    suite: String,
    /// Packages that are left out although others depend on them; a trailing `*` stands for any
    /// continuation.
    without: Vec<String>,
    segments: Vec<SegmentRecipe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentRecipe {
    name: String,
    /// The segment that is unpacked before this one.
    above: Option<String>,
    /// Compressed size in bytes: more than this is a mistake.
    largest: u64,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    files: Vec<String>,
    /// Programs of this workspace, by the path that they get.
    #[serde(default)]
    programs: BTreeMap<String, Program>,
    #[serde(default)]
    links: BTreeMap<String, String>,
    /// Commands that have to end well in a root of this segment and the one below it.
    #[serde(default)]
    tries: Vec<String>,
}

/// `index.json`: what the appliance reads.
#[derive(Debug, Serialize)]
struct Index<'a> {
    segments: &'a [BuiltSegment],
}

#[derive(Debug, Serialize)]
struct BuiltSegment {
    name: String,
    file: String,
    sha256: String,
    /// Bytes of the file.
    size: u64,
    /// Bytes of the archive in it.
    unpacked: u64,
}

/// The toolbox, built.
pub struct Toolbox {
    /// Its folder: `index.json` and the segments.
    pub folder: PathBuf,
    /// The packages that files in it are from.
    pub packages: Vec<Package>,
}

/// Builds `out/toolbox`, unless it is there from the same inputs.
pub fn build(mirror: Option<&str>) -> Result<Toolbox> {
    let recipe: Recipe = agent::read_recipe(&recipe_folder().join("recipe.toml"))?;
    let apt = Apt::open(&recipe.suite, mirror)?;
    let packages = recipe.packages(&apt)?;
    let mut stamp = Stamp::new("toolbox");
    for package in &packages {
        stamp = stamp.text(&package.name, &package.sha256);
    }
    let mut programs = BTreeMap::new();
    for (path, program) in recipe.segments.iter().flat_map(|one| &one.programs) {
        let built = binaries::build(*program)?;
        stamp = stamp.file(&built)?;
        programs.insert(path.as_str(), built);
    }
    let hash = stamp
        .folder(&recipe_folder())?
        .sources(&[
            "toolbox.rs",
            "toolbox/contents.rs",
            "toolbox/elf.rs",
            "toolbox/trial.rs",
            "initramfs.rs",
            "manifest.rs",
        ])?
        .finish();
    let folder = workspace::out().join("toolbox");
    let stamp_file = folder.join("stamp");
    let outputs = [INDEX, "manifest.json"].map(|name| folder.join(name));
    if stamp::is_fresh(&stamp_file, &hash, &outputs) {
        eprintln!("image toolbox: up to date");
    } else {
        let places = packages.iter().map(|one| kernel::unpacked(&apt, one));
        let unpacked = Unpacked {
            packages: places.collect::<Result<_>>()?,
        };
        make(&recipe, &packages, &unpacked, &programs, &folder).context("building the toolbox")?;
        stamp::write(&stamp_file, &hash)?;
    }
    Toolbox::read(folder)
}

fn recipe_folder() -> PathBuf {
    workspace::recipe("toolbox")
}

impl Recipe {
    /// The packages of every segment and what they depend on, but for those that are left out.
    fn packages(&self, apt: &Apt) -> Result<Vec<Package>> {
        let wanted: BTreeSet<&str> = self
            .segments
            .iter()
            .flat_map(|segment| segment.packages.iter().map(String::as_str))
            .collect();
        let mut packages = closure::resolve(apt, &Vec::from_iter(wanted))?;
        packages.retain(|package| !self.leaves_out(&package.name));
        Ok(packages)
    }

    fn leaves_out(&self, package: &str) -> bool {
        self.without
            .iter()
            .any(|name| match name.strip_suffix('*') {
                Some(start) => package.starts_with(start),
                None => package == name,
            })
    }
}

fn make(
    recipe: &Recipe,
    packages: &[Package],
    unpacked: &Unpacked,
    programs: &BTreeMap<&str, PathBuf>,
    folder: &Path,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut done: BTreeMap<&str, (BTreeSet<String>, Archive)> = BTreeMap::new();
    let mut sources = BTreeSet::new();
    let mut built = Vec::new();
    for segment in &recipe.segments {
        let below = segment.below(&done)?;
        let no_paths = BTreeSet::new();
        let mut contents = Contents::new(unpacked, below.map_or(&no_paths, |(paths, _)| paths));
        segment
            .fill(&mut contents, programs)
            .with_context(|| format!("gathering the segment {}", segment.name))?;
        let archive = contents.archive;
        let layers = below.map(|(_, below)| below).into_iter().chain([&archive]);
        trial::run(layers, &segment.tries)
            .with_context(|| format!("trying the segment {}", segment.name))?;
        built.push(pack(&segment.name, segment.largest, &archive, folder)?);
        sources.append(&mut contents.sources);
        done.insert(&segment.name, (contents.paths, archive));
    }
    let index = serde_json::to_vec(&Index { segments: &built }).context("encoding the index")?;
    fs::write(folder.join(INDEX), index).context("writing the index")?;

    let used = sources.into_iter().map(|at| packages[at].clone());
    let mut manifest = Manifest::new("toolbox", &recipe.suite, used.collect());
    for segment in &built {
        manifest.add_file(folder, &segment.file)?;
    }
    manifest.write(folder, &[Program::Fetch.package()])
}

impl Toolbox {
    /// Reads back what the built toolbox consists of.
    fn read(folder: PathBuf) -> Result<Toolbox> {
        #[derive(Deserialize)]
        struct Written {
            packages: Vec<Package>,
        }
        let path = folder.join("manifest.json");
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let written: Written =
            serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?;
        Ok(Toolbox {
            folder,
            packages: written.packages,
        })
    }
}

impl SegmentRecipe {
    /// The segment that this one stands on: its paths, and its archive.
    fn below<'a, T>(&self, done: &'a BTreeMap<&str, T>) -> Result<Option<&'a T>> {
        let Some(name) = &self.above else {
            return Ok(None);
        };
        let found = done.get(name.as_str());
        found
            .map(Some)
            .with_context(|| format!("{} stands above {name}, which is not before it", self.name))
    }

    fn fill(&self, contents: &mut Contents<'_>, programs: &BTreeMap<&str, PathBuf>) -> Result<()> {
        for (path, target) in &self.links {
            contents.archive.link(path, target);
        }
        for path in self.programs.keys() {
            let built = &programs[path.as_str()];
            let data = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
            contents.archive.file(path, 0o755, data);
        }
        self.files.iter().try_for_each(|path| contents.add(path))
    }
}

/// Compresses a segment into its file.
fn pack(name: &str, largest: u64, archive: &Archive, folder: &Path) -> Result<BuiltSegment> {
    let unpacked = archive.pack()?.len() as u64;
    let data = archive.compress(&format!("the toolbox's {name}"))?;
    let size = data.len() as u64;
    eprintln!(
        "image toolbox: {name} {} from {}",
        progress::size(size),
        progress::size(unpacked)
    );
    ensure!(
        size <= largest,
        "the segment {name} is larger than {}",
        progress::size(largest)
    );
    let file = format!("{name}.cpio.zst");
    let path = folder.join(&file);
    fs::write(&path, &data).with_context(|| format!("writing {}", path.display()))?;
    Ok(BuiltSegment {
        name: name.to_owned(),
        sha256: stamp::sha256_of(&path)?,
        file,
        size,
        unpacked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_is_read_and_leaves_out_what_it_names() {
        let recipe: Recipe = agent::read_recipe(&recipe_folder().join("recipe.toml")).unwrap();
        let names: Vec<&str> = recipe.segments.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["storage", "clevis", "fetch"]);
        assert!(recipe.leaves_out("udev"));
        assert!(recipe.leaves_out("python3.13-minimal"));
        assert!(!recipe.leaves_out("libudev1"));
    }
}
