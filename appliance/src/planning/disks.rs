//! What the operations of a configuration do with disks, for the planner to judge.

use std::collections::BTreeSet;
use std::path::Path;

use hardway_ignition::operation::disks::Device;
use hardway_ignition::operation::{Segment, Stage};
use hardway_ignition::{Config, Operation, Operations, hardware};
use hardway_model::desired::DesiredMachine;
use hardway_model::inventory::{Content, Disk, Inventory};
use hardway_model::load_option::HardDrive;
use hardway_model::plan::{Growth, Preparation, begins_blank, only_system_partition};

use super::image::ImageTable;
use crate::toolbox;

/// What a preparation is worked out from, beside the configuration.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub desired: &'a DesiredMachine,
    pub inventory: &'a Inventory,
    pub system: &'a Disk,
    pub hardware: &'a hardware::Hardware,
    pub table: Option<&'a ImageTable>,
}

/// Whether a configuration says anything of disks, so that the image's table may matter.
pub fn concerns(config: &Config) -> bool {
    let storage = &config.storage;
    !(storage.disks.is_empty()
        && storage.raid.is_empty()
        && storage.luks.is_empty()
        && storage.filesystems.is_empty())
}

/// What the planner judges and shows.
///
/// # Errors
///
/// A part of the toolbox that is not there; a configuration that would destroy the new system.
pub fn preparation(
    config: &Config,
    work: &Operations,
    facts: Facts<'_>,
    toolbox: &Path,
) -> Result<Preparation, String> {
    spare_the_system(work, facts.system)?;
    let disks = written(work);
    let mut segments = work.toolbox();
    if disks.iter().any(|path| is_erased(path, facts)) {
        segments.insert(Segment::Storage);
    }
    Ok(Preparation {
        toolbox: toolbox::segments(toolbox, &segments)?,
        is_staged: work.of(Stage::Disks).next().is_some(),
        summary: work.describe_disks(),
        growth: growth(config, facts),
        disks,
        system_partition: None,
    })
}

/// The EFI system partition as it will stand on the disk, where that is certain: the configuration does
/// not work on the disk, and the partition does not grow.
pub fn system_partition(
    preparation: &Preparation,
    system: &Disk,
    table: Option<&ImageTable>,
) -> Option<HardDrive> {
    let entries = table?.entries();
    let found = only_system_partition(entries.iter().map(|entry| {
        let place = (entry.number, entry.start, entry.sectors);
        let guid = entry.guid.as_deref().unwrap_or_default();
        (entry.type_guid.as_str(), guid, place)
    }))?;
    let is_last = entries.iter().all(|entry| entry.start <= found.start);
    let is_worked_on = preparation.is_staged && preparation.disks.contains(&system.path);
    (!is_last && !is_worked_on).then_some(found)
}

/// Nodes of the disks that the disks and mount stages write, in order.
fn written(work: &Operations) -> Vec<String> {
    let mut disks = BTreeSet::new();
    for operation in &work.operations {
        let devices: &[Device] = match operation {
            Operation::WriteTable(table) => {
                disks.insert(table.disk.clone());
                continue;
            }
            Operation::CreateArray(array) => &array.devices,
            Operation::OpenVolume(volume) => std::slice::from_ref(&volume.device),
            Operation::MakeFilesystem(filesystem) => std::slice::from_ref(&filesystem.device),
            Operation::Mount(mount) => std::slice::from_ref(&mount.device),
            _ => continue,
        };
        disks.extend(devices.iter().filter_map(|device| match device {
            Device::Disk(disk) | Device::Partition { disk, .. } => Some(disk.clone()),
            // Made of what other operations name.
            Device::Array(_) | Device::Volume(_) => None,
        }));
    }
    disks.into_iter().collect()
}

fn is_erased(path: &str, facts: Facts<'_>) -> bool {
    let disk = facts.inventory.disks.iter().find(|disk| disk.path == path);
    disk.is_some_and(|disk| {
        disk.path != facts.system.path
            && disk.content != Content::Blank
            && begins_blank(facts.desired, facts.inventory, disk)
    })
}

