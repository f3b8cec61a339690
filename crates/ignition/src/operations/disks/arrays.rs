//! `storage.raid`: arrays, checked as mdadm would check them.

use super::Target;
use crate::config::Raid;
use crate::operation::Operation;
use crate::operation::disks::Array;
use crate::operations::Plan;

/// What a superblock of version 1.2 has room for, with `any:` before it.
const MAXIMUM_NAME: usize = 28;

pub(super) fn add(arrays: &[Raid], target: &mut Target<'_>, plan: &mut Plan) {
    for (index, array) in arrays.iter().enumerate() {
        add_array(array, &format!("$.storage.raid.{index}"), target, plan);
    }
}

fn add_array(array: &Raid, at: &str, target: &mut Target<'_>, plan: &mut Plan) {
    let name = array.name.strip_prefix("/dev/md/").unwrap_or(&array.name);
    check_name(name, at, plan);
    let level = canonical(array.level.as_deref().unwrap_or_default());
    if level == "linear" {
        let message = "the agent's kernel has no driver for linear arrays (Linux dropped it in 6.8): \
                       take raid0";
        plan.refuse(format!("{at}.level"), message);
    }
    let spares = check_members(array, level, at, plan);
    let mut devices = Vec::new();
    for (index, member) in array.devices.iter().enumerate() {
        let at = format!("{at}.devices.{index}");
        if let Some(device) = target.resolve(member, &at, plan) {
            target.take(&device, format!("a member of /dev/md/{name}"), &at, plan);
            devices.push(device);
        }
    }
    let Some(known) = &mut target.devices else {
        return;
    };
    known.add_array(name);
    plan.operations.push(Operation::CreateArray(Array {
        name: name.to_owned(),
        level: level.to_owned(),
        devices,
        spares: spares.unwrap_or(0),
        options: array.options.clone(),
    }));
}

fn check_name(name: &str, at: &str, plan: &mut Plan) {
    let at = format!("{at}.name");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+:".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(is_plain) {
        let message =
            "an array's name is one of letters, digits and `._-`: it is found as /dev/md/NAME";
        plan.refuse(at, message);
    } else if name.len() > MAXIMUM_NAME {
        let message = format!("an array's name has at most {MAXIMUM_NAME} characters");
        plan.refuse(at, message);
    }
}

/// mdadm knows several words for a level.
fn canonical(level: &str) -> &str {
    match level {
        "0" | "stripe" => "raid0",
        "1" | "mirror" => "raid1",
        "4" => "raid4",
        "5" => "raid5",
        "6" => "raid6",
        "10" => "raid10",
        level => level,
    }
}

/// How many of the devices are spares, where the numbers are what mdadm takes with `--force`.
fn check_members(array: &Raid, level: &str, at: &str, plan: &mut Plan) -> Option<u32> {
    let given = array.spares.unwrap_or(0);
    let spares = usize::try_from(given).ok();
    let active = spares.and_then(|spares| array.devices.len().checked_sub(spares));
    let Some(active) = active.filter(|active| *active > 0) else {
        let message = format!(
            "of {} devices, {given} cannot be spares",
            array.devices.len()
        );
        plan.refuse(format!("{at}.spares"), message);
        return None;
    };
    let least = match level {
        "raid4" | "raid5" | "raid10" => 2,
        "raid6" => 4,
        _ => 1,
    };
    if active < least {
        let message =
            format!("{level} needs at least {least} devices beside the spares: there are {active}");
        plan.refuse(format!("{at}.devices"), message);
    }
    if given > 0 && level == "raid0" {
        plan.refuse(format!("{at}.spares"), format!("{level} takes no spares"));
    }
    spares.and_then(|spares| u32::try_from(spares).ok())
}
