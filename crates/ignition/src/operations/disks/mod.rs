//! The disks and mount stages: tables, arrays, volumes, filesystems, and what is mounted.
//!
//! In the order in which they are carried out, because each names what the ones before it make:
//! `partitions` (with `space` and `wanted`) plans one disk's table, `devices` says what a name stands for once
//! the tables are written, `arrays`, `volumes` and `filesystems` build on that.

mod arrays;
mod clevis;
mod devices;
mod filesystems;
pub mod partitions;
mod space;
mod volumes;
mod wanted;

use std::collections::BTreeMap;

use super::{Circumstances, Plan};
use crate::config::Storage;
use crate::hardware::Hardware;
use crate::operation::Operation;
use crate::operation::disks::{Device, Volume};
use devices::Devices;

/// The operations of both stages. Without hardware everything is judged that can be judged without,
/// and there are none.
pub(super) fn add(
    storage: &Storage,
    circumstances: &Circumstances<'_>,
    plan: &mut Plan,
) -> Vec<Volume> {
    let mut target = Target {
        devices: circumstances.hardware.map(Devices::new),
        uses: BTreeMap::new(),
        tpm2: circumstances.hardware.map(|hardware| hardware.tpm2),
    };
    add_tables(storage, circumstances.hardware, &mut target, plan);
    arrays::add(&storage.raid, &mut target, plan);
    let volumes = volumes::add(&storage.luks, &mut target, plan);
    filesystems::add(&storage.filesystems, &mut target, plan);
    volumes
}

/// What the operations so far make of the machine.
struct Target<'a> {
    /// `None`: nothing is known of the machine.
    devices: Option<Devices<'a>>,
    /// What each device is used for, so that nothing is used twice.
    uses: BTreeMap<Device, String>,
    /// Outer `None`: nothing is known of the machine; inner: nobody looked.
    tpm2: Option<Option<bool>>,
}

impl Target<'_> {
    /// What a device's name stands for; `None` without a machine, or when it was refused.
    fn resolve(&self, name: &str, at: &str, plan: &mut Plan) -> Option<Device> {
        match self.devices.as_ref()?.resolve(name) {
            Ok(device) => Some(device),
            Err(message) => {
                plan.refuse(at, message);
                None
            }
        }
    }

    /// Takes a device for one use, and refuses a second.
    fn take(&mut self, device: &Device, purpose: String, at: &str, plan: &mut Plan) {
        match self.uses.get(device) {
            Some(earlier) => plan.refuse(at, format!("{device} is {earlier} already")),
            None => {
                self.uses.insert(device.clone(), purpose);
            }
        }
    }
}

fn add_tables(
    storage: &Storage,
    hardware: Option<&Hardware>,
    target: &mut Target<'_>,
    plan: &mut Plan,
) {
    if hardware.is_none() {
        return;
    }
    let mut paths: BTreeMap<String, usize> = BTreeMap::new();
    for (index, spec) in storage.disks.iter().enumerate() {
        let at = format!("$.storage.disks.{index}");
        let Some(devices) = &mut target.devices else {
            return;
        };
        let disk = match devices.disk(&spec.device) {
            Ok(planned) => planned.disk,
            Err(message) => {
                plan.refuse(format!("{at}.device"), message);
                continue;
            }
        };
        if let Some(earlier) = paths.insert(disk.path.clone(), index) {
            let message = format!(
                "{} is the disk of $.storage.disks.{earlier} under another name",
                spec.device
            );
            plan.refuse(format!("{at}.device"), message);
            continue;
        }
        match partitions::plan(disk, spec, &at) {
            Ok(Some(table)) => {
                devices.set_table(&table.disk, &table.entries, &table.erase);
                plan.operations.push(Operation::WriteTable(table));
            }
            Ok(None) => {}
            Err(problems) => plan.problems.extend(problems),
        }
    }
}
