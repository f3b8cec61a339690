//! The data disks: those that the configuration writes beside the one that gets the system.
//!
//! One that holds anything is somebody's, until the profile's `wipe`, a grant or this machine's own
//! receipt on the system disk says otherwise.

use super::choose::{describe, is_for, shares_its_id};
use super::{Preparation, Refusal, RefusalReason};
use crate::desired::{DesiredMachine, WipePolicy};
use crate::inventory::{Content, Disk, Inventory};
use crate::receipt::{Receipt, Stage};

/// The data disks of a preparation, in its order.
pub(super) fn disks<'a>(
    desired: &DesiredMachine,
    inventory: &'a Inventory,
    system: &Disk,
    preparation: Option<&Preparation>,
) -> Result<Vec<&'a Disk>, Refusal> {
    let named = preparation.iter().flat_map(|wanted| &wanted.disks);
    named
        .filter(|path| **path != system.path)
        .map(|path| {
            let disk = inventory.disks.iter().find(|disk| disk.path == *path);
            let disk = disk.ok_or_else(|| absent(desired, path))?;
            match unfit(disk) {
                None => Ok(disk),
                Some(why) => Err(unusable(desired, disk, why)),
            }
        })
        .collect()
}

/// Whether this machine's receipt on the system disk lets a data disk be written: an installation
/// that took it was cut off, or is complete and `wipe` says `if-ours`.
pub(super) fn is_held(desired: &DesiredMachine, system: &Disk, disk: &Disk) -> bool {
    receipt(desired, system).is_some_and(|receipt| {
        receipt.data_disks.contains(&disk.id())
            && (receipt.stage == Stage::Writing || desired.wipe == WipePolicy::IfOurs)
    })
}

/// Whether the disk is planned as a blank one.
pub(super) fn begins_blank(
    desired: &DesiredMachine,
    inventory: &Inventory,
    system: &Disk,
    disk: &Disk,
) -> bool {
    let was_taken_blank = || {
        let begun = receipt(desired, system).filter(|receipt| receipt.stage == Stage::Writing);
        begun.is_some_and(|receipt| receipt.blank_data_disks.contains(&disk.id()))
            && !shares_its_id(disk, inventory)
    };
    match disk.content {
        Content::Blank => true,
        Content::Unreadable { .. } => false,
        Content::Ours { .. } | Content::Foreign { .. } => was_taken_blank(),
    }
}

fn receipt<'a>(desired: &DesiredMachine, system: &'a Disk) -> Option<&'a Receipt> {
    match &system.content {
        Content::Ours { receipt } if is_for(receipt, desired) => Some(receipt),
        _ => None,
    }
}

fn unfit(disk: &Disk) -> Option<&'static str> {
    if disk.removable {
        return Some("is removable");
    }
    if disk.is_an_appliances() {
        return Some("an appliance starts from (partitions ESP and CONFIG)");
    }
    disk.read_only.then_some("refuses writes")
}

fn absent(desired: &DesiredMachine, path: &str) -> Refusal {
    Refusal {
        reason: RefusalReason::NoDiskFits,
        cause: format!(
            "the configuration of profile `{}` writes {path}, and the machine has no such disk",
            desired.profile
        ),
        remedy: "change the configuration's `storage`, or the machine's disks".to_owned(),
        grantable: Vec::new(),
    }
}

fn unusable(desired: &DesiredMachine, disk: &Disk, why: &str) -> Refusal {
    Refusal {
        reason: RefusalReason::DiskUnusable,
        cause: format!(
            "the configuration of profile `{}` writes {}, which {why}",
            desired.profile,
            describe(disk)
        ),
        remedy: "change the configuration's `storage`, or the machine's disks".to_owned(),
        grantable: Vec::new(),
    }
}
