//! What one machine is to become, with nothing left to look up.

use serde::{Deserialize, Serialize};

use crate::identity::Sha256;

/// A declared machine with its profile, image and policy resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredMachine {
    /// The cluster's name.
    pub cluster: String,
    /// The machine's name, also its host name.
    pub machine: String,
    /// The profile that it follows.
    pub profile: String,
    /// The OS image.
    pub image: DesiredImage,
    /// Which disk is to be written.
    pub disk: DiskSelector,
    /// What may happen to a disk that is not blank.
    pub wipe: WipePolicy,
    /// Whether an installation begins by itself.
    pub install: InstallPolicy,
    /// How control passes to the installed system.
    pub after_install: AfterInstall,
    /// Whether everything that was written is read back from the disk and compared.
    pub read_back: bool,
    /// What the firmware is to start first, where it is UEFI.
    pub boot_order: BootOrder,
    /// Kernel arguments that the installed system is to have.
    pub kernel_arguments: Vec<String>,
    /// SHA-256 of the rendered configuration's canonical JSON.
    pub config: Sha256,
}

/// An OS image: a whole disk, compressed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredImage {
    /// Its name in cluster.yaml.
    pub name: String,
    /// Where the agent fetches it: absolute, or a path on the appliance such as `/images/node.img.zst`.
    pub url: String,
    /// How it is compressed, by its file name's ending.
    pub compression: Compression,
    /// SHA-256 of the file as served.
    pub sha256: Sha256,
    /// The form that it was imported into, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedImage>,
    /// Who applies the Ignition config.
    pub config: ConfigApplier,
}

/// An image in chunks: see the crate `hardway-image`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedImage {
    /// Where the index is, as a path on the appliance.
    pub index: String,
    /// SHA-256 of the index, which has that of every chunk.
    pub sha256: Sha256,
    /// Where the chunks are, as a path on the appliance.
    pub data: String,
    /// Bytes of the disk's content.
    pub size: u64,
}

/// How an OS image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952), several members allowed.
    Gzip,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// Raw.
    None,
}

impl Compression {
    /// Judges by the ending of a file name or URL path: `.zst`, `.gz`, `.xz`, `.bz2`, else raw.
    pub fn of_file_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("zst" | "zstd") => Self::Zstd,
            Some("gz") => Self::Gzip,
            Some("xz") => Self::Xz,
            Some("bz2") => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// Who applies the Ignition config.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ConfigApplier {
    /// The agent, before the installed system's first start.
    #[default]
    Agent,
    /// Flatcar's own Ignition, from the OEM partition.
    Flatcar,
    /// Fedora CoreOS's own Ignition, from the boot partition.
    FedoraCoreos,
}

/// Which disk a profile wants. Every given property has to hold; sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSelector {
    /// Device node, or a name that udev links to it: `/dev/disk/by-id/…`, `/dev/disk/by-path/…`.
    pub path: Option<String>,
    /// Exact serial number.
    pub serial: Option<String>,
    /// Exact world-wide name.
    pub wwn: Option<String>,
    /// Exact model.
    pub model: Option<String>,
    /// At least this large.
    pub min_size: Option<u64>,
    /// At most this large.
    pub max_size: Option<u64>,
    /// Spins or does not.
    pub rotational: Option<bool>,
    /// `nvme`, `virtio`, `sata`, `scsi`, …
    pub transport: Option<String>,
    /// Decides where several disks fit; without it several are a refusal.
    pub prefer: Option<Preference>,
}

/// Which of several fitting disks is taken. Disks of equal size stay a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// The smallest one.
    Smallest,
    /// The largest one.
    Largest,
}

/// What may happen to a disk that is not blank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WipePolicy {
    /// Nothing without a grant.
    #[default]
    Never,
    /// It may be written again if Hardway installed it for this very machine.
    IfOurs,
    /// It may be written, whatever it holds.
    Always,
}

/// When an installation begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InstallPolicy {
    /// As soon as the machine has shown its hardware and nothing stands against it.
    #[default]
    Automatic,
    /// When the operator has looked at its plan and armed the machine, once a generation.
    WhenArmed,
}

/// How control passes to the installed system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AfterInstall {
    /// Load the installed kernel and start it; a reboot where that is not possible.
    #[default]
    Kexec,
    /// Through the firmware.
    Reboot,
    /// Switch off.
    Poweroff,
}

/// What UEFI firmware is to start first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BootOrder {
    /// The network, which sends an installed machine on to its disk; then the installed system.
    #[default]
    NetworkFirst,
    /// The installed system.
    DiskFirst,
    /// What it says by itself: no variable of the firmware is written.
    Keep,
}
