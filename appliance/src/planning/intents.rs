//! What image and configuration do with each disk, for a plan that is shown before it happens.

use std::collections::BTreeMap;

use hardway_ignition::operation::disks::{self, Device, Filesystem, Table, TableEntry};
use hardway_ignition::{Operation, Operations};
use hardway_model::inventory::{Disk, Inventory};
use hardway_model::layout::{Partition, PartitionTable};
use hardway_model::plan::{Decision, Step};
use hardway_model::preview::{Change, Fate, Intent, Lost, describe_partition};

use super::image::ImageTable;

/// The disks' intents by path, and what is made of several of them.
pub fn intents(
    decision: &Decision,
    inventory: &Inventory,
    image: Option<&ImageTable>,
    work: Option<&Operations>,
) -> (BTreeMap<String, Intent>, Vec<String>) {
    let Decision::Install { plan, .. } = decision else {
        return Default::default();
    };
    let mut intents: BTreeMap<String, Intent> = BTreeMap::new();
    let mut gets_the_image = None;
    let operations = work.map_or(&[][..], |work| &work.operations);
    for step in &plan.steps {
        match step {
            Step::ClaimDisk { disk, .. } => {
                let found = inventory.disks.iter().find(|one| one.path == disk.path);
                let Some(found) = found else { continue };
                let own = tables(operations).find(|table| table.disk == disk.path);
                intents.insert(disk.path.clone(), system(found, image, own, &plan.steps));
                gets_the_image = Some(disk.path.as_str());
            }
            Step::PrepareDisks { disks, erase, .. } => {
                for disk in disks {
                    intents.entry(disk.path.clone()).or_default();
                }
                for path in erase {
                    intents.entry(path.clone()).or_default().lost = Lost::All;
                }
            }
            Step::CommitDisk { receipt } => {
                let taken = |disk: &&Disk| receipt.data_disks.contains(&disk.id());
                for disk in inventory.disks.iter().filter(taken) {
                    intents.entry(disk.path.clone()).or_insert_with(by_itself);
                }
            }
            _ => {}
        }
    }
    let mut further = Vec::new();
    // The table of the disk that gets the image was told with it.
    let is_told = |operation: &&Operation| match operation {
        Operation::WriteTable(table) => Some(table.disk.as_str()) == gets_the_image,
        _ => false,
    };
    for operation in operations.iter().filter(|operation| !is_told(operation)) {
        data(operation, inventory, &mut intents, &mut further);
    }
    (intents, further)
}

/// Of a disk that the image's own Ignition writes at its first start.
fn by_itself() -> Intent {
    Intent {
        lost: Lost::Undecided,
        changes: vec![Change {
            fate: Fate::Undecided,
            what: "what the image's own Ignition makes of the configuration at its first start"
                .to_owned(),
        }],
    }
}

fn tables(operations: &[Operation]) -> impl Iterator<Item = &Table> {
    operations.iter().filter_map(|operation| match operation {
        Operation::WriteTable(table) => Some(table),
        _ => None,
    })
}

/// The disk that gets the image: nothing of it stays.
fn system(disk: &Disk, image: Option<&ImageTable>, own: Option<&Table>, steps: &[Step]) -> Intent {
    let created = |what: String| Change {
        fate: Fate::Created,
        what,
    };
    let mut changes = Vec::new();
    match image {
        None => changes.push(created(
            "what the image brings; its partition table is not known here, because it comes from a URL"
                .to_owned(),
        )),
        Some(ImageTable::Mbr) => {
            changes.push(created("the image, with an MBR partition table".to_owned()));
        }
        Some(table) => {
            let brought = table.entries();
            let entries = own.map_or(brought, |table| &table.entries);
            let last = table.usable(disk.size, disk.sector_size).map(|(_, last)| last);
            for entry in entries {
                let grown = grown(entry, entries, brought, last, steps);
                let partition = partition(entry, grown.unwrap_or(entry.sectors));
                let mut what = describe_partition(&partition, disk.sector_size, [].into_iter());
                let is_brought = brought.iter().any(|one| one.number == entry.number);
                what.push_str(match (is_brought, grown) {
                    (true, Some(_)) => ", from the image, grown",
                    (true, None) => ", from the image",
                    (false, _) => "",
                });
                changes.push(created(what));
            }
        }
    }
    Intent {
        lost: Lost::All,
        changes,
    }
}

/// The length to which a plan lets a partition grow, in sectors.
fn grown(
    entry: &TableEntry,
    entries: &[TableEntry],
    brought: &[TableEntry],
    last_usable: Option<u64>,
    steps: &[Step],
) -> Option<u64> {
    let which = steps.iter().find_map(|step| match step {
        Step::GrowPartitionTable { partition } => Some(*partition),
        _ => None,
    })?;
    let number = match which {
        Some(number) => number,
        None => brought.iter().max_by_key(|entry| entry.start)?.number,
    };
    if number != entry.number {
        return None;
    }
    let behind = entries.iter().map(|other| other.start);
    let next = behind.filter(|start| *start > entry.start).min();
    let end = next.or_else(|| Some(last_usable? + 1))?;
    end.checked_sub(entry.start)
}

