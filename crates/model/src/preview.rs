//! A plan as a difference: what stands on each disk of a machine, and what becomes of it, before
//! anything is done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::desired::DesiredMachine;
use crate::inventory::{Content, Disk, Inventory};
use crate::layout::{Layout, Partition, PartitionTable, Signature};
use crate::plan::{Decision, Plan, Step, describe_content};
use crate::quantity::ByteSize;

/// What would happen to a machine now, by its last inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The machine's name.
    pub machine: String,
    /// Its profile.
    pub profile: String,
    /// The image that the profile names.
    pub image: String,
    /// What the planner decided, with every step.
    #[serde(flatten)]
    pub decision: Decision,
    /// Every disk that the machine showed, by path.
    pub disks: Vec<DiskPreview>,
    /// What is made of several disks or of what is made on them: arrays, volumes, mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<String>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPreview {
    /// Device node.
    pub path: String,
    /// [`Disk::id`], which a grant names.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// Model.
    pub model: Option<String>,
    /// World-wide name.
    pub wwn: Option<String>,
    /// As [`Disk::transport`].
    pub transport: Option<String>,
    /// What it is for.
    pub role: Role,
    /// What stands on it and what comes, in the order of the disk.
    pub changes: Vec<Change>,
}

/// What a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It gets the system, or has it.
    System,
    /// The configuration writes it.
    Data,
    /// Nothing is written to it.
    Untouched,
}

/// One thing on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What becomes of it.
    pub fate: Fate,
    /// The thing: "partition 2 `root`: 3.9 GiB, ext4".
    pub what: String,
}

/// What becomes of a thing on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It stays as it is.
    Kept,
    /// It is new.
    Created,
    /// It keeps what it holds, and changes its size or place in the table.
    Changed,
    /// It is gone afterwards.
    Destroyed,
    /// The image's own Ignition decides at its first start.
    Undecided,
}

/// What is to happen to one disk, by whoever knows image and configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// What is lost of what stands there.
    pub lost: Lost,
    /// What comes, or stays in another form.
    pub changes: Vec<Change>,
}

/// What is lost of a disk's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Everything.
    All,
    /// It is not known: the image's own Ignition decides.
    Undecided,
    /// What these partitions hold. Those in `changed` are told of by the intent's own changes.
    Partitions {
        /// Numbers.
        lost: BTreeSet<u32>,
        /// Numbers.
        changed: BTreeSet<u32>,
    },
}

