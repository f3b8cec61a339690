//! `storage.luks`: encrypted volumes.

use super::Target;
use super::clevis;
use crate::config::Luks;
use crate::operation::Operation;
use crate::operation::disks::{Device, Volume};
use crate::operations::{Plan, resource};

/// What device mapper has room for.
const MAXIMUM_NAME: usize = 127;
/// blkid's word for what such a volume looks like from outside.
const SIGNATURE: &str = "crypto_LUKS";

/// The volumes as they will be opened.
pub(super) fn add<'a>(
    volumes: &'a [Luks],
    target: &mut Target<'a>,
    plan: &mut Plan,
) -> Vec<Volume> {
    let mut opened = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = format!("$.storage.luks.{index}");
        let name = volume.device.as_deref().unwrap_or_default();
        let device = target.resolve(name, &format!("{at}.device"), plan);
        let converted = convert(volume, device.as_ref(), &at, target, plan);
        if let Some(converted) = converted {
            plan.operations
                .push(Operation::OpenVolume(converted.clone()));
            opened.push(converted);
        }
        if let Some(device) = &device {
            let purpose = format!("the place of volume {}", volume.name);
            target.take(device, purpose, &format!("{at}.device"), plan);
        }
        if let Some(devices) = &mut target.devices {
            devices.add_volume(volume, device);
        }
    }
    opened
}

fn convert(
    volume: &Luks,
    device: Option<&Device>,
    at: &str,
    target: &Target<'_>,
    plan: &mut Plan,
) -> Option<Volume> {
    check_name(&volume.name, at, plan);
    if volume.cex.enabled == Some(true) {
        let message =
            "volumes bound to a Crypto Express card are not made: such cards are of IBM Z";
        plan.refuse(format!("{at}.cex"), message);
    }
    let uuid = lower(&given(&volume.uuid));
    if uuid.as_deref().is_some_and(|uuid| !is_uuid(uuid)) {
        plan.refuse(format!("{at}.uuid"), "not a UUID");
    }
    let has_key = given(&volume.key_file.source).is_some();
    let key = has_key
        .then(|| resource::convert(&volume.key_file, &format!("{at}.keyFile"), plan))
        .flatten();
    let clevis = clevis::convert(&volume.clevis, &format!("{at}.clevis"), target, plan);
    let device = device?.clone();
    let converted = Volume {
        name: volume.name.clone(),
        device,
        label: volume.label.clone(),
        uuid,
        key,
        clevis,
        discard: volume.discard == Some(true),
        options: volume.options.clone(),
        open_options: volume.open_options.clone(),
        wipe: volume.wipe_volume == Some(true),
    };
    check_reuse(&converted, has_key, at, target, plan);
    Some(converted)
}

fn check_name(name: &str, at: &str, plan: &mut Plan) {
    let at = format!("{at}.name");
    // It stands in a line of crypttab, whose fields end at blanks.
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != '#';
    if name.is_empty() || name == "." || name == ".." || !name.chars().all(is_plain) {
        plan.refuse(
            at,
            format!("`{name}` is no name of a volume: /dev/mapper/NAME"),
        );
    } else if name == "control" {
        plan.refuse(at, "/dev/mapper/control is taken by device mapper itself");
    } else if name.len() > MAXIMUM_NAME {
        let message = format!("a volume's name has at most {MAXIMUM_NAME} characters");
        plan.refuse(at, message);
    }
}

/// Refuses early what is there and can neither be kept nor, without `wipeVolume`, be replaced.
fn check_reuse(volume: &Volume, has_key: bool, at: &str, target: &Target<'_>, plan: &mut Plan) {
    let Some(devices) = &target.devices else {
        return;
    };
    if volume.wipe || target.uses.contains_key(&volume.device) {
        return;
    }
    let found = devices.signatures(&volume.device);
    let Some(first) = found.first() else {
        return;
    };
    let why = match found.iter().find(|found| found.kind == SIGNATURE) {
        None => format!("{} is there", first.kind),
        Some(_) if volume.clevis.is_some() => {
            "a volume is there, and none is kept where clevis is asked for".to_owned()
        }
        Some(_) if !has_key => "a volume is there, and no key is given that opens it".to_owned(),
        Some(found) if differs(&volume.label, &found.label) => format!(
            "a volume is there with the label `{}`",
            found.label.as_deref().unwrap_or_default()
        ),
        Some(found) if differs(&volume.uuid, &lower(&found.uuid)) => format!(
            "a volume is there with the UUID {}",
            found.uuid.as_deref().unwrap_or_default()
        ),
        Some(_) => return,
    };
    let message = format!(
        "on {}, {why}: `wipeVolume: true` would erase it",
        volume.device
    );
    plan.refuse(at, message);
}

/// Whether something is wanted and something else is there.
fn differs(wanted: &Option<String>, found: &Option<String>) -> bool {
    let found = found.as_deref().unwrap_or_default();
    wanted.as_deref().is_some_and(|wanted| wanted != found)
}

fn lower(text: &Option<String>) -> Option<String> {
    text.as_deref().map(str::to_ascii_lowercase)
}

/// Whether `text` is a UUID of the usual form.
pub(super) fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}