fn spare_the_system(work: &Operations, system: &Disk) -> Result<(), String> {
    let destroys = |operation: &Operation| match operation {
        Operation::WriteTable(table) => table.wipe && table.disk == system.path,
        Operation::CreateArray(array) => {
            array.devices.iter().any(|device| is_whole(device, system))
        }
        Operation::OpenVolume(volume) => is_whole(&volume.device, system),
        Operation::MakeFilesystem(filesystem) => is_whole(&filesystem.device, system),
        _ => false,
    };
    match work.operations.iter().find(|operation| destroys(operation)) {
        None => Ok(()),
        Some(operation) => Err(format!(
            "the configuration would destroy the system that is written to {}: {}",
            system.path,
            operation.describe().join("; ")
        )),
    }
}

fn is_whole(device: &Device, system: &Disk) -> bool {
    *device == Device::Disk(system.path.clone())
}

/// The image's last partition grows to the end of the disk, or up to what the configuration puts
/// behind it, unless the configuration lists it itself.
fn growth(config: &Config, facts: Facts<'_>) -> Growth {
    let system = facts.hardware.disks.iter();
    let Some(system) = system.clone().find(|disk| disk.path == facts.system.path) else {
        return Growth::Fill;
    };
    let names_it = |device: &String| *device == system.path || system.aliases.contains(device);
    let named = config.storage.disks.iter();
    let named = named.filter(|disk| names_it(&disk.device));
    let listed: Vec<i64> = named
        .flat_map(|disk| &disk.partitions)
        .map(|partition| partition.number)
        .collect();
    let entries = facts.table.map(ImageTable::entries).unwrap_or_default();
    let last = entries.iter().max_by_key(|entry| entry.start);
    match last {
        Some(_) if listed.is_empty() => Growth::Fill,
        Some(last) if listed.contains(&i64::from(last.number)) => Growth::Configured,
        Some(last) => Growth::UpToNext(last.number),
        None => Growth::Fill,
    }
}

#[cfg(test)]
mod tests {
    use hardway_ignition::operation::disks::TableEntry;

    use super::*;
    use crate::fixture::{MAC, inventory};

    fn entry(number: u32, start: u64, type_guid: &str) -> TableEntry {
        TableEntry {
            number,
            start,
            sectors: 2048,
            type_guid: type_guid.into(),
            guid: Some("00112233-4455-6677-8899-AABBCCDDEEFF".into()),
            label: String::new(),
            attributes: 0,
            fate: Default::default(),
        }
    }

    #[test]
    fn a_system_partition_is_known_where_nothing_changes_it() {
        const SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
        let inventory = inventory(MAC, Content::Blank);
        let disk = &inventory.disks[0];
        let table = |entries: Vec<TableEntry>| ImageTable::Gpt {
            first_usable: 34,
            entry_sectors: 32,
            entries,
        };
        let first = table(vec![entry(1, 4096, LINUX), entry(2, 2048, SYSTEM)]);
        let find = |preparation: &Preparation, table: Option<&ImageTable>| {
            system_partition(preparation, disk, table).map(|found| (found.number, found.start))
        };
        let mut preparation = Preparation::default();
        assert_eq!(find(&preparation, Some(&first)), Some((2, 2048)));
        assert_eq!(find(&preparation, None), None);
        assert_eq!(find(&preparation, Some(&ImageTable::Mbr)), None);
        // The last one grows.
        let last = table(vec![entry(1, 2048, LINUX), entry(2, 4096, SYSTEM)]);
        assert_eq!(find(&preparation, Some(&last)), None);
        preparation.is_staged = true;
        preparation.disks = vec!["/dev/vdb".into()];
        assert_eq!(find(&preparation, Some(&first)), Some((2, 2048)));
        preparation.disks = vec![disk.path.clone()];
        assert_eq!(find(&preparation, Some(&first)), None);
    }
}
