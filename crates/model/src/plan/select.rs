//! Which of the machine's disks the profile means.

use super::choose::{describe, describe_content};
use super::{Refusal, RefusalReason};
use crate::desired::{DesiredMachine, DiskSelector, Preference};
use crate::inventory::{Disk, Inventory};
use crate::quantity::ByteSize;

/// The one disk that the profile's selector means.
pub(super) fn select<'a>(
    desired: &DesiredMachine,
    inventory: &'a Inventory,
) -> Result<&'a Disk, Refusal> {
    let selector = &desired.disk;
    let fitting: Vec<&Disk> = inventory
        .disks
        .iter()
        .filter(|disk| misfit(selector, disk).is_none())
        .collect();
    match fitting.as_slice() {
        [] => Err(none_fits(desired, inventory)),
        [disk] => Ok(disk),
        several => preferred(several, selector.prefer).ok_or_else(|| several_fit(desired, several)),
    }
}

/// Why a disk is not meant; `None` when it is.
fn misfit(selector: &DiskSelector, disk: &Disk) -> Option<String> {
    let differs = |wanted: &Option<String>, found: Option<&str>, what: &str| {
        let wanted = wanted.as_deref()?;
        (Some(wanted) != found).then(|| format!("its {what} is not {wanted}"))
    };
    if disk.removable {
        return Some("it is removable".to_owned());
    }
    if disk.read_only {
        return Some("it refuses writes".to_owned());
    }
    if disk.is_an_appliances() {
        return Some("an appliance starts from it (partitions ESP and CONFIG)".to_owned());
    }
    if let Some(least) = selector.min_size.filter(|least| disk.size < *least) {
        return Some(format!("it is smaller than {}", ByteSize(least)));
    }
    if let Some(most) = selector.max_size.filter(|most| disk.size > *most) {
        return Some(format!("it is larger than {}", ByteSize(most)));
    }
    match (selector.rotational, disk.rotational) {
        (Some(true), false) => return Some("it does not spin".to_owned()),
        (Some(false), true) => return Some("it spins".to_owned()),
        _ => {}
    }
    // Or a name that udev links to it, as /dev/disk/by-id/….
    let goes_by = |name: &String| *name == disk.path || disk.aliases.contains(name);
    if let Some(name) = selector.path.as_ref().filter(|name| !goes_by(name)) {
        return Some(format!("it does not go by {name}"));
    }
    differs(&selector.serial, disk.serial.as_deref(), "serial")
        .or_else(|| differs(&selector.wwn, disk.wwn.as_deref(), "wwn"))
        .or_else(|| differs(&selector.model, disk.model.as_deref(), "model"))
        .or_else(|| differs(&selector.transport, disk.transport.as_deref(), "transport"))
}

/// The smallest or largest, unless another is of the same size.
fn preferred<'a>(fitting: &[&'a Disk], preference: Option<Preference>) -> Option<&'a Disk> {
    let sizes = fitting.iter().map(|disk| disk.size);
    let size = match preference? {
        Preference::Smallest => sizes.min(),
        Preference::Largest => sizes.max(),
    }?;
    let mut of_that_size = fitting.iter().filter(|disk| disk.size == size);
    let first = of_that_size.next()?;
    of_that_size.next().is_none().then_some(*first)
}

fn none_fits(desired: &DesiredMachine, inventory: &Inventory) -> Refusal {
    let found: Vec<String> = inventory
        .disks
        .iter()
        .filter_map(|disk| {
            Some(format!(
                "{}: {}",
                describe(disk),
                misfit(&desired.disk, disk)?
            ))
        })
        .collect();
    // A disk that only its write protection keeps from fitting is a fault, not a wrong selector.
    let protected = inventory.disks.iter().any(|disk| {
        let writable = Disk {
            read_only: false,
            ..disk.clone()
        };
        disk.read_only && misfit(&desired.disk, &writable).is_none()
    });
    let cause = match found.is_empty() {
        true => "the machine has no disk that its kernel knows of".to_owned(),
        false => format!(
            "no disk fits profile `{}`; there is {}",
            desired.profile,
            found.join("; ")
        ),
    };
    Refusal {
        reason: match protected {
            true => RefusalReason::DiskUnusable,
            false => RefusalReason::NoDiskFits,
        },
        cause,
        remedy: match found.is_empty() {
            true => "look at the machine's list of devices without a driver, and at its cabling"
                .to_owned(),
            false => format!(
                "change `disk:` of profile `{}`, or the machine's disks",
                desired.profile
            ),
        },
        grantable: Vec::new(),
    }
}

/// Whether all of them are one disk, seen by several ways (multipath).
fn is_one_disk(disks: &[&Disk]) -> bool {
    let mut names = disks.iter().map(|disk| disk.wwn.as_deref());
    match names.next().flatten() {
        Some(first) => names.all(|name| name == Some(first)),
        None => false,
    }
}

fn several_fit(desired: &DesiredMachine, fitting: &[&Disk]) -> Refusal {
    let found: Vec<String> = fitting
        .iter()
        .map(|disk| {
            format!(
                "{} with {}",
                describe(disk),
                describe_content(&disk.content)
            )
        })
        .collect();
    let one = is_one_disk(fitting);
    let remedy = match desired.disk.prefer {
        _ if one => format!(
            "leave one way to the disk connected, or name one as `path: /dev/disk/by-path/…` in `disk:` of \
             profile `{}`: the image would have to be started by multipath, which is not set up here",
            desired.profile
        ),
        None => format!(
            "add `prefer: smallest`, `prefer: largest` or a serial to `disk:` of profile `{}`",
            desired.profile
        ),
        Some(_) => format!(
            "their sizes are equal: name one by serial, wwn or path in `disk:` of profile `{}`",
            desired.profile
        ),
    };
    Refusal {
        reason: RefusalReason::SeveralDisksFit,
        cause: format!(
            "{} profile `{}`: {}",
            match one {
                true => "several ways lead to one disk (multipath), and all fit",
                false => "several disks fit",
            },
            desired.profile,
            found.join("; ")
        ),
        remedy,
        grantable: Vec::new(),
    }
}
