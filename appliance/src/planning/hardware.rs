//! A machine's inventory → what the planner of its configuration has to know.

use hardway_ignition::hardware::{Disk, Hardware, Signature, Table};
use hardway_ignition::operation::disks::TableEntry;
use hardway_model::desired::DesiredMachine;
use hardway_model::inventory::{self, Inventory};
use hardway_model::layout::{Layout, Partition, PartitionTable};
use hardway_model::plan;

use super::image::ImageTable;

/// Fedora CoreOS's name for the disk that it was started from.
const BOOT_DISK: &str = "/dev/disk/by-id/coreos-boot-disk";

/// The machine as its disks stage finds it: the image on the system disk, and the data disks as they
/// stand, or erased where an interrupted installation had taken them. Without the image's table the
/// system disk is left out: nothing can be said of it.
pub fn hardware(
    desired: &DesiredMachine,
    inventory: &Inventory,
    system: &inventory::Disk,
    image: Option<&ImageTable>,
) -> Hardware {
    let disks = inventory.disks.iter();
    let disks = disks.filter_map(|disk| match disk.path == system.path {
        true => image.map(|image| with_system(disk, image)),
        false => Some(data_disk(
            disk,
            plan::begins_blank(desired, inventory, disk),
        )),
    });
    Hardware {
        disks: disks.collect(),
        tpm2: inventory.tpm2,
    }
}

fn with_system(disk: &inventory::Disk, image: &ImageTable) -> Disk {
    let mut aliases = disk.aliases.clone();
    aliases.push(BOOT_DISK.to_owned());
    Disk {
        table: match image.usable(disk.size, disk.sector_size) {
            Some(usable) => Table::Gpt {
                usable,
                entries: image.entries().to_vec(),
            },
            None => Table::Mbr,
        },
        aliases,
        ..described(disk, true)
    }
}

fn data_disk(disk: &inventory::Disk, begins_blank: bool) -> Disk {
    let described = described(disk, begins_blank);
    if begins_blank {
        return described;
    }
    match &disk.layout {
        Some(layout) => Disk {
            table: table(&layout.table),
            signatures: signatures(layout),
            ..described
        },
        None => Disk {
            table: Table::Damaged,
            ..described
        },
    }
}

/// A blank disk of that kind.
fn described(disk: &inventory::Disk, claimed: bool) -> Disk {
    Disk {
        path: disk.path.clone(),
        aliases: disk.aliases.clone(),
        size: disk.size,
        sector_size: disk.sector_size,
        table: Table::None,
        signatures: Vec::new(),
        // The machine runs from memory.
        in_use: false,
        active: Vec::new(),
        claimed,
    }
}

/// A table as the planner takes it.
pub fn table(table: &PartitionTable) -> Table {
    match table {
        PartitionTable::None => Table::None,
        PartitionTable::Gpt {
            first_usable,
            last_usable,
            partitions,
        } => Table::Gpt {
            usable: (*first_usable, *last_usable),
            entries: partitions.iter().map(entry).collect(),
        },
        PartitionTable::Mbr => Table::Mbr,
        PartitionTable::Damaged => Table::Damaged,
    }
}

fn entry(partition: &Partition) -> TableEntry {
    TableEntry {
        number: partition.number,
        start: partition.start,
        sectors: partition.sectors,
        type_guid: partition.type_guid.clone(),
        guid: Some(partition.guid.clone()),
        label: partition.label.clone(),
        attributes: partition.attributes,
        fate: Default::default(),
    }
}

/// What was recognised, as the planner takes it.
pub fn signatures(layout: &Layout) -> Vec<Signature> {
    let signatures = layout.signatures.iter();
    signatures
        .map(|signature| Signature {
            offset: signature.offset,
            kind: signature.kind.clone(),
            label: signature.label.clone(),
            uuid: signature.uuid.clone(),
        })
        .collect()
}
