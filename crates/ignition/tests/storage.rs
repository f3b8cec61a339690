//! The disks and mount stages of whole configs, on a machine.

use hardway_ignition::hardware::{Disk, Hardware, Signature, Table};
use hardway_ignition::operation::disks::{Clevis, TableEntry};
use hardway_ignition::operation::{Operation, Source};
use hardway_ignition::{Circumstances, judge, operations, parse};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// Three disks: `/dev/vda` with a system, `/dev/nvme0n1` blank, `/dev/loop7` with one partition.
fn machine() -> Hardware {
    Hardware {
        disks: vec![
            Disk {
                aliases: vec!["/dev/disk/by-id/virtio-SYSTEM".to_owned()],
                signatures: vec![
                    signature(1, "vfat", Some("ESP"), Some("A1B2-C3D4")),
                    signature(33, "ext4", Some("root"), Some(UUID)),
                    signature(97, "crypto_LUKS", Some("vault"), Some(UUID2)),
                    signature(161, "ext4", None, None),
                    signature(161, "zfs_member", None, None),
                ],
                ..disk(
                    "/dev/vda",
                    &[
                        (1, "esp", 1, 32),
                        (2, "my root", 33, 64),
                        (3, "vault", 97, 64),
                        (4, "both", 161, 10),
                        (5, "blank", 171, 10),
                    ],
                )
            },
            disk("/dev/nvme0n1", &[]),
            disk("/dev/loop7", &[(6, "OEM", 1, 64)]),
        ],
        tpm2: Some(false),
    }
}

const UUID: &str = "0fe9a2f6-7f7f-4e5d-9a50-2f5d6c7c0a11";
const UUID2: &str = "11e9a2f6-7f7f-4e5d-9a50-2f5d6c7c0a22";

fn disk(path: &str, partitions: &[(u32, &str, u64, u64)]) -> Disk {
    let entry = |&(number, label, start, size): &(u32, &str, u64, u64)| TableEntry {
        number,
        start: start * 2048,
        sectors: size * 2048,
        type_guid: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".to_owned(),
        guid: Some(format!("AAAAAAAA-0000-0000-0000-00000000000{number}")),
        label: label.to_owned(),
        attributes: 0,
        fate: Default::default(),
    };
    Disk {
        path: path.to_owned(),
        aliases: Vec::new(),
        size: 400 * MIB,
        sector_size: 512,
        table: match partitions {
            [] => Table::None,
            partitions => Table::Gpt {
                usable: (34, 400 * 2048 - 34),
                entries: partitions.iter().map(entry).collect(),
            },
        },
        signatures: Vec::new(),
        in_use: false,
        active: Vec::new(),
        claimed: false,
    }
}

fn signature(mib: u64, kind: &str, label: Option<&str>, uuid: Option<&str>) -> Signature {
    Signature {
        offset: mib * MIB,
        kind: kind.to_owned(),
        label: label.map(str::to_owned),
        uuid: uuid.map(str::to_owned),
    }
}

fn plan_on(machine: &Hardware, storage: &Value) -> Result<Vec<Operation>, Vec<String>> {
    let text = json!({"ignition": {"version": "3.6.0"}, "storage": storage}).to_string();
    let parsed = parse(text.as_bytes()).unwrap_or_else(|report| panic!("{report}"));
    let circumstances = Circumstances {
        hardware: Some(machine),
        ..Circumstances::default()
    };
    let planned = operations(&parsed.config, &circumstances);
    planned
        .map(|planned| planned.operations)
        .map_err(|problems| {
            let problems = problems.iter();
            problems
                .map(|problem| format!("{}: {}", problem.path, problem.message))
                .collect()
        })
}

