//! Desired machine + inventory → what will happen to its disk, before anything does.

mod choose;
mod select;
mod steps;

use serde::{Deserialize, Serialize};

use crate::desired::{AfterInstall, Compression, ConfigApplier, DesiredMachine};
use crate::identity::Sha256;
use crate::inventory::Inventory;
use crate::receipt::Receipt;

/// Decides what happens to the machine's disks. Nothing else does.
pub fn plan(
    desired: &DesiredMachine,
    inventory: &Inventory,
    circumstances: Circumstances<'_>,
) -> Decision {
    choose::plan(desired, inventory, circumstances)
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
    /// Move the backup GPT to the end of the disk and let the last partition fill it, in memory.
    GrowPartitionTable,
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
    InstallConfirmation,
    /// Write the withheld head with `receipt` (stage `complete`) so that the disk boots. The last write.
    CommitDisk {
        /// The record to leave.
        receipt: Receipt,
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
            Self::ClaimDisk { .. } => "claim-disk",
            Self::WriteImage { .. } => "write-image",
            Self::GrowPartitionTable => "grow-partition-table",
            Self::GrowFilesystem => "grow-filesystem",
            Self::ApplyConfig { .. } => "apply-config",
            Self::InstallConfirmation => "install-confirmation",
            Self::CommitDisk { .. } => "commit-disk",
            Self::HandOver { .. } => "hand-over",
        }
    }
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
    pub content: crate::inventory::Content,
}

/// A single-use permission to write a disk that holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// [`crate::inventory::Disk::id`] of the one disk it is good for.
    pub disk: String,
    /// When it was given, in seconds since 1970-01-01 UTC.
    pub time: u64,
}

/// What the planner decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// Write the disk.
    Install {
        /// How.
        plan: Plan,
        /// Whether it spends the machine's grant.
        spends_grant: bool,
    },
    /// This generation is on the disk already: only hand over.
    AlreadyInstalled {
        /// A plan with nothing but the hand-over.
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
    /// The machine's unspent grant.
    pub grant: Option<&'a Grant>,
    /// Seconds since 1970-01-01 UTC.
    pub now: u64,
    /// Version of the agent that asks, for the receipt.
    pub agent: &'a str,
}