impl Default for Lost {
    fn default() -> Self {
        Self::Partitions {
            lost: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }
}

/// The difference. `intents` are by the disks' paths; a disk that the plan does not write is kept
/// whatever they say.
pub fn preview(
    desired: &DesiredMachine,
    inventory: &Inventory,
    decision: Decision,
    intents: &BTreeMap<String, Intent>,
    further: Vec<String>,
) -> Preview {
    let is_installation = matches!(decision, Decision::Install { .. });
    let disks = inventory
        .disks
        .iter()
        .map(|disk| disk_preview(disk, &decision, intents.get(&disk.path)));
    Preview {
        machine: desired.machine.clone(),
        profile: desired.profile.clone(),
        image: desired.image.name.clone(),
        disks: disks.collect(),
        further: if is_installation { further } else { Vec::new() },
        decision,
    }
}

fn disk_preview(disk: &Disk, decision: &Decision, intent: Option<&Intent>) -> DiskPreview {
    let role = role(disk, decision);
    let is_written = matches!(decision, Decision::Install { .. }) && role != Role::Untouched;
    DiskPreview {
        path: disk.path.clone(),
        id: disk.id(),
        size: disk.size,
        model: disk.model.clone(),
        wwn: disk.wwn.clone(),
        transport: disk.transport.clone(),
        role,
        changes: match intent.filter(|_| is_written) {
            Some(intent) => with_intent(disk, intent),
            None => found(disk, |_| Some(Fate::Kept)),
        },
    }
}

fn role(disk: &Disk, decision: &Decision) -> Role {
    let plan = match decision {
        Decision::AlreadyInstalled { receipt, .. } if receipt.disk == disk.id() => {
            return Role::System;
        }
        Decision::Install { plan, .. } | Decision::AlreadyInstalled { plan, .. } => plan,
        Decision::Refuse { .. } => return Role::Untouched,
    };
    let Plan { steps, .. } = plan;
    for step in steps {
        match step {
            Step::ClaimDisk { disk: system, .. } | Step::HandOver { disk: system, .. }
                if system.path == disk.path =>
            {
                return Role::System;
            }
            Step::PrepareDisks { disks, .. } if disks.iter().any(|one| one.path == disk.path) => {
                return Role::Data;
            }
            Step::CommitDisk { receipt } if receipt.data_disks.contains(&disk.id()) => {
                return Role::Data;
            }
            _ => {}
        }
    }
    Role::Untouched
}

fn with_intent(disk: &Disk, intent: &Intent) -> Vec<Change> {
    let fate = |thing: Thing| match &intent.lost {
        Lost::All => Some(Fate::Destroyed),
        Lost::Undecided => Some(Fate::Undecided),
        Lost::Partitions { lost, changed } => match thing {
            Thing::Partition(number) if lost.contains(&number) => Some(Fate::Destroyed),
            Thing::Partition(number) if changed.contains(&number) => None,
            Thing::Partition(_) | Thing::Whole => Some(Fate::Kept),
        },
    };
    let mut changes = found(disk, fate);
    changes.extend(intent.changes.iter().cloned());
    changes
}

/// Where a thing stands.
#[derive(Clone, Copy)]
enum Thing {
    Whole,
    Partition(u32),
}

/// What stands on a disk; `None` from `fate`: it is told of elsewhere.
fn found(disk: &Disk, fate: impl Fn(Thing) -> Option<Fate>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut tell = |thing: Thing, what: String| {
        changes.extend(fate(thing).map(|fate| Change { fate, what }));
    };
    if let Content::Ours { .. } | Content::Unreadable { .. } = &disk.content {
        tell(Thing::Whole, describe_content(&disk.content));
    }
    match (&disk.layout, &disk.content) {
        (Some(layout), _) if !is_empty(layout) => {
            for (thing, what) in things(layout, disk) {
                tell(thing, what);
            }
        }
        // An older agent, or nothing but bytes that are not zero.
        (_, Content::Foreign { signatures }) => {
            for what in signatures {
                tell(Thing::Whole, what.clone());
            }
        }
        _ => {}
    }
    changes
}

fn is_empty(layout: &Layout) -> bool {
    layout.table == PartitionTable::None && layout.signatures.is_empty()
}

fn things(layout: &Layout, disk: &Disk) -> Vec<(Thing, String)> {
    let sector = u64::from(disk.sector_size);
    let mut things = Vec::new();
    let whole = layout.signatures.iter().filter(|found| found.offset == 0);
    match &layout.table {
        PartitionTable::None => {}
        PartitionTable::Mbr => things.push((Thing::Whole, "MBR partition table".to_owned())),
        PartitionTable::Damaged => {
            things.push((Thing::Whole, "a damaged partition table".to_owned()));
        }
        PartitionTable::Gpt { partitions, .. } if partitions.is_empty() => {
            things.push((Thing::Whole, "GPT without partitions".to_owned()));
        }
        PartitionTable::Gpt { partitions, .. } => {
            for partition in partitions {
                let start = partition.start.saturating_mul(sector);
                let inside = layout.signatures.iter();
                let inside = inside.filter(|found| start != 0 && found.offset == start);
                let what = describe_partition(partition, disk.sector_size, inside);
                things.push((Thing::Partition(partition.number), what));
            }
        }
    }
    let is_table = |found: &&Signature| matches!(found.kind.as_str(), "gpt" | "dos" | "PMBR");
    for signature in whole.filter(|found| !is_table(found)) {
        let what = format!("{} on the whole disk", describe_signature(signature));
        things.push((Thing::Whole, what));
    }
    things
}

/// "partition 2 `root`: 3.9 GiB, ext4 `root`". Sector size in bytes.
pub fn describe_partition<'a>(
    partition: &Partition,
    sector_size: u32,
    holds: impl Iterator<Item = &'a Signature>,
) -> String {
    let label = match partition.label.as_str() {
        "" => String::new(),
        label => format!(" `{label}`"),
    };
    let size = ByteSize(partition.sectors.saturating_mul(u64::from(sector_size)));
    let mut text = format!("partition {}{label}: {size}", partition.number);
    for signature in holds {
        text.push_str(", ");
        text.push_str(&describe_signature(signature));
    }
    text
}

fn describe_signature(signature: &Signature) -> String {
    match signature.label.as_deref() {
        None | Some("") => signature.kind.clone(),
        Some(label) => format!("{} `{label}`", signature.kind),
    }
}