/// What is planned for devices, in words.
fn plan(storage: &Value) -> Vec<String> {
    let planned = plan_on(&machine(), storage).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let stages = planned.iter().filter(|operation| {
        matches!(
            operation,
            Operation::WriteTable(_)
                | Operation::CreateArray(_)
                | Operation::OpenVolume(_)
                | Operation::MakeFilesystem(_)
                | Operation::Mount(_)
        )
    });
    stages.flat_map(Operation::describe).collect()
}

fn refused(storage: &Value) -> Vec<String> {
    plan_on(&machine(), storage).expect_err("refused")
}

#[test]
fn a_whole_machine_in_the_order_of_the_work() {
    let storage = json!({
        "filesystems": [
            {"device": "/dev/md/data", "format": "xfs", "path": "/var/lib/data", "label": "data"},
            {"device": "/dev/mapper/vault", "format": "btrfs", "path": "/var",
             "mountOptions": ["noatime"], "wipeFilesystem": true},
            {"device": "/dev/disk/by-partlabel/swap", "format": "swap", "path": "/ignored"},
        ],
        "luks": [{"name": "vault", "device": "/dev/disk/by-partlabel/secret",
                  "keyFile": {"source": "data:,open"}}],
        "raid": [{"name": "data", "level": "mirror",
                  "devices": ["/dev/nvme0n1p1", "/dev/disk/by-id/virtio-SYSTEM-part5"]}],
        "disks": [{"device": "/dev/nvme0n1", "partitions": [
            {"number": 1, "sizeMiB": 10}, {"label": "secret", "sizeMiB": 64}, {"label": "swap"},
        ]}],
    });
    let expected = [
        "/dev/nvme0n1: new GPT",
        "  + 1: 10 MiB at 1 MiB, created",
        "  + 2 `secret`: 64 MiB at 11 MiB, created",
        "  + 3 `swap`: 324.9 MiB at 75 MiB, created",
        "/dev/md/data: raid1 array of /dev/nvme0n1p1, /dev/vda5",
        "/dev/mapper/vault: LUKS2 volume on /dev/nvme0n1p2, opened by its key",
        "/dev/md/data: xfs `data`, kept if it is there already",
        "/dev/mapper/vault: btrfs; whatever is there is erased",
        "/dev/nvme0n1p3: swap, kept if it is there already",
        "/var: mounted from /dev/mapper/vault (noatime)",
        "/var/lib/data: mounted from /dev/md/data",
    ];
    assert_eq!(plan(&storage), expected);
    let planned = plan_on(&machine(), &storage).expect("possible");
    let last: Vec<&str> = planned
        .iter()
        .rev()
        .take(3)
        .map(Operation::subject)
        .collect();
    assert_eq!(
        last,
        [
            "SELinux labels",
            "/etc/.ignition-result.json",
            "/etc/crypttab"
        ]
    );
}

#[test]
fn every_name_of_a_device() {
    for (name, expected) in [
        ("/dev/vda5", "/dev/vda5"),
        ("/dev/nvme0n1", "/dev/nvme0n1"),
        ("/dev/loop7p6", "/dev/loop7p6"),
        ("/dev/disk/by-id/virtio-SYSTEM-part5", "/dev/vda5"),
        ("/dev/disk/by-partlabel/blank", "/dev/vda5"),
        (r"/dev/disk/by-partlabel/my\x20root", "/dev/vda2"),
        ("/dev/disk/by-label/root", "/dev/vda2"),
        (
            "/dev/disk/by-uuid/0FE9A2F6-7f7f-4e5d-9a50-2f5d6c7c0a11",
            "/dev/vda2",
        ),
        ("/dev/disk/by-uuid/a1b2-c3d4", "/dev/vda1"),
    ] {
        let storage = json!({"filesystems": [
            {"device": name, "format": "ext4", "wipeFilesystem": true}]});
        let line = format!("{expected}: ext4; whatever is there is erased");
        assert_eq!(plan(&storage), [line], "{name}");
    }
    let by_guid = json!({"filesystems": [{
        "device": "/dev/disk/by-partuuid/aaaaaaaa-0000-0000-0000-000000000005", "format": "ext4"}]});
    assert_eq!(
        plan(&by_guid),
        ["/dev/vda5: ext4, kept if it is there already"]
    );
}

