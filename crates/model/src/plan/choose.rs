//! Which disk, and whether it may be written.

use super::steps::{self, Disks};
use super::{Circumstances, Decision, Grant, Refusal, RefusalReason, data};
use crate::desired::{DesiredMachine, InstallPolicy, WipePolicy};
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
            plan: steps::hand_over_only(desired, inventory, disk, receipt.generation),
            receipt: Box::new(receipt.clone()),
        };
    }
    match permitted(desired, inventory, circumstances) {
        Ok((disks, spends)) => Decision::Install {
            plan: steps::install(desired, inventory, &disks, circumstances),
            spends,
        },
        Err(refusal) => Decision::Refuse { refusal },
    }
}

/// The disks that may be written, and whose grants that spends.
fn permitted<'a>(
    desired: &DesiredMachine,
    inventory: &'a Inventory,
    circumstances: Circumstances<'_>,
) -> Result<(Disks<'a>, Vec<String>), Refusal> {
    let system = select(desired, inventory)?;
    must_hold(desired, system)?;
    let data = data::disks(desired, inventory, system, circumstances.preparation)?;
    let mut spends = Vec::new();
    let mut closed = Vec::new();
    for disk in std::iter::once(system).chain(data.iter().copied()) {
        let is_held = data::is_held(desired, system, disk) && !shares_its_id(disk, inventory);
        match may_write(desired, disk, is_held, inventory, circumstances.grants)? {
            Permission::Standing => {}
            Permission::Grant => spends.push(disk.id()),
            Permission::None => closed.push(disk),
        }
    }
    if !closed.is_empty() {
        return Err(not_blank(desired, &closed));
    }
    must_be_armed(desired, system, circumstances)?;
    let begins_blank = |disk: &&Disk| data::begins_blank(desired, inventory, system, disk);
    let (blank, kept) = data.into_iter().partition(begins_blank);
    let disks = Disks {
        system,
        blank,
        kept,
    };
    Ok((disks, spends))
}

/// An image whose size is known has to fit.
fn must_hold(desired: &DesiredMachine, disk: &Disk) -> Result<(), Refusal> {
    let image = &desired.image;
    match &image.imported {
        Some(imported) if imported.size > disk.size => Err(Refusal {
            reason: RefusalReason::DiskTooSmall,
            cause: format!(
                "{} is smaller than image `{}`, which makes a disk of {}",
                describe(disk),
                image.name,
                ByteSize(imported.size)
            ),
            remedy: format!(
                "give profile `{}` a `disk:` that takes a larger disk (`min_size:`), or a smaller image",
                desired.profile
            ),
            grantable: Vec::new(),
        }),
        _ => Ok(()),
    }
}

/// The last question: everything else allows the installation.
fn must_be_armed(
    desired: &DesiredMachine,
    disk: &Disk,
    circumstances: Circumstances<'_>,
) -> Result<(), Refusal> {
    let is_armed = circumstances.armed.is_some_and(|armed| {
        armed.generation == circumstances.generation && armed.disk == disk.id()
    });
    if desired.install == InstallPolicy::Automatic || is_armed {
        return Ok(());
    }
    let machine = &desired.machine;
    Err(Refusal {
        reason: RefusalReason::NotArmed,
        cause: format!(
            "generation {} is ready to be installed on {}, and waits to be armed",
            circumstances.generation,
            describe(disk)
        ),
        remedy: format!(
            "`hardway plan {machine}` shows what would happen, `hardway arm {machine}` lets it happen"
        ),
        grantable: Vec::new(),
    })
}

/// The disk that holds this machine's finished installation, whatever the selector says by now. A
/// generation above the wanted one is the work of an appliance that has since lost its journal.
pub(super) fn installed<'a>(
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

pub(super) fn is_for(receipt: &Receipt, desired: &DesiredMachine) -> bool {
    receipt.cluster == desired.cluster && receipt.machine == desired.machine
}

/// What allows a disk to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// It is blank, or our own interrupted work, or the profile's `wipe` allows it.
    Standing,
    /// The operator's grant, which is spent by it.
    Grant,
    /// Nothing.
    None,
}

fn may_write(
    desired: &DesiredMachine,
    disk: &Disk,
    is_held: bool,
    inventory: &Inventory,
    grants: &[Grant],
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
    if standing || is_held {
        return Ok(Permission::Standing);
    }
    match grants.iter().find(|grant| grant.disk == disk.id()) {
        None => Ok(Permission::None),
        // Two disks of one name: the operator cannot have meant this very one.
        Some(_) if shares_its_id(disk, inventory) => Err(ambiguous_grant(disk)),
        Some(_) => Ok(Permission::Grant),
    }
}

pub(super) fn shares_its_id(disk: &Disk, inventory: &Inventory) -> bool {
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
        grantable: Vec::new(),
    }
}

fn not_blank(desired: &DesiredMachine, disks: &[&Disk]) -> Refusal {
    let causes: Vec<String> = disks
        .iter()
        .map(|disk| {
            format!(
                "{} holds {}",
                describe(disk),
                describe_content(&disk.content)
            )
        })
        .collect();
    let machine = &desired.machine;
    let grantable: Vec<String> = disks.iter().map(|disk| disk.id()).collect();
    let remedy = match grantable.as_slice() {
        [_] => format!("`hardway grant wipe {machine}` allows it to be overwritten once"),
        several => {
            let commands: Vec<String> = several
                .iter()
                .map(|disk| format!("`hardway grant wipe {machine} --disk {disk}`"))
                .collect();
            format!("{} allow each to be overwritten once", commands.join(", "))
        }
    };
    let these = if disks.len() == 1 { "it" } else { "them" };
    Refusal {
        reason: RefusalReason::DiskNotBlank,
        cause: causes.join("; "),
        remedy: format!(
            "{remedy}; `wipe:` in profile `{}` allows {these} for good",
            desired.profile
        ),
        grantable,
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
        grantable: Vec::new(),
    }
}

/// "/dev/vda (QEMU_1, 4.0 GiB)".
pub(super) fn describe(disk: &Disk) -> String {
    format!("{} ({}, {})", disk.path, disk.id(), ByteSize(disk.size))
}

pub(crate) fn describe_content(content: &Content) -> String {
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
