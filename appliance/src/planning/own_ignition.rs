//! Images that bring Ignition along: what is added to the config that their first boot finds.
//!
//! Such a system is not touched by the agent beyond that one file. Two things that the agent does to
//! other systems are therefore asked of the image's own Ignition, by one more config part: the kernel
//! arguments of cluster.yaml, and a unit that confirms to the appliance that the system runs. The
//! unit needs `sh`, `sed` and `curl`, which Fedora CoreOS and Flatcar have.

use hardway_ignition::hardware::device_name;
use hardway_ignition::{Config, Part, PartKind};
use hardway_model::desired::{ConfigApplier, DesiredImage, DesiredMachine};
use hardway_model::inventory::{Disk, Inventory};
use hardway_model::layout::PartitionTable;
use hardway_model::messages::Running;
use serde_json::{Value, json};

use super::image::ImageTable;

/// Stands for the boot id until the unit runs.
const BOOT_ID: &str = "BOOT_ID";
const SCRIPT: &str = "/etc/hardway/confirm.sh";
const FILE: &str = "/etc/hardway/confirm.json";
const OWNER_ONLY: u32 = 0o600;

const UNIT: &str = "\
[Unit]
Description=Tell the appliance that this system runs
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/bin/sh /etc/hardway/confirm.sh
Restart=on-failure
RestartSec=30
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
";

/// What a system presents when it runs.
#[derive(Debug, Clone, Copy)]
pub struct Confirmation<'a> {
    /// The appliance, as `http://10.77.0.1`.
    pub url: &'a str,
    /// The generation that is being installed.
    pub generation: u32,
    /// What proves that it is the system that was installed.
    pub key: &'a str,
}

/// Who applies the config, in cluster.yaml's words, and the partition that it is left on.
fn place(applier: ConfigApplier) -> Option<(&'static str, &'static str)> {
    match applier {
        ConfigApplier::Agent => None,
        ConfigApplier::Flatcar => Some(("flatcar", "OEM")),
        ConfigApplier::FedoraCoreos => Some(("fedora-coreos", "boot")),
    }
}

/// Whether an image's table has the partition on which its first boot looks for the config.
pub fn check_layout(image: &DesiredImage, table: &ImageTable) -> Result<(), String> {
    let Some((applier, label)) = place(image.config) else {
        return Ok(());
    };
    let labels: Vec<&str> = table.entries().iter().map(|e| e.label.as_str()).collect();
    if labels.contains(&label) {
        return Ok(());
    }
    let there_is = match labels.is_empty() {
        true => "no partition with a label".to_owned(),
        false => labels.join(", "),
    };
    Err(format!(
        "image `{}` says `config: {applier}`, and it has no partition labelled `{label}`, where its \
         first boot would look for the configuration; there is {there_is}",
        image.name
    ))
}

/// The part that is merged into the operator's.
pub fn part(desired: &DesiredMachine, confirmation: Confirmation<'_>) -> Part {
    let running = Running {
        machine: desired.machine.clone(),
        generation: confirmation.generation,
        key: confirmation.key.to_owned(),
        boot_id: BOOT_ID.to_owned(),
        inventory: None,
        written: None,
    };
    let file = |path: &str, text: &str| {
        json!({
            "path": path,
            "mode": OWNER_ONLY,
            "overwrite": true,
            "contents": {"source": data_url(text)},
        })
    };
    let mut config = json!({
        "ignition": {"version": "3.0.0"},
        "storage": {"files": [
            file(FILE, &json!(running).to_string()),
            file(SCRIPT, &script(confirmation.url)),
        ]},
        "systemd": {"units": [
            {"name": "hardway-confirm.service", "enabled": true, "contents": UNIT},
        ]},
    });
    if !desired.kernel_arguments.is_empty() {
        config["ignition"]["version"] = Value::from("3.3.0");
        config["kernelArguments"] = json!({"shouldExist": desired.kernel_arguments});
    }
    Part {
        name: "the appliance's own part".to_owned(),
        kind: PartKind::Ignition,
        text: config.to_string(),
    }
}