#[test]
fn unknown_devices_are_told_with_those_that_are_there() {
    let all = "there are /dev/vda, /dev/vda1 (`esp`), /dev/vda2 (`my root`), /dev/vda3 (`vault`), \
               /dev/vda4 (`both`), /dev/vda5 (`blank`), /dev/nvme0n1, /dev/loop7, /dev/loop7p6 \
               (`OEM`)";
    for (name, expected) in [
        ("/dev/sda1", all.to_owned()),
        ("/dev/disk/by-partlabel/ROOT", all.to_owned()),
        (
            "/dev/nvme0n1p1",
            "/dev/nvme0n1 has no partitions".to_owned(),
        ),
        (
            "/dev/loop7p1",
            "/dev/loop7 has /dev/loop7p6 (`OEM`)".to_owned(),
        ),
        (
            "/dev/md/data",
            "`storage.raid` makes no array before this".to_owned(),
        ),
        (
            "/dev/mapper/x",
            "`storage.luks` opens no volume before this".to_owned(),
        ),
    ] {
        let storage = json!({"filesystems": [{"device": name, "format": "ext4"}]});
        let expected = format!("$.storage.filesystems.0.device: {name} is not there: {expected}");
        assert_eq!(refused(&storage), [expected]);
    }
    let disks = "there are /dev/vda, /dev/nvme0n1, /dev/loop7";
    for (name, expected) in [
        (
            "/dev/sda",
            format!("the machine has no disk /dev/sda; {disks}"),
        ),
        ("/dev/vda2", format!("/dev/vda2 is no whole disk; {disks}")),
    ] {
        let storage = json!({"disks": [{"device": name, "wipeTable": true}]});
        let expected = format!("$.storage.disks.0.device: {expected}");
        assert_eq!(refused(&storage), [expected]);
    }
}

#[test]
fn a_label_that_two_partitions_have_names_neither() {
    let storage = json!({
        "disks": [{"device": "/dev/nvme0n1", "partitions": [{"label": "OEM"}]}],
        "filesystems": [{"device": "/dev/disk/by-partlabel/OEM", "format": "ext4"}],
    });
    assert_eq!(
        refused(&storage),
        [
            "$.storage.filesystems.0.device: /dev/disk/by-partlabel/OEM could be any of \
          /dev/nvme0n1p1, /dev/loop7p6: name one of them"
        ]
    );
}

#[test]
fn one_device_has_one_use() {
    let storage = json!({
        "raid": [{"name": "a", "level": "raid1", "devices": ["/dev/vda5", "/dev/nvme0n1"]}],
        "luks": [{"name": "b", "device": "/dev/disk/by-partlabel/blank"}],
        "filesystems": [{"device": "/dev/nvme0n1", "format": "ext4"}],
    });
    assert_eq!(
        refused(&storage),
        [
            "$.storage.luks.0.device: /dev/vda5 is a member of /dev/md/a already",
            "$.storage.filesystems.0.device: /dev/nvme0n1 is a member of /dev/md/a already",
        ]
    );
    let twice = json!({"disks": [
        {"device": "/dev/vda", "wipeTable": false},
        {"device": "/dev/disk/by-id/virtio-SYSTEM", "partitions": [{"number": 1}]},
    ]});
    assert_eq!(
        refused(&twice),
        [
            "$.storage.disks.1.device: /dev/disk/by-id/virtio-SYSTEM is the disk of $.storage.disks.0 \
          under another name"
        ]
    );
}

