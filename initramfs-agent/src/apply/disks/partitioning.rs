//! A partition table from the plan to the disk and to the kernel; and the erasing of disks.

use anyhow::{Context, Result};
use hardway_ignition::operation::disks::Table;

use super::nodes::{self, Places};
use super::table;
use crate::apply::disk::{BlockDevice, Device, TargetDisk, WITHHELD};
use crate::apply::programs;

/// Writes the table. On the disk under installation, `system`, it is changed in memory, and only the
/// kernel is told; on every other disk it is on the medium when this returns.
pub fn write(wanted: &Table, system: Option<&mut TargetDisk<BlockDevice>>) -> Result<()> {
    match system.filter(|system| system.device().path() == wanted.disk) {
        Some(system) => {
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
            nodes::forget(disk.file(), &wanted.disk, &places)?;
            planned.changes.commit(&mut disk)?;
            finish(wanted, &disk, &places)
        }
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
