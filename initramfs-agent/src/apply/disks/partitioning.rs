//! A partition table from the plan to the disk and to the kernel; and the erasing of disks.

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::disks::{Fate, Table, TableEntry};

use super::nodes::{self, Places};
use super::table;
use crate::apply::disk::{BlockDevice, Device, TargetDisk, WITHHELD};
use crate::apply::programs;

/// Writes the table. On the disk under installation, `system`, it is changed in memory, and only the
/// kernel is told; on every other disk it is on the medium when this returns.
pub fn write(wanted: &Table, system: Option<&mut TargetDisk<BlockDevice>>) -> Result<()> {
    match system.filter(|system| system.device().path() == wanted.disk) {
        Some(system) => {
            keep_out_of_the_head(wanted)?;
            let planned = table::plan(system, wanted)?;
            let places = nodes::places(&wanted.entries, wanted.sector_size);
            nodes::forget(system.device().file(), &wanted.disk, &places)?;
            planned.changes.commit(system)?;
            // Partitions may reach there now, and what is written to them goes past the view.
            system.release_tail(planned.end_of_usable)?;
            system.sync()?;
            finish(wanted, system.device(), &places)
        }
        None => {
            let mut disk = BlockDevice::open(&wanted.disk)?;
            let planned = table::plan(&disk, wanted)?;
            let places = nodes::places(&wanted.entries, wanted.sector_size);
            if wanted.wipe {
                nodes::forget(disk.file(), &wanted.disk, &Places::new())?;
                // Other kinds of table, and what stood on the disk as a whole.
                erase_signatures(&wanted.disk)?;
            }
            nodes::forget(disk.file(), &wanted.disk, &places)?;
            planned.changes.commit(&mut disk)?;
            finish(wanted, &disk, &places)
        }
    }
}

/// What is written to a partition in the withheld first MiB would be lost when that is committed.
fn keep_out_of_the_head(wanted: &Table) -> Result<()> {
    let starts_there = |entry: &&TableEntry| {
        matches!(entry.fate, Fate::Created | Fate::Recreated)
            && entry.start * u64::from(wanted.sector_size) < WITHHELD
    };
    match wanted.entries.iter().find(starts_there) {
        Some(entry) => bail!(
            "partition {} would begin in the first MiB, where the system's disk has its receipt",
            entry.number
        ),
        None => Ok(()),
    }
}

/// Tells the kernel, and erases what earlier uses left in the space of new partitions.
fn finish(wanted: &Table, disk: &BlockDevice, places: &Places) -> Result<()> {
    nodes::announce(disk.file(), &wanted.disk, places)?;
    for number in &wanted.erase {
        erase_signatures(&nodes::partition(&wanted.disk, *number))?;
    }
    Ok(())
}

/// Makes a whole disk blank: the signatures in its partitions, its own, and its ends.
pub fn erase(path: &str) -> Result<()> {
    let mut disk = BlockDevice::open(path)?;
    for number in nodes::known(std::path::Path::new("/sys"), path).into_keys() {
        erase_signatures(&nodes::partition(path, number))?;
    }
    nodes::forget(disk.file(), path, &Places::new())?;
    erase_signatures(path)?;
    let size = disk.size();
    let end = WITHHELD.min(size);
    disk.zero(0, end)
        .and_then(|()| disk.zero(size - end, end))
        .and_then(|()| disk.sync())
        .with_context(|| format!("clearing the ends of {path}"))
}

fn erase_signatures(device: &str) -> Result<()> {
    nodes::wait_for(device)?;
    programs::run("wipefs", &["--all", "--force", device]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_partitions_keep_out_of_the_first_mib() {
        for (start, sector_size, fate, is_right) in [
            (34, 512, Fate::Created, false),
            (2047, 512, Fate::Recreated, false),
            (2048, 512, Fate::Created, true),
            (255, 4096, Fate::Created, false),
            (256, 4096, Fate::Created, true),
            (34, 512, Fate::Kept, true),
        ] {
            let entry = TableEntry {
                number: 1,
                start,
                sectors: 8,
                type_guid: String::new(),
                guid: None,
                label: String::new(),
                attributes: 0,
                fate,
            };
            let table = Table {
                disk: "/dev/vda".into(),
                sector_size,
                found: None,
                wipe: false,
                deleted: Vec::new(),
                entries: vec![entry],
                erase: Vec::new(),
            };
            assert_eq!(keep_out_of_the_head(&table).is_ok(), is_right, "{start}");
        }
    }
}