/// Nodes of the disks, beside the one that gets the system, that a config names in any way: the image's
/// Ignition will write them by its own rules, so that each has to be permitted as any other.
///
/// # Errors
///
/// A device of which nobody can say on which disk it is, such as an array that the config does not make.
pub fn data_disks(
    config: &Config,
    inventory: &Inventory,
    system: &Disk,
) -> Result<Vec<String>, String> {
    let devices = devices(config);
    let disks = inventory.disks.iter();
    let others: Vec<&Disk> = disks.filter(|disk| disk.path != system.path).collect();
    let is_known = |device: &&String| {
        let is_of = |disk: &Disk| is_of(device, disk);
        is_of(system)
            || is_on_the_image(device)
            || is_made(device, config)
            || others.iter().any(|disk| is_of(disk))
    };
    if let Some(device) = devices.iter().find(|device| !is_known(device)) {
        return Err(format!(
            "the configuration writes {device}, which is neither one of the machine's disks nor made by \
             the configuration itself, so that nobody can say what would be overwritten: name a disk or \
             its partition"
        ));
    }
    let named = others
        .into_iter()
        .filter(|disk| devices.iter().any(|device| is_of(device, disk)));
    Ok(named.map(|disk| disk.path.clone()).collect())
}

/// Every device that a config names, as [`device_name`] has it.
fn devices(config: &Config) -> Vec<String> {
    let storage = &config.storage;
    let disks = storage.disks.iter().map(|disk| &disk.device);
    let members = storage.raid.iter().flat_map(|array| &array.devices);
    let volumes = storage
        .luks
        .iter()
        .filter_map(|volume| volume.device.as_ref());
    let filesystems = storage
        .filesystems
        .iter()
        .map(|filesystem| &filesystem.device);
    let all = disks.chain(members).chain(volumes).chain(filesystems);
    all.map(|device| device_name(device)).collect()
}

/// Links by what a partition or filesystem is called: where no data disk has it, the image or a
/// partition of the config does. Fedora CoreOS links to the disk that it was started from.
fn is_on_the_image(device: &str) -> bool {
    let by_content = ["by-label/", "by-partlabel/", "by-uuid/", "by-partuuid/"];
    let link = device.strip_prefix("/dev/disk/");
    link.is_some_and(|link| {
        by_content.iter().any(|kind| link.starts_with(kind))
            || link == "by-id/coreos-boot-disk"
            || link.starts_with("by-id/coreos-boot-disk-part")
    })
}

/// Whether it is an array or volume of the config.
fn is_made(device: &str, config: &Config) -> bool {
    let made = |prefixes: [&str; 2], name: &str| {
        let mut names = prefixes
            .iter()
            .filter_map(|prefix| device.strip_prefix(prefix));
        names.any(|found| found == name)
    };
    let mut arrays = config.storage.raid.iter();
    let mut volumes = config.storage.luks.iter();
    arrays.any(|array| {
        let name = array.name.strip_prefix("/dev/md/").unwrap_or(&array.name);
        made(["/dev/md/", "/dev/disk/by-id/md-name-any:"], name)
    }) || volumes.any(|volume| made(["/dev/mapper/", "/dev/disk/by-id/dm-name-"], &volume.name))
}

/// Whether a device's name means a disk, or a partition or filesystem on it.
fn is_of(device: &str, disk: &Disk) -> bool {
    let separator = match disk.path.ends_with(|c: char| c.is_ascii_digit()) {
        true => "p",
        false => "",
    };
    let aliases = disk.aliases.iter();
    let aliases = aliases.map(|alias| (device_name(alias), "-part"));
    let mut names = std::iter::once((disk.path.clone(), separator)).chain(aliases);
    let is_named = names.any(
        |(name, separator)| match device.strip_prefix(name.as_str()) {
            Some("") => true,
            Some(rest) => rest
                .strip_prefix(separator)
                .is_some_and(|number| number.parse::<u32>().is_ok()),
            None => false,
        },
    );
    is_named || links(disk).any(|link| link.eq_ignore_ascii_case(device))
}

