//! Desired machine + inventory → what will happen to its disk, before anything does.

mod boot_entries;
mod choose;
mod data;
mod select;
mod steps;
mod trust;

use serde::{Deserialize, Serialize};

pub(crate) use self::choose::describe_content;
pub use self::trust::{believable, bound_to, remembered};
use crate::boot_variables::Variable;
use crate::desired::{AfterInstall, Compression, ConfigApplier, DesiredMachine};
use crate::identity::Sha256;
use crate::inventory::{Content, Disk, Inventory};
use crate::load_option::HardDrive;
use crate::receipt::Receipt;

pub use self::boot_entries::only_system_partition;

/// Decides what happens to the machine's disks. Nothing else does.
pub fn plan(
    desired: &DesiredMachine,
    inventory: &Inventory,
    circumstances: Circumstances<'_>,
) -> Decision {
    choose::plan(desired, inventory, circumstances)
}

/// The disk that gets the system, by the profile's selector, whether or not it may be written.
///
/// # Errors
///
/// No disk fits, or several do.
pub fn system_disk<'a>(
    desired: &DesiredMachine,
    inventory: &'a Inventory,
) -> Result<&'a Disk, Refusal> {
    select::select(desired, inventory)
}

/// Whether a data disk is planned as a blank one: it is blank, or it was when an installation of this
/// machine took it that was cut off, and is erased.
pub fn begins_blank(desired: &DesiredMachine, inventory: &Inventory, disk: &Disk) -> bool {
    match system_disk(desired, inventory) {
        Ok(system) => data::begins_blank(desired, inventory, system, disk),
        Err(_) => disk.content == Content::Blank,
    }
}

/// What is written to the firmware's boot variables of a machine whose installed system runs. `None`:
/// nothing differs, or it is not to be touched.
pub fn boot_entries_of_running(
    desired: &DesiredMachine,
    inventory: &Inventory,
) -> Option<BootEntries> {
    let (disk, _) = choose::installed(desired, inventory, 0)?;
    boot_entries::of_machine(desired, inventory, boot_entries::system_partition(disk)?)
}

/// What is written to the firmware's boot variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootEntries {
    /// In order.
    pub variables: Vec<Variable>,
    /// What that does, line by line, for people.
    pub summary: Vec<String>,
}

/// What the agent is to do, in order. Every choice has been made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The machine's name.
    pub machine: String,
    /// The generation that the plan fulfils.
    pub generation: u32,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Fetch programs that the agent does not carry, check them and unpack them into its own root.
    /// The first step of a plan that needs them, before any write.
    FetchToolbox {
        /// What is fetched, in order.
        segments: Vec<ToolboxSegment>,
    },
    /// Check that the disk is still the one that was planned for, with the same content; then zero
    /// its first and last MiB and put `receipt` (stage `writing`) at [`crate::receipt::OFFSET`].
    ClaimDisk {
        /// The disk, as planned.
        disk: DiskBinding,
        /// The record to leave.
        receipt: Receipt,
    },
    /// Stream the image to the disk while it is decompressed and hashed. The first MiB and the disk's
    /// last MiB are withheld in memory.
    WriteImage {
        /// Absolute URL, or a path on the appliance.
        url: String,
        /// How it is compressed.
        compression: Compression,
        /// SHA-256 of the bytes as served.
        sha256: Sha256,
    },
    /// Write an image from its chunks, each fetched, unpacked, checked and written by itself. The first
    /// MiB and the disk's last MiB are withheld in memory.
    WriteChunks {
        /// Where the index is, as a path on the appliance.
        index: String,
        /// SHA-256 of the index.
        sha256: Sha256,
        /// Where the chunks are, as a path on the appliance.
        data: String,
        /// Read the disk first, and fetch and write only the chunks that differ: an installation of ours
        /// stands on it, or was cut off there.
        compare: bool,
    },
    /// Read back from the disk all that write-image wrote, past the memory's copy, and compare it.
    ReadBack,
    /// Carry out the disks stage of the configuration's operations (see `hardway_ignition`). The
    /// configuration is the one that [`Step::ApplyConfig`] names: it is fetched once and kept.
    PrepareDisks {
        /// The data disks: every disk that is written here beside the claimed one. Each is compared
        /// with its binding before the first write to any of them.
        disks: Vec<DiskBinding>,
        /// Paths of those whose partition tables and signatures are all erased first: they were blank
        /// when an installation that was cut off took them, and are planned as blank.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        erase: Vec<String>,
        /// SHA-256 of the configuration.
        sha256: Sha256,
        /// What happens, line by line, for people.
        summary: Vec<String>,
    },
    /// Move the backup GPT to the end of the disk and let a partition grow up to what follows it, in
    /// memory.
    GrowPartitionTable {
        /// Its number; `None`: the last one, which then fills the disk.
        #[serde(default)]
        partition: Option<u32>,
    },
    /// Let the filesystem on the grown partition fill it.
    GrowFilesystem,
    /// Fetch the configuration's operations (once, by boot token) and carry them out, or leave the
    /// config where the image's own Ignition looks.
    ApplyConfig {
        /// Who applies.
        applier: ConfigApplier,
        /// SHA-256 of what is fetched.
        sha256: Sha256,
        /// Added to the installed system's kernel command line.
        kernel_arguments: Vec<String>,
    },
    /// Leave what the installed system needs to confirm that it runs: the program, a unit, and
    /// a file with the appliance's address and the confirmation key.
    InstallConfirmation {
        /// Whether the system writes boot variables of its firmware that the appliance names at a
        /// start. Only for machines that obey the network at each start anyway: the answer is not
        /// authenticated.
        #[serde(default)]
        sets_boot_entries: bool,
    },
    /// Write the withheld head with `receipt` (stage `complete`) so that the disk boots. The last write.
    CommitDisk {
        /// The record to leave, to which the agent adds the partitions.
        receipt: Receipt,
    },
    /// Write boot variables of the firmware, in this order. What cannot be written is a warning: the
    /// firmware still finds the network and, on the disk, what it looks for by itself.
    SetBootEntries {
        /// What is written.
        variables: Vec<Variable>,
        /// What that does, line by line, for people.
        summary: Vec<String>,
    },
    /// Pass control to the system on this disk.
    HandOver {
        /// The disk that holds it.
        disk: DiskBinding,
        /// How.
        how: AfterInstall,
    },
}

