//! `storage.filesystems`: what is made or kept, and what of it is mounted while files are written.

use super::volumes::is_uuid;
use super::{Devices, Target};
use crate::config;
use crate::hardware::Signature;
use crate::operation::Operation;
use crate::operation::disks::{Device, Filesystem, Format, Mount};
use crate::operations::Plan;
use crate::paths::{clean, depth};

pub(super) fn add(filesystems: &[config::Filesystem], target: &mut Target<'_>, plan: &mut Plan) {
    let mut mounts = Vec::new();
    for (index, filesystem) in filesystems.iter().enumerate() {
        let at = format!("$.storage.filesystems.{index}");
        let Some(format) = format_of(filesystem) else {
            continue;
        };
        let path = mount_path(filesystem, format, &at, plan);
        let uuid = uuid(filesystem, format, &at, plan);
        let Some(device) = target.resolve(&filesystem.device, &format!("{at}.device"), plan) else {
            continue;
        };
        let converted = Filesystem {
            device: device.clone(),
            format,
            label: filesystem.label.clone(),
            uuid,
            options: filesystem.options.clone(),
            wipe: filesystem.wipe_filesystem == Some(true),
        };
        if let Some(devices) = &target.devices
            && !target.uses.contains_key(&device)
        {
            check_reuse(&converted, devices, &at, plan);
        }
        let purpose = format!("the place of an {} filesystem", format.name());
        target.take(&device, purpose, &format!("{at}.device"), plan);
        plan.operations.push(Operation::MakeFilesystem(converted));
        mounts.extend(path.map(|path| Mount {
            device,
            format,
            path,
            options: filesystem.mount_options.clone(),
        }));
    }
    // Stable: of two at one depth, the config's order counts.
    mounts.sort_by_key(|mount| depth(&mount.path));
    let mounts = mounts.into_iter().map(Operation::Mount);
    plan.operations.extend(mounts);
}

/// `None` where the config says nothing but a device.
fn format_of(filesystem: &config::Filesystem) -> Option<Format> {
    match filesystem.format.as_deref().unwrap_or_default() {
        "ext4" => Some(Format::Ext4),
        "btrfs" => Some(Format::Btrfs),
        "xfs" => Some(Format::Xfs),
        "vfat" => Some(Format::Vfat),
        "swap" => Some(Format::Swap),
        "none" => Some(Format::None),
        _ => None,
    }
}

/// Where it is mounted; what cannot be mounted keeps its path for itself, as with Ignition.
fn mount_path(
    filesystem: &config::Filesystem,
    format: Format,
    at: &str,
    plan: &mut Plan,
) -> Option<String> {
    let path = filesystem.path.as_deref().filter(|path| !path.is_empty())?;
    let path = clean(path);
    if path == "/" {
        let message = "the root filesystem comes with the image and is mounted already: leave \
                       `path` out";
        plan.refuse(format!("{at}.path"), message);
    }
    (!matches!(format, Format::Swap | Format::None)).then_some(path)
}

/// In the form that `mkfs` takes.
fn uuid(
    filesystem: &config::Filesystem,
    format: Format,
    at: &str,
    plan: &mut Plan,
) -> Option<String> {
    let uuid = filesystem.uuid.as_deref().filter(|uuid| !uuid.is_empty())?;
    let uuid = canonical_uuid(uuid, format);
    let is_right = match format {
        Format::Vfat => uuid.len() == 8 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit()),
        // These words make mke2fs and mkswap choose one.
        Format::Ext4 | Format::Swap => {
            is_uuid(&uuid) || matches!(uuid.as_str(), "clear" | "random" | "time")
        }
        Format::Btrfs | Format::Xfs => is_uuid(&uuid),
        Format::None => true,
    };
    if !is_right {
        let message = match format {
            Format::Vfat => "vfat takes eight hexadecimal digits, as A1B2-C3D4",
            _ => "not a UUID",
        };
        plan.refuse(format!("{at}.uuid"), message);
    }
    Some(uuid)
}

fn canonical_uuid(uuid: &str, format: Format) -> String {
    let uuid = uuid.to_ascii_lowercase();
    match (format, uuid.split_once('-')) {
        (Format::Vfat, Some((high, low))) if high.len() == 4 => format!("{high}{low}"),
        _ => uuid,
    }
}

/// Refuses early what is there and can neither be kept nor, without `wipeFilesystem`, be replaced.
fn check_reuse(filesystem: &Filesystem, devices: &Devices<'_>, at: &str, plan: &mut Plan) {
    if filesystem.wipe {
        return;
    }
    let found = devices.signatures(&filesystem.device);
    // Of several, the agent takes the one that blkid puts first: only it can tell.
    if found.is_empty() || found.iter().any(|found| is_same(filesystem, found)) {
        return;
    }
    let described: Vec<String> = found.iter().map(|found| describe(found)).collect();
    let wanted = match filesystem.format {
        Format::None => "it is to be blank".to_owned(),
        format => format!("{} is wanted", wanted(filesystem, format)),
    };
    let device: &Device = &filesystem.device;
    let message = format!(
        "{device} holds {}, and {wanted}: `wipeFilesystem: true` would erase it",
        described.join(" and ")
    );
    plan.refuse(at, message);
}

fn is_same(filesystem: &Filesystem, found: &Signature) -> bool {
    let equal = |wanted: &Option<String>, found: &Option<String>| {
        let wanted = wanted.as_deref();
        wanted.is_none_or(|wanted| wanted == found.as_deref().unwrap_or_default())
    };
    let found_uuid = found
        .uuid
        .as_deref()
        .map(|uuid| canonical_uuid(uuid, filesystem.format));
    found.kind == filesystem.format.name()
        && equal(&filesystem.label, &found.label)
        && equal(&filesystem.uuid, &found_uuid)
}

fn describe(found: &Signature) -> String {
    let mut text = found.kind.clone();
    if let Some(label) = found.label.as_deref().filter(|label| !label.is_empty()) {
        text.push_str(&format!(" `{label}`"));
    }
    if let Some(uuid) = &found.uuid {
        text.push_str(&format!(" ({uuid})"));
    }
    text
}

fn wanted(filesystem: &Filesystem, format: Format) -> String {
    describe(&Signature {
        offset: 0,
        kind: format.name().to_owned(),
        label: filesystem.label.clone(),
        uuid: filesystem.uuid.clone(),
    })
}
