//! What the build left: where each image and binary stands, and how large it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The build's output folder.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Looks whether the folder holds what every lab needs.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("looking for the build's output in {}", folder.display()))?;
        let artifacts = Self { folder };
        let needed = [
            artifacts.hardway(),
            artifacts.appliance_image(),
            artifacts.kernel(),
        ];
        for path in needed {
            if !path.is_file() {
                bail!(
                    "{} is missing; `cargo xtask image` builds it",
                    path.display()
                );
            }
        }
        Ok(artifacts)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The operator's binary.
    pub fn hardway(&self) -> PathBuf {
        self.folder.join("bin/hardway")
    }

    /// The appliance's disk image.
    pub fn appliance_image(&self) -> PathBuf {
        self.folder.join("appliance/appliance.img")
    }

    /// The kernel of agent and appliance.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("agent/vmlinuz")
    }

    /// An OS image by its file name: built here, or in the folder `images` beside the cluster file.
    pub fn os_image(&self, name: &str, cluster_folder: &Path) -> Result<PathBuf> {
        let places = [self.folder.join("node"), cluster_folder.join("images")];
        places
            .iter()
            .find_map(|place| fs::canonicalize(place.join(name)).ok())
            .with_context(|| {
                let [built, beside] = places.map(|place| place.display().to_string());
                format!("OS image {name} is neither in {built} nor in {beside}")
            })
    }

    /// Bytes of every image and binary, by its path in the folder. The module store counts as one.
    pub fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        for part in ["bin", "agent", "appliance", "node"] {
            let folder = self.folder.join(part);
            if !folder.is_dir() {
                continue;
            }
            for entry in list(&folder)? {
                let name = entry.file_name().unwrap_or_default().to_string_lossy();
                let size = match entry.is_dir() {
                    true => total(&entry)?,
                    false => length(&entry)?,
                };
                sizes.insert(format!("{part}/{name}"), size);
            }
        }
        Ok(sizes)
    }
}

fn total(folder: &Path) -> Result<u64> {
    list(folder)?
        .iter()
        .map(|entry| match entry.is_dir() {
            true => total(entry),
            false => length(entry),
        })
        .sum()
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("listing {}", folder.display()))
}

fn length(file: &Path) -> Result<u64> {
    Ok(fs::symlink_metadata(file)
        .with_context(|| format!("looking at {}", file.display()))?
        .len())
}