/// What udev would link to what stands on a disk.
fn links(disk: &Disk) -> impl Iterator<Item = String> {
    let partitions = disk.layout.iter().flat_map(|layout| match &layout.table {
        PartitionTable::Gpt { partitions, .. } => partitions.as_slice(),
        _ => &[],
    });
    let partitions = partitions.flat_map(|partition| {
        let guid = partition.guid.to_lowercase();
        [
            ("by-partlabel", partition.label.clone()),
            ("by-partuuid", guid),
        ]
    });
    let signatures = disk.layout.iter().flat_map(|layout| &layout.signatures);
    let signatures = signatures.flat_map(|signature| {
        let label = signature.label.clone().unwrap_or_default();
        [
            ("by-label", label),
            ("by-uuid", signature.uuid.clone().unwrap_or_default()),
        ]
    });
    partitions
        .chain(signatures)
        .filter(|(_, name)| !name.is_empty())
        .map(|(kind, name)| format!("/dev/disk/{kind}/{name}"))
}

fn script(url: &str) -> String {
    format!(
        "set -eu\nread -r boot_id </proc/sys/kernel/random/boot_id\nsed \"s/{BOOT_ID}/$boot_id/\" {FILE} \
         |\n    curl --fail --silent --show-error --max-time 30 --data-binary @- \\\n        --header \
         'content-type: application/json' {url}/agent/v1/running\n"
    )
}

/// RFC 2397, every byte that is not unreserved (RFC 3986) percent-encoded.
/// A text as a URL (RFC 2397).
pub fn data_url(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    format!("data:,{}", encoded.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;
    use hardway_recognition::fixture::gpt_disk;

    #[test]
    fn the_script_says_what_the_appliance_expects() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("confirm.json");
        let running = Running {
            machine: "node1".into(),
            generation: 3,
            key: "k".into(),
            boot_id: BOOT_ID.into(),
            inventory: None,
            written: None,
        };
        std::fs::write(&file, json!(running).to_string()).unwrap();
        let text = script(&url).replace(FILE, file.to_str().unwrap());
        let Ok(mut shell) = Command::new("/bin/sh").args(["-c", &text]).spawn() else {
            panic!("no shell");
        };
        let (mut stream, _) = server.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"}") {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        drop(stream);
        assert!(shell.wait().unwrap().success());
        let request = String::from_utf8(request).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /agent/v1/running HTTP/1.1"),
            "{head}"
        );
        let said: Running = serde_json::from_str(body).unwrap();
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let expected = Running {
            boot_id: boot_id.trim().into(),
            ..running
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn the_partition_for_the_config_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let check = |applier, labels: &[(&str, u64, u64)]| {
            std::fs::write(&path, gpt_disk(8 << 20, 512, labels)).unwrap();
            let compression = hardway_model::desired::Compression::None;
            let table = ImageTable::read(&path, compression, 512).unwrap();
            let mut desired = super::super::tests::desired();
            desired.image.config = applier;
            check_layout(&desired.image, &table)
        };
        let coreos = [("EFI-SYSTEM", 1, 2), ("boot", 3, 4), ("root", 5, 6)];
        assert_eq!(check(ConfigApplier::FedoraCoreos, &coreos), Ok(()));
        assert_eq!(
            check(ConfigApplier::Flatcar, &coreos).unwrap_err(),
            "image `node` says `config: flatcar`, and it has no partition labelled `OEM`, where its \
             first boot would look for the configuration; there is EFI-SYSTEM, boot, root"
        );
        assert_eq!(check(ConfigApplier::Agent, &[("root", 1, 2)]), Ok(()));
    }
}
