//! The disks stage: partition tables, arrays, encrypted volumes, filesystems, and what is mounted.
//!
//! Devices are named by what they are ([`Device`]), never by a link that udev would have made: there
//! is no udev where this is carried out. What a step finds on a device when its turn comes may differ
//! from what stood there when the list was made (the step before made it); each type says what is
//! then kept, made or refused.

use serde::{Deserialize, Serialize};

use super::Resource;

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A whole disk, by the kernel's node, as `/dev/vda`.
    Disk(String),
    /// A partition of a whole disk.
    Partition {
        /// The disk's node.
        disk: String,
        /// Number, from 1.
        number: u32,
    },
    /// The array of this name: `/dev/md/NAME`.
    Array(String),
    /// The opened volume of this name: `/dev/mapper/NAME`.
    Volume(String),
}

impl Device {
    /// The whole disk that it is, or is a partition of.
    pub fn disk(&self) -> Option<&str> {
        match self {
            Self::Disk(disk) | Self::Partition { disk, .. } => Some(disk),
            Self::Array(_) | Self::Volume(_) => None,
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk(path) => f.write_str(path),
            Self::Partition { disk, number } => {
                let separator = if disk.ends_with(|c: char| c.is_ascii_digit()) {
                    "p"
                } else {
                    ""
                };
                write!(f, "{disk}{separator}{number}")
            }
            Self::Array(name) => write!(f, "/dev/md/{name}"),
            Self::Volume(name) => write!(f, "/dev/mapper/{name}"),
        }
    }
}

/// A disk's whole GUID partition table (UEFI 2.10, section 5.3), as it is to stand.
///
/// The executor first compares the disk with `found` (none: no GPT; else number, start, sectors and
/// GUID of each entry) and fails without a write where they differ. With `wipe`, every table on the
/// disk is destroyed first; without `entries` no new one is made then. Else the whole table is written at once, with the backup at the end of
/// the disk; entries of a GPT that is kept keep what is not named here. The kernel is told, and start
/// and size of every partition are compared with what the kernel then knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// The disk's node.
    pub disk: String,
    /// Logical sector size in bytes, the unit of every number below.
    pub sector_size: u32,
    /// The entries that stand there when the list is made. `None`: no GPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Vec<TableEntry>>,
    /// Destroy every table first (protective and hybrid MBR included).
    #[serde(default)]
    pub wipe: bool,
    /// Numbers of partitions that go and do not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<u32>,
    /// Every partition of the finished table, by number.
    pub entries: Vec<TableEntry>,
    /// Of these, the partitions whose space is new to the disk's owner: the executor erases every
    /// signature that an earlier use left at their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erase: Vec<u32>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableEntry {
    /// Number, from 1.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Length in sectors.
    pub sectors: u64,
    /// Partition type, upper case.
    pub type_guid: String,
    /// The partition's own GUID, upper case; `None`: a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// Name, at most 36 UTF-16 units.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Attribute bits.
    #[serde(default)]
    pub attributes: u64,
    /// What becomes of it, for people and for tests.
    #[serde(default)]
    pub fate: Fate,
}

/// What becomes of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It stays as it is.
    #[default]
    Kept,
    /// It is new.
    Created,
    /// It is deleted and made again, elsewhere or otherwise.
    Recreated,
    /// It keeps its start and what it holds, and has another size.
    Resized,
}

/// A Linux software array, made by `mdadm --create`, metadata 1.2, `--homehost any`. Signatures on
/// the members do not stop it (`--run --force`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Array {
    /// Its name, below `/dev/md/`.
    pub name: String,
    /// `raid0`, `raid1`, `raid4`, `raid5`, `raid6` or `raid10`, as mdadm takes it.
    pub level: String,
    /// Members, spares included, in the config's order.
    pub devices: Vec<Device>,
    /// How many of them are spares.
    #[serde(default)]
    pub spares: u32,
    /// Further arguments for mdadm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A LUKS2 volume, made and opened as `/dev/mapper/NAME`.
///
/// With `wipe`, whatever is on the device is erased. Without: nothing recognisable there means that
/// the volume is made; a LUKS volume whose label and UUID are the wanted ones (where given) and that
/// `key` opens is kept; anything else is a failure. A `generated` key opens no kept volume. The key
/// stands in `/run/hardway/luks/NAME` of the executor's own root, mode 0600, until
/// [`super::Operation::PersistVolumes`].
///
/// With `clevis`, the volume is bound to it. A generated key's slot is then removed, so that nothing
/// but clevis opens it; a given key stays and is persisted. `discard` and `open_options` are stored in
/// the header; a kept volume's header has to say of discards what `discard` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Name below `/dev/mapper/`.
    pub name: String,
    /// Where it is made.
    pub device: Device,
    /// LUKS2 label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// UUID; else a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The key; `None`: 4096 random bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Resource>,
    /// What opens it at the installed system's start, in the key's stead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clevis: Option<Clevis>,
    /// Whether discards pass through the volume.
    #[serde(default)]
    pub discard: bool,
    /// Further arguments for `cryptsetup luksFormat`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Further arguments for `cryptsetup luksOpen`, stored in the header as persistent flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_options: Vec<String>,
    /// Erase what is there.
    #[serde(default)]
    pub wipe: bool,
}

/// A binding for `clevis luks bind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clevis {
    /// The pin: `sss` for Tang and TPM2, else the config's own.
    pub pin: String,
    /// The pin's configuration, JSON.
    pub config: String,
    /// Whether opening needs the network (`_netdev` in crypttab).
    #[serde(default)]
    pub needs_network: bool,
}

/// A filesystem.
///
/// With `wipe`, every signature is erased and the filesystem made. Without: nothing recognisable on
/// the device means that it is made; where type, and label and UUID if given, are equal, the
/// filesystem is kept with all it holds; anything else is a failure. Of several signatures at once the
/// one counts that libblkid puts first.
/// [`Format::None`] makes nothing: without `wipe` it fails where anything is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// Where.
    pub device: Device,
    /// What.
    pub format: Format,
    /// Label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// UUID, as `mkfs` takes it; of vfat eight hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Further arguments for `mkfs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Erase what is there.
    #[serde(default)]
    pub wipe: bool,
}

/// A kind of filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// mkfs.ext4
    Ext4,
    /// mkfs.btrfs
    Btrfs,
    /// mkfs.xfs
    Xfs,
    /// mkfs.vfat
    Vfat,
    /// mkswap
    Swap,
    /// Nothing: the device is left blank.
    None,
}

impl Format {
    /// As the spec and the kernel call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
            Self::None => "none",
        }
    }
}

/// A filesystem that is mounted in the target root while the files stage runs, and unmounted after
/// it, in reverse order. `path` is resolved in the root; missing directories are made (0755, 0:0). A
/// symbolic link in it is a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// What.
    pub device: Device,
    /// How it is formatted.
    pub format: Format,
    /// Where, in the target root.
    pub path: String,
    /// Options as `mount -o` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}