#[test]
fn arrays_that_mdadm_would_refuse() {
    let devices = [
        "/dev/vda1",
        "/dev/vda2",
        "/dev/vda3",
        "/dev/vda4",
        "/dev/vda5",
    ];
    for (level, count, spares, expected) in [
        ("raid0", 1, None, None),
        ("1", 1, None, None),
        ("raid5", 2, None, None),
        ("raid6", 5, Some(1), None),
        ("raid10", 3, Some(1), None),
        (
            "raid1",
            2,
            Some(2),
            Some("spares: of 2 devices, 2 cannot be spares"),
        ),
        (
            "raid1",
            2,
            Some(-1),
            Some("spares: of 2 devices, -1 cannot be spares"),
        ),
        (
            "raid6",
            3,
            None,
            Some("devices: raid6 needs at least 4 devices beside the spares: there are 3"),
        ),
        (
            "raid5",
            2,
            Some(1),
            Some("devices: raid5 needs at least 2 devices beside the spares: there are 1"),
        ),
    ] {
        let mut array = json!({"name": "x", "level": level, "devices": devices[..count]});
        if let Some(spares) = spares {
            array["spares"] = json!(spares);
        }
        let planned = plan_on(&machine(), &json!({"raid": [array]}));
        let expected = expected.map(|text| vec![format!("$.storage.raid.0.{text}")]);
        assert_eq!(planned.err(), expected, "{level} of {count}");
    }
    for name in ["", "-x", "a b", "a/b", "/dev/md0", &"x".repeat(29)] {
        let array = json!({"name": name, "level": "raid1", "devices": ["/dev/vda1"]});
        let problems = refused(&json!({"raid": [array]}));
        assert!(
            problems[0].starts_with("$.storage.raid.0.name: an array's name"),
            "{problems:?}"
        );
    }
}

/// The volume of a config with one, or why not.
fn volume(volume: Value, tpm2: Option<bool>) -> Result<Option<Clevis>, Vec<String>> {
    let mut storage = json!({"name": "v", "device": "/dev/vda5"});
    for (key, value) in volume.as_object().expect("an object") {
        storage[key] = value.clone();
    }
    let machine = Hardware { tpm2, ..machine() };
    let planned = plan_on(&machine, &json!({"luks": [storage]}))?;
    let clevis = planned.into_iter().find_map(|operation| match operation {
        Operation::OpenVolume(volume) => Some(volume.clevis),
        _ => None,
    });
    Ok(clevis.expect("a volume"))
}