impl Step {
    /// The step's name in logs, reports and the API: `write-image`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FetchToolbox { .. } => "fetch-toolbox",
            Self::ClaimDisk { .. } => "claim-disk",
            Self::WriteImage { .. } | Self::WriteChunks { .. } => "write-image",
            Self::ReadBack => "read-back",
            Self::PrepareDisks { .. } => "prepare-disks",
            Self::GrowPartitionTable { .. } => "grow-partition-table",
            Self::GrowFilesystem => "grow-filesystem",
            Self::ApplyConfig { .. } => "apply-config",
            Self::InstallConfirmation { .. } => "install-confirmation",
            Self::CommitDisk { .. } => "commit-disk",
            Self::SetBootEntries { .. } => "set-boot-entries",
            Self::HandOver { .. } => "hand-over",
        }
    }
}

/// A part of the toolbox: a zstd-compressed cpio archive (newc).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolboxSegment {
    /// Its name in the toolbox's index: `storage`, `clevis`, `fetch`.
    pub name: String,
    /// Absolute URL, or a path on the appliance.
    pub url: String,
    /// Bytes as served.
    pub size: u64,
    /// SHA-256 of the bytes as served.
    pub sha256: Sha256,
}

/// The disk that a plan was made for. The agent compares it on the spot before the first write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskBinding {
    /// Device node at planning time.
    pub path: String,
    /// [`crate::inventory::Disk::id`].
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// What stood on it at planning time; a disk that differs is not written.
    pub content: Content,
}

/// A single-use permission to write a disk that holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// [`crate::inventory::Disk::id`] of the one disk it is good for.
    pub disk: String,
    /// When it was given, in seconds since 1970-01-01 UTC.
    pub time: u64,
}

/// The operator's word that one generation of a machine may be installed on one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arming {
    /// The generation.
    pub generation: u32,
    /// [`crate::inventory::Disk::id`] of the disk that was shown to get the system.
    pub disk: String,
}

/// What the planner decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// Write the disk.
    Install {
        /// How.
        plan: Plan,
        /// Ids of the disks whose grants it spends.
        spends: Vec<String>,
    },
    /// This generation is on the disk already: only hand over.
    AlreadyInstalled {
        /// A plan with the hand-over, and the firmware's boot entries before it where they differ.
        plan: Plan,
        /// What the disk says.
        receipt: Box<Receipt>,
    },
    /// Nothing is written.
    Refuse {
        /// Why, and the way out.
        refusal: Refusal,
    },
}

/// Why nothing is written, with what the operator can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind of refusal, stable for programs.
    pub reason: RefusalReason,
    /// What is wrong, as a sentence that names the disk: "/dev/vda (QEMU_1, 4.0 GiB) holds gpt: …".
    pub cause: String,
    /// What to do, as a sentence with a command: "`hardway grant wipe node1` allows it once".
    pub remedy: String,
    /// Ids of the disks that a grant each would open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grantable: Vec<String>,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// No disk fits the profile's selector.
    NoDiskFits,
    /// Several fit, and nothing says which.
    SeveralDisksFit,
    /// The disk holds something and there is no grant.
    DiskNotBlank,
    /// The disk cannot be read or refuses writes.
    DiskUnusable,
    /// The image is larger than the disk.
    DiskTooSmall,
    /// Nothing stands against it, and the operator has not armed the machine.
    NotArmed,
    /// The machine is not declared in cluster.yaml.
    NotDeclared,
    /// cluster.yaml, a config part or an image of this machine is wrong or missing.
    Configuration,
}

/// What the planner needs besides the hardware.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The generation that is wanted.
    pub generation: u32,
    /// The machine's unspent grants.
    pub grants: &'a [Grant],
    /// What the operator armed the machine for.
    pub armed: Option<&'a Arming>,
    /// What the configuration does with disks; `None`: nothing.
    pub preparation: Option<&'a Preparation>,
    /// Seconds since 1970-01-01 UTC.
    pub now: u64,
    /// Version of the agent that asks, for the receipt.
    pub agent: &'a str,
    /// Version of the appliance, for the receipt.
    pub appliance: &'a str,
    /// SHA-256 of what the installed system will confirm with, for the receipt.
    pub confirmation: Option<Sha256>,
}

/// What a configuration does with the machine's disks, worked out from it and the hardware before the
/// plan is made. [`plan`] judges it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Parts of the toolbox that the agent needs.
    pub toolbox: Vec<ToolboxSegment>,
    /// Nodes of all disks that are written or mounted, the system disk included if it is one of them.
    pub disks: Vec<String>,
    /// Whether there are operations for the disks stage.
    pub is_staged: bool,
    /// What happens to the disks, line by line, for people.
    pub summary: Vec<String>,
    /// What becomes of the image's last partition.
    pub growth: Growth,
    /// The EFI system partition, where it is known beforehand what it will be.
    pub system_partition: Option<HardDrive>,
}

/// What becomes of the image's last partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Growth {
    /// It fills the disk.
    #[default]
    Fill,
    /// The partition of this number grows up to what the configuration puts behind it.
    UpToNext(u32),
    /// The configuration itself says how large it is.
    Configured,
}
