//! `boot_device` of the variant `fcos`: a mirrored or encrypted boot disk → the partitions, arrays,
//! volumes and filesystems of Fedora CoreOS's disk layout.

use serde_json::{Value as Json, json};

use super::Translation;
use crate::report::Position;
use crate::source::{Node, Value};

/// Version of the variant that brought the key.
const SINCE: u8 = 3;
/// The same for the layouts of IBM Z.
const SINCE_OF_S390X: u8 = 6;

/// GPT partition types.
const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";
const EFI_SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const POWERPC_PREP: &str = "9E1A2D38-C612-4316-AA26-8B49521E5A8B";
const RESERVED: &str = "8DA63339-0007-60C0-C436-083AC8230908";

/// What stands before the boot and root partitions: label, MiB, type.
type Front = [(&'static str, u32, &'static str)];

const X86_64: &Front = &[("bios", 1, BIOS_BOOT), ("esp", 127, EFI_SYSTEM)];
const AARCH64: &Front = &[("reserved", 1, RESERVED), ("esp", 127, EFI_SYSTEM)];
const PPC64LE: &Front = &[("prep", 4, POWERPC_PREP), ("reserved", 1, RESERVED)];

/// Takes `boot_device` out; the config that it stands for.
pub(super) fn take(tree: &mut Node, translation: &mut Translation<'_>) -> Option<Node> {
    let mut boot = tree.take("boot_device")?;
    if !translation.knows_of_fcos("boot_device", SINCE, boot.position) {
        return None;
    }
    let position = boot.position;
    warn_of_unknown(
        &boot,
        &["layout", "luks", "mirror"],
        "$.boot_device",
        translation,
    );
    let layout = boot.take("layout");
    let layout = layout.as_ref().and_then(Node::as_str).unwrap_or("x86_64");
    let is_known = match layout {
        "x86_64" | "aarch64" | "ppc64le" => true,
        "s390x-eckd" | "s390x-zfcp" | "s390x-virt" => translation.fcos >= Some(SINCE_OF_S390X),
        _ => false,
    };
    if !is_known {
        return unknown_layout(layout, position, translation);
    }
    let devices = mirror_devices(&mut boot, translation);
    let luks = boot.take("luks").filter(wants_encryption);
    let mut storage = json!({"disks": [], "raid": [], "luks": [], "filesystems": []});
    let mut root = "/dev/disk/by-partlabel/root".to_owned();
    if !devices.is_empty() {
        let front = match layout {
            "x86_64" => X86_64,
            "aarch64" => AARCH64,
            "ppc64le" => PPC64LE,
            _ => return unknown_layout(layout, position, translation),
        };
        mirror(&devices, front, &mut storage);
        root = "/dev/md/md-root".to_owned();
    } else if let Some(luks) = &luks {
        root = match (layout, luks.get("device").and_then(Node::as_str)) {
            ("x86_64" | "aarch64" | "ppc64le" | "s390x-virt", None) => root,
            ("s390x-eckd", Some(device)) => format!("{device}2"),
            ("s390x-zfcp", Some(device)) => format!("{device}4"),
            _ => return unknown_layout(layout, position, translation),
        };
    }
    if luks.is_none() && devices.is_empty() {
        return None;
    }
    let volume = luks.map(|luks| volume(luks, &root, position));
    let root = if volume.is_some() {
        "/dev/mapper/root"
    } else {
        root.as_str()
    };
    push(&mut storage, "filesystems", filesystem(root, "xfs", "root"));
    let mut storage = node(&storage, position);
    if let Some(volume) = volume {
        storage.take("luks");
        storage.insert("luks", Node::new(position, Value::Array(vec![volume])));
    }
    let mut generated = Node::new(position, Value::Object(Vec::new()));
    generated.insert("storage", storage);
    Some(generated)
}

/// Plain JSON as a tree, all of it at one place.
pub(super) fn node(json: &Json, position: Position) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(|item| node(item, position)).collect()),
        Json::Object(members) => {
            let mut object = Node::new(position, Value::Object(Vec::new()));
            for (key, value) in members {
                object.insert(key, node(value, position));
            }
            return object;
        }
    };
    Node::new(position, value)
}