#[test]
fn bindings_are_written_as_clevis_reads_them() {
    let tang = json!({"url": "http://t", "thumbprint": "T"});
    let advertised =
        json!({"url": "http://u", "thumbprint": "U", "advertisement": r#"{"payload": "x"}"#});
    for (clevis, pin, config, needs_network) in [
        (
            json!({"tang": [tang, advertised], "tpm2": true, "threshold": 2}),
            "sss",
            json!({"t": 2, "pins": {"tpm2": {}, "tang": [
                {"url": "http://t", "thp": "T"},
                {"url": "http://u", "thp": "U", "adv": {"payload": "x"}},
            ]}}),
            true,
        ),
        (
            json!({"tpm2": true}),
            "sss",
            json!({"t": 1, "pins": {"tpm2": {}}}),
            false,
        ),
        (
            json!({"custom": {"pin": "tpm2", "config": "{\"pcr_ids\": \"7\"}", "needsNetwork": true}}),
            "tpm2",
            json!({"pcr_ids": "7"}),
            true,
        ),
    ] {
        let found = volume(json!({ "clevis": clevis }), Some(true)).expect("possible");
        let found = found.expect("a binding");
        assert_eq!(
            (found.pin.as_str(), found.needs_network),
            (pin, needs_network)
        );
        let found: Value = serde_json::from_str(&found.config).expect("JSON");
        assert_eq!(found, config);
    }
    assert_eq!(volume(json!({}), None), Ok(None));
}

#[test]
fn volumes_that_cannot_be_made() {
    let tang = json!([{"url": "http://t", "thumbprint": "T"}]);
    for (settings, tpm2, expected) in [
        (
            json!({"clevis": {"tpm2": true}}),
            Some(false),
            "clevis.tpm2: the machine has no TPM 2.0",
        ),
        (
            json!({"clevis": {"tpm2": true}}),
            None,
            "clevis.tpm2: whether the machine has a TPM 2.0 is not known",
        ),
        (
            json!({"clevis": {"custom": {"pin": "sss", "config": r#"{"t":1,"pins":{"tpm2":{}}}"#}}}),
            Some(false),
            "clevis.custom: the machine has no TPM 2.0",
        ),
        (
            json!({"clevis": {"custom": {"pin": "tang", "config": "nonsense"}}}),
            Some(false),
            "clevis.custom.config: clevis takes a JSON object here",
        ),
        (
            json!({"clevis": {"tang": tang, "threshold": 2}}),
            Some(false),
            "clevis.threshold: of 1 pins, 2 cannot be needed",
        ),
        (
            json!({"clevis": {"threshold": 1}}),
            Some(false),
            "clevis: there is nothing to bind to: give `tang`, `tpm2` or `custom`",
        ),
        (
            json!({"cex": {"enabled": true}}),
            Some(false),
            "cex: volumes bound to a Crypto Express card are not made: such cards are of IBM Z",
        ),
        (json!({"uuid": "x"}), Some(false), "uuid: not a UUID"),
        (
            json!({"name": "a b"}),
            Some(false),
            "name: `a b` is no name of a volume: /dev/mapper/NAME",
        ),
        (
            json!({"device": "/dev/vda2"}),
            Some(false),
            ": on /dev/vda2, ext4 is there: `wipeVolume: true` would erase it",
        ),
        (
            json!({"device": "/dev/vda3"}),
            Some(false),
            ": on /dev/vda3, a volume is there, and no key is given that opens it: `wipeVolume: true` \
             would erase it",
        ),
        (
            json!({"device": "/dev/vda3", "keyFile": {"source": "data:,k"}, "label": "other"}),
            Some(false),
            ": on /dev/vda3, a volume is there with the label `vault`: `wipeVolume: true` would erase \
             it",
        ),
    ] {
        let dot = if expected.starts_with(':') { "" } else { "." };
        let expected = vec![format!("$.storage.luks.0{dot}{expected}")];
        assert_eq!(volume(settings, tpm2), Err(expected));
    }
    let kept = json!({"device": "/dev/vda3", "keyFile": {"source": "data:,k"}, "label": "vault",
                      "uuid": UUID2.to_uppercase()});
    assert_eq!(volume(kept, None), Ok(None));
    let wiped = json!({"device": "/dev/vda2", "wipeVolume": true});
    assert_eq!(volume(wiped, None), Ok(None));
}

#[test]
fn filesystems_that_are_there_are_kept_or_refused() {
    for (filesystem, expected) in [
        (
            json!({"device": "/dev/vda1", "format": "vfat", "uuid": "A1B2C3D4"}),
            None,
        ),
        (
            json!({"device": "/dev/vda1", "format": "vfat", "uuid": "a1b2-c3d4", "label": "ESP"}),
            None,
        ),
        (
            json!({"device": "/dev/vda2", "format": "ext4", "uuid": UUID.to_uppercase()}),
            None,
        ),
        // Which of the two counts, blkid says.
        (json!({"device": "/dev/vda4", "format": "ext4"}), None),
        (json!({"device": "/dev/vda5", "format": "none"}), None),
        (
            json!({"device": "/dev/vda2", "format": "xfs"}),
            Some(format!(
                "/dev/vda2 holds ext4 `root` ({UUID}), and xfs is wanted"
            )),
        ),
        (
            json!({"device": "/dev/vda2", "format": "ext4", "label": ""}),
            Some(format!(
                "/dev/vda2 holds ext4 `root` ({UUID}), and ext4 is wanted"
            )),
        ),
        (
            json!({"device": "/dev/vda1", "format": "none"}),
            Some("/dev/vda1 holds vfat `ESP` (A1B2-C3D4), and it is to be blank".to_owned()),
        ),
        (
            json!({"device": "/dev/vda4", "format": "btrfs"}),
            Some("/dev/vda4 holds ext4 and zfs_member, and btrfs is wanted".to_owned()),
        ),
    ] {
        let planned = plan_on(&machine(), &json!({"filesystems": [filesystem.clone()]}));
        let expected = expected.map(|text| {
            vec![format!(
                "$.storage.filesystems.0: {text}: `wipeFilesystem: true` would erase it"
            )]
        });
        assert_eq!(planned.err(), expected, "{filesystem}");
    }
}

#[test]
fn old_signatures_count_unless_the_disk_is_claimed() {
    // A new partition where an old one began.
    let storage = json!({
        "disks": [{"device": "/dev/vda", "wipeTable": true,
                   "partitions": [{"number": 1, "startMiB": 33, "sizeMiB": 20}]}],
        "filesystems": [{"device": "/dev/vda1", "format": "xfs"}],
    });
    assert!(refused(&storage)[0].contains("/dev/vda1 holds ext4 `root`"));
    let mut claimed = machine();
    claimed.disks[0].claimed = true;
    assert!(plan_on(&claimed, &storage).is_ok());
}

#[test]
fn wrong_labels_and_places_of_filesystems() {
    for (filesystem, expected) in [
        (
            json!({"format": "ext4", "path": "/"}),
            "path: the root filesystem comes with the image and is mounted already: leave `path` out",
        ),
        (
            json!({"format": "vfat", "uuid": UUID}),
            "uuid: vfat takes eight hexadecimal digits, as A1B2-C3D4",
        ),
        (
            json!({"format": "xfs", "uuid": "random"}),
            "uuid: not a UUID",
        ),
    ] {
        let mut filesystem = filesystem;
        filesystem["device"] = json!("/dev/vda5");
        let expected = format!("$.storage.filesystems.0.{expected}");
        assert_eq!(refused(&json!({"filesystems": [filesystem]})), [expected]);
    }
}

#[test]
fn without_a_machine_only_what_no_machine_could_do_is_refused() {
    let config = |storage: Value| {
        let text = json!({"ignition": {"version": "3.6.0"}, "storage": storage}).to_string();
        parse(text.as_bytes()).expect("valid").config
    };
    let good = config(json!({
        "disks": [{"device": "/dev/any", "partitions": [{"number": 500, "startMiB": 5}]}],
        "raid": [{"name": "a", "level": "raid1", "devices": ["/dev/x", "/dev/y"]}],
        "luks": [{"name": "v", "device": "/dev/md/a", "clevis": {"tpm2": true}}],
        "filesystems": [{"device": "/dev/mapper/v", "format": "ext4", "path": "/var"}],
        "files": [{"path": "/etc/motd", "contents": {"source": "data:,hi"}}],
    }));
    assert_eq!(judge(&good), []);
    let planned = operations(&good, &Circumstances::default()).expect("possible");
    let first = &planned.operations[0];
    let Operation::File(file) = first else {
        panic!("{first:?}")
    };
    let source = file.contents.as_ref().map(|contents| &contents.source);
    assert_eq!(source, Some(&Source::Inline(b"hi".to_vec())));
    let bad = config(json!({
        "raid": [{"name": "a", "level": "raid6", "devices": ["/dev/x", "/dev/y"]}],
        "filesystems": [{"device": "/dev/x", "format": "ext4", "path": "/"}],
    }));
    let paths: Vec<String> = judge(&bad)
        .into_iter()
        .map(|problem| problem.path)
        .collect();
    assert_eq!(
        paths,
        ["$.storage.raid.0.devices", "$.storage.filesystems.0.path"]
    );
}
