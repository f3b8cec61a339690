//! The disks stage: tables, arrays, volumes and filesystems, as `hardway_ignition::operation::disks`
//! describes them.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`table`], [`edits`], [`guid`] | partition tables, changed in memory and written at once |
//! | [`partitioning`] | brings a table to a disk and to the kernel; erases |
//! | [`array`] | mdadm |
//! | [`volume`] | cryptsetup and clevis |
//! | [`filesystem`], [`probe`] | mkfs; what stands on a device |
//! | [`nodes`] | device nodes, and what the kernel knows of partitions |

mod array;
mod edits;
mod filesystem;
mod guid;
pub mod nodes;
mod partitioning;
mod probe;
mod table;
pub mod volume;

use std::path::Path;

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::Operation;
use hardway_ignition::operation::disks::Device;

use super::content::{self, Sources};
use super::disk::{BlockDevice, TargetDisk};
use super::modules::{self, Modules};
use crate::reports::Reports;

pub use partitioning::erase;

/// What the stage works with.
pub struct Work<'a> {
    /// The disk whose ends are withheld, if there is one: its table is changed in memory.
    pub system: Option<&'a mut TargetDisk<BlockDevice>>,
    /// Kernel modules.
    pub modules: Modules<'a>,
    /// Where keys come from.
    pub sources: &'a Sources<'a>,
    /// Who is told.
    pub reports: &'a Reports,
    /// What is open in the end.
    pub opened: &'a mut Opened,
}

/// The arrays and volumes that this program has started, in that order. Dropping it stops them.
#[derive(Default)]
pub struct Opened(Vec<Device>);

impl Opened {
    /// Stops everything, the last first, so that the next kernel finds clean disks. All are tried; the
    /// first error counts.
    pub fn close(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(device) = self.0.pop() {
            let closed = match &device {
                Device::Array(name) => array::stop(name),
                Device::Volume(name) => volume::close(name),
                _ => Ok(()),
            };
            outcome = outcome.and(closed.with_context(|| format!("closing {device}")));
        }
        outcome
    }

    /// Lets everything run on, for whoever comes next.
    pub fn leave(mut self) {
        self.0.clear();
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // An error is under way already; a device that stays busy tells at the next try.
        let _ = self.close();
    }
}

/// Carries out the operations of the disks stage, in order.
pub fn carry_out<'o>(
    operations: impl IntoIterator<Item = &'o Operation>,
    work: &mut Work<'_>,
) -> Result<usize> {
    let mut count = 0;
    for operation in operations {
        let (what, done) = execute(operation, work)?;
        work.reports.log(&format!("{what}: {done}"));
        count += 1;
    }
    Ok(count)
}

/// What was worked on, and what was done to it.
fn execute(operation: &Operation, work: &mut Work<'_>) -> Result<(String, &'static str)> {
    match operation {
        Operation::WriteTable(table) => {
            let what = format!("the partition table of {}", table.disk);
            partitioning::write(table, work.system.as_deref_mut())
                .with_context(|| format!("writing {what}"))?;
            Ok((what, "written"))
        }
        Operation::CreateArray(array) => {
            let what = format!("the array {}", array.name);
            work.modules.load(modules::of_array(&array.level));
            array::create(array).with_context(|| format!("creating {what}"))?;
            work.opened.0.push(Device::Array(array.name.clone()));
            Ok((what, "created"))
        }
        Operation::OpenVolume(volume) => {
            let what = format!("the volume {} on {}", volume.name, volume.device);
            work.modules.load(modules::ENCRYPTION);
            if volume.clevis.is_some() {
                work.modules.load(modules::TPM);
            }
            let key = volume.key.as_ref();
            let key = key.map(|key| content::bytes(key, work.sources));
            let stands = Path::new(&format!("/dev/mapper/{}", volume.name)).exists();
            let opened = key
                .transpose()
                .and_then(|key| volume::open(volume, key.as_deref()));
            if opened.is_err() && !stands {
                // It may have been opened before something else failed.
                let _ = volume::close(&volume.name);
            }
            let done = opened.with_context(|| format!("opening {what}"))?;
            work.opened.0.push(Device::Volume(volume.name.clone()));
            Ok((what, done))
        }
        Operation::MakeFilesystem(wanted) => {
            let what = format!("{} on {}", wanted.format.name(), wanted.device);
            let done = filesystem::make(wanted).with_context(|| format!("making {what}"))?;
            Ok((what, done))
        }
        other => bail!("`{}` is not of the disks stage", other.subject()),
    }
}