fn partition(entry: &TableEntry, sectors: u64) -> Partition {
    Partition {
        number: entry.number,
        start: entry.start,
        sectors,
        type_guid: entry.type_guid.clone(),
        guid: entry.guid.clone().unwrap_or_default(),
        label: entry.label.clone(),
        attributes: entry.attributes,
    }
}

/// What an operation does, told with the disk that it is on, else among what is made of several.
fn data(
    operation: &Operation,
    inventory: &Inventory,
    intents: &mut BTreeMap<String, Intent>,
    further: &mut Vec<String>,
) {
    match operation {
        Operation::WriteTable(table) => {
            if let Some(intent) = intents.get_mut(&table.disk) {
                write_table(table, intent);
            }
        }
        Operation::MakeFilesystem(filesystem) => {
            let intent = filesystem
                .device
                .disk()
                .and_then(|disk| intents.get_mut(disk));
            match intent {
                Some(intent) => make_filesystem(filesystem, operation, inventory, intent),
                None => further.extend(operation.describe()),
            }
        }
        Operation::CreateArray(array) => {
            array
                .devices
                .iter()
                .for_each(|member| lose(member, intents));
            further.extend(operation.describe());
        }
        Operation::OpenVolume(volume) => {
            if volume.wipe {
                lose(&volume.device, intents);
            }
            further.extend(operation.describe());
        }
        Operation::Mount(_) => further.extend(operation.describe()),
        _ => {}
    }
}

/// What a device holds is gone.
fn lose(device: &Device, intents: &mut BTreeMap<String, Intent>) {
    let Some(intent) = device.disk().and_then(|disk| intents.get_mut(disk)) else {
        return;
    };
    match (&mut intent.lost, device) {
        (Lost::Partitions { lost, .. }, Device::Partition { number, .. }) => {
            lost.insert(*number);
        }
        (everything, _) => *everything = Lost::All,
    }
}

fn write_table(table: &Table, intent: &mut Intent) {
    let found = table.found.as_deref().unwrap_or_default();
    let stays = |number: u32| table.entries.iter().find(|entry| entry.number == number);
    match &mut intent.lost {
        Lost::All | Lost::Undecided => {}
        // Without a GPT so far, whatever stands there is under the new one.
        everything if table.wipe || table.found.is_none() => *everything = Lost::All,
        Lost::Partitions { lost, changed } => {
            for before in found {
                match stays(before.number).map(|entry| entry.fate) {
                    None | Some(disks::Fate::Recreated | disks::Fate::Created) => {
                        lost.insert(before.number);
                    }
                    Some(disks::Fate::Resized) => {
                        changed.insert(before.number);
                    }
                    Some(disks::Fate::Kept) => {}
                }
            }
        }
    }
    for entry in &table.entries {
        let fate = match entry.fate {
            disks::Fate::Kept => continue,
            disks::Fate::Created | disks::Fate::Recreated => Fate::Created,
            disks::Fate::Resized => Fate::Changed,
        };
        let partition = partition(entry, entry.sectors);
        let mut what = describe_partition(&partition, table.sector_size, [].into_iter());
        if fate == Fate::Changed {
            what.push_str(", resized, keeping what it holds");
        }
        intent.changes.push(Change { fate, what });
    }
}

fn make_filesystem(
    filesystem: &Filesystem,
    operation: &Operation,
    inventory: &Inventory,
    intent: &mut Intent,
) {
    let number = match &filesystem.device {
        Device::Partition { number, .. } => Some(*number),
        _ => None,
    };
    let is_kept = !filesystem.wipe
        && match (&intent.lost, number) {
            (Lost::All | Lost::Undecided, _) => false,
            (Lost::Partitions { lost, .. }, Some(number)) => {
                !lost.contains(&number) && holds_something(&filesystem.device, inventory)
            }
            (Lost::Partitions { .. }, None) => holds_something(&filesystem.device, inventory),
        };
    match (&mut intent.lost, number) {
        _ if !filesystem.wipe => {}
        (Lost::Partitions { lost, .. }, Some(number)) => {
            lost.insert(number);
        }
        (everything, _) => *everything = Lost::All,
    }
    let changes = operation.describe().into_iter().map(|what| Change {
        fate: if is_kept { Fate::Kept } else { Fate::Created },
        what,
    });
    intent.changes.extend(changes);
}

/// Whether something is recognised on a disk or one of its partitions.
fn holds_something(device: &Device, inventory: &Inventory) -> bool {
    let disk = inventory
        .disks
        .iter()
        .find(|disk| Some(disk.path.as_str()) == device.disk());
    let Some((disk, layout)) = disk.and_then(|disk| Some((disk, disk.layout.as_ref()?))) else {
        return false;
    };
    let offset = match device {
        Device::Partition { number, .. } => {
            let PartitionTable::Gpt { partitions, .. } = &layout.table else {
                return false;
            };
            let found = partitions
                .iter()
                .find(|partition| partition.number == *number);
            found.map(|partition| {
                let sector_size = u64::from(disk.sector_size);
                partition.start.saturating_mul(sector_size)
            })
        }
        _ => Some(0),
    };
    layout
        .signatures
        .iter()
        .any(|found| Some(found.offset) == offset)
}
