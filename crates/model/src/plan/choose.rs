//! Which disk, and whether it may be written.

use super::steps;
use super::{Circumstances, Decision, Grant, Refusal, RefusalReason};
use crate::desired::{ConfigApplier, DesiredMachine, WipePolicy};
use crate::inventory::{Content, Disk, Inventory};
use crate::quantity::ByteSize;
use crate::receipt::{Receipt, Stage};

use super::select::select;

pub(super) fn plan(
    desired: &DesiredMachine,
    inventory: &Inventory,
    circumstances: Circumstances<'_>,
) -> Decision {
    if let Some((disk, receipt)) = installed(desired, inventory, circumstances.generation) {
        return Decision::AlreadyInstalled {
            plan: steps::hand_over_only(desired, disk, receipt.generation),
            receipt: Box::new(receipt.clone()),
        };
    }
    let permitted = applier_is_supported(desired)
        .and_then(|()| select(desired, inventory))
        .and_then(|disk| {
            Ok((
                disk,
                may_write(desired, disk, inventory, circumstances.grant)?,
            ))
        });
    match permitted {
        Ok((disk, permission)) => Decision::Install {
            plan: steps::install(desired, disk, circumstances),
            spends_grant: permission == Permission::Grant,
        },
        Err(refusal) => Decision::Refuse { refusal },
    }
}

/// The disk that holds this machine's finished installation, whatever the selector says by now. A
/// generation above the wanted one is the work of an appliance that has since lost its journal.
fn installed<'a>(
    desired: &DesiredMachine,
    inventory: &'a Inventory,
    generation: u32,
) -> Option<(&'a Disk, &'a Receipt)> {
    let mut found: Option<(&Disk, &Receipt)> = None;
    for disk in inventory.disks.iter().filter(|disk| !disk.removable) {
        let Content::Ours { receipt } = &disk.content else {
            continue;
        };
        let fulfils = receipt.stage == Stage::Complete
            && is_for(receipt, desired)
            && receipt.generation >= generation;
        if fulfils && found.is_none_or(|(_, best)| receipt.generation > best.generation) {
            found = Some((disk, receipt));
        }
    }
    found
}

fn is_for(receipt: &Receipt, desired: &DesiredMachine) -> bool {
    receipt.cluster == desired.cluster && receipt.machine == desired.machine
}

fn applier_is_supported(desired: &DesiredMachine) -> Result<(), Refusal> {
    let name = match desired.image.config {
        ConfigApplier::Agent => return Ok(()),
        ConfigApplier::Flatcar => "flatcar",
        ConfigApplier::FedoraCoreos => "fedora-coreos",
    };
    Err(Refusal {
        reason: RefusalReason::Configuration,
        cause: format!(
            "image `{}` says `config: {name}`, and handing a configuration to the image's own \
             Ignition is not supported by this version",
            desired.image.name
        ),
        remedy: format!(
            "use an image without Ignition of its own, and `config: agent`, in profile `{}`",
            desired.profile
        ),
    })
}

/// What allows a disk to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// It is blank, or our own interrupted work, or the profile's `wipe` allows it.
    Standing,
    /// The operator's grant, which is spent by it.
    Grant,
}

fn may_write(
    desired: &DesiredMachine,
    disk: &Disk,
    inventory: &Inventory,
    grant: Option<&Grant>,
) -> Result<Permission, Refusal> {
    let always = desired.wipe == WipePolicy::Always;
    let standing = match &disk.content {
        Content::Blank => true,
        Content::Ours { receipt } if is_for(receipt, desired) => {
            receipt.stage == Stage::Writing || always || desired.wipe == WipePolicy::IfOurs
        }
        Content::Ours { .. } | Content::Foreign { .. } => always,
        Content::Unreadable { error } => return Err(unreadable(disk, error)),
    };
    if standing {
        return Ok(Permission::Standing);
    }
    match grant.filter(|grant| grant.disk == disk.id()) {
        None => Err(not_blank(desired, disk)),
        // Two disks of one name: the operator cannot have meant this very one.
        Some(_) if shares_its_id(disk, inventory) => Err(ambiguous_grant(disk)),
        Some(_) => Ok(Permission::Grant),
    }
}

fn shares_its_id(disk: &Disk, inventory: &Inventory) -> bool {
    let id = disk.id();
    inventory
        .disks
        .iter()
        .filter(|other| other.id() == id)
        .count()
        > 1
}

fn unreadable(disk: &Disk, error: &str) -> Refusal {
    Refusal {
        reason: RefusalReason::DiskUnusable,
        cause: format!("{} cannot be read: {error}", describe(disk)),
        remedy: "replace the disk, or let the profile's `disk` select another one".to_owned(),
    }
}

fn not_blank(desired: &DesiredMachine, disk: &Disk) -> Refusal {
    Refusal {
        reason: RefusalReason::DiskNotBlank,
        cause: format!(
            "{} holds {}",
            describe(disk),
            describe_content(&disk.content)
        ),
        remedy: format!(
            "`hardway grant wipe {}` allows it to be overwritten once; `wipe:` in profile `{}` \
             allows it for good",
            desired.machine, desired.profile
        ),
    }
}

fn ambiguous_grant(disk: &Disk) -> Refusal {
    Refusal {
        reason: RefusalReason::DiskNotBlank,
        cause: format!(
            "the grant is for disk `{}`, and several disks of the machine go by that name",
            disk.id()
        ),
        remedy: "remove the other disk, or erase this one by hand".to_owned(),
    }
}

/// "/dev/vda (QEMU_1, 4.0 GiB)".
pub(super) fn describe(disk: &Disk) -> String {
    format!("{} ({}, {})", disk.path, disk.id(), ByteSize(disk.size))
}

pub(super) fn describe_content(content: &Content) -> String {
    match content {
        Content::Blank => "nothing".to_owned(),
        Content::Ours { receipt } => {
            let Receipt {
                machine,
                cluster,
                generation,
                ..
            } = receipt.as_ref();
            match receipt.stage {
                Stage::Complete => {
                    format!("generation {generation} of machine `{machine}` of cluster `{cluster}`")
                }
                Stage::Writing => {
                    format!(
                        "an unfinished installation of machine `{machine}` of cluster `{cluster}`"
                    )
                }
            }
        }
        Content::Foreign { signatures } if signatures.is_empty() => "something unknown".to_owned(),
        Content::Foreign { signatures } => signatures.join(", "),
        Content::Unreadable { error } => format!("what cannot be read ({error})"),
    }
}