/// Tells of keys that sugar does not know.
pub(super) fn warn_of_unknown(
    node: &Node,
    known: &[&str],
    path: &str,
    translation: &mut Translation<'_>,
) {
    for member in node
        .members()
        .iter()
        .filter(|member| !known.contains(&member.key.as_str()))
    {
        let message = format!("unknown key `{}` is ignored", member.key);
        translation.warning(format!("{path}.{}", member.key), member.position, message);
    }
}

fn unknown_layout(
    layout: &str,
    position: Position,
    translation: &mut Translation<'_>,
) -> Option<Node> {
    let message = format!("layout `{layout}` does not go with what is asked of it, or is unknown");
    translation.error("$.boot_device.layout", position, message);
    None
}

fn mirror_devices(boot: &mut Node, translation: &mut Translation<'_>) -> Vec<String> {
    let Some(mirror) = boot.take("mirror") else {
        return Vec::new();
    };
    warn_of_unknown(&mirror, &["devices"], "$.boot_device.mirror", translation);
    let devices = mirror.get("devices").map(Node::items).unwrap_or_default();
    if devices.len() == 1 {
        let message = "a mirrored boot device needs two devices or more";
        translation.error("$.boot_device.mirror.devices", mirror.position, message);
    }
    devices
        .iter()
        .filter_map(Node::as_str)
        .map(str::to_owned)
        .collect()
}

/// Whether anything in `luks` can unlock a volume.
fn wants_encryption(luks: &Node) -> bool {
    let has_tang = luks
        .get("tang")
        .is_some_and(|tang| !tang.items().is_empty());
    let is_set = |node: Option<&Node>| node.and_then(Node::as_bool) == Some(true);
    let cex = luks.get("cex").and_then(|cex| cex.get("enabled"));
    has_tang || is_set(luks.get("tpm2")) || is_set(cex)
}

fn mirror(devices: &[String], front: &Front, storage: &mut Json) {
    for (index, device) in devices.iter().enumerate() {
        let number = index + 1;
        let mut partitions: Vec<Json> = front
            .iter()
            .map(|(label, size, kind)| {
                json!({"label": format!("{label}-{number}"), "size_mib": size, "type_guid": kind})
            })
            .collect();
        partitions.push(json!({"label": format!("boot-{number}"), "size_mib": 384}));
        partitions.push(json!({"label": format!("root-{number}")}));
        let disk = json!({"device": device, "partitions": partitions, "wipe_table": true});
        push(storage, "disks", disk);
        if front.iter().any(|(label, ..)| *label == "esp") {
            let label = format!("esp-{number}");
            let device = format!("/dev/disk/by-partlabel/{label}");
            push(storage, "filesystems", filesystem(&device, "vfat", &label));
        }
    }
    let members = |label: &str| -> Vec<String> {
        (1..=devices.len())
            .map(|number| format!("/dev/disk/by-partlabel/{label}-{number}"))
            .collect()
    };
    // The superblock at the end: firmware and GRUB read each half as a plain filesystem.
    let boot = json!({"name": "md-boot", "level": "raid1", "devices": members("boot"), "options": ["--metadata=1.0"]});
    push(storage, "raid", boot);
    push(
        storage,
        "raid",
        json!({"name": "md-root", "level": "raid1", "devices": members("root")}),
    );
    push(
        storage,
        "filesystems",
        filesystem("/dev/md/md-boot", "ext4", "boot"),
    );
}

fn volume(mut luks: Node, device: &str, position: Position) -> Node {
    let mut volume = node(
        &json!({"name": "root", "label": "luks-root", "device": device, "wipe_volume": true}),
        position,
    );
    luks.take("device");
    for key in ["cex", "discard"] {
        if let Some(value) = luks.take(key) {
            volume.insert(key, value);
        }
    }
    // What is left are the keys of clevis: tang, threshold, tpm2.
    if !luks.members().is_empty() {
        volume.insert("clevis", luks);
    }
    volume
}

fn filesystem(device: &str, format: &str, label: &str) -> Json {
    json!({"device": device, "format": format, "label": label, "wipe_filesystem": true})
}

fn push(storage: &mut Json, list: &str, entry: Json) {
    if let Some(list) = storage.get_mut(list).and_then(Json::as_array_mut) {
        list.push(entry);
    }
}
