//! The recipe of the node image as it stands in `images/node/recipe.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::agent;
use crate::disk::Guid;

/// What goes into the image, and what does not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Debian's suite.
    pub suite: String,
    /// Packages on top of the essential ones.
    pub packages: Vec<String>,
    /// dpkg's path-exclude.
    pub exclude: Vec<String>,
    /// dpkg's path-include, stronger than `exclude`.
    pub include: Vec<String>,
    /// Packages whose files are taken out again.
    pub remove_packages: Vec<String>,
    /// Paths that are taken out; a trailing `*` stands for any continuation.
    pub remove: Vec<String>,
    /// Units that never start.
    pub mask: Vec<String>,
    /// Symbolic links that are put in.
    pub links: BTreeMap<String, String>,
    /// Kernel modules.
    pub modules: Modules,
    /// The disk's identity and sizes.
    pub disk: Disk,
    /// How the image is packed.
    pub compression: Compression,
}

/// Which kernel modules stay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// Names of those that the initrd loads.
    pub initrd: Vec<String>,
    /// Names, or folders that end in `/`, of those in the root filesystem.
    pub keep: Vec<String>,
}

/// The disk and its partitions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The disk's GUID.
    pub guid: Guid,
    /// GRUB for BIOS.
    pub bios_boot: BiosBoot,
    /// GRUB for UEFI.
    pub esp: Esp,
    /// The root filesystem.
    pub root: Root,
}

/// The partition with GRUB's core image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BiosBoot {
    /// Its GUID.
    pub guid: Guid,
}

/// The EFI system partition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Esp {
    /// Its GUID.
    pub guid: Guid,
    /// Serial number of its FAT.
    pub volume_id: u32,
    /// Its size.
    pub mebibytes: u64,
    /// Where `esp.cfg` stands on it.
    pub config: String,
    /// By package: each program's path on it, and its place in the package.
    pub programs: BTreeMap<String, BTreeMap<String, String>>,
}

/// The root partition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Its GUID.
    pub guid: Guid,
    /// UUID of its filesystem.
    pub uuid: Guid,
    /// Free space in the filesystem.
    pub slack_mebibytes: u64,
}

/// zstd's settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// 1 to 19.
    pub zstd_level: u8,
}

impl Recipe {
    /// Reads `recipe.toml` in the recipe's folder.
    pub fn load(folder: &Path) -> Result<Recipe> {
        agent::read_recipe(&folder.join("recipe.toml"))
    }

    /// What apt is asked for: apt itself and the essential packages are what mmdebstrap starts from.
    pub fn wanted(&self) -> Vec<&str> {
        let packages = self.packages.iter().map(String::as_str);
        ["?essential", "apt"].into_iter().chain(packages).collect()
    }
}
