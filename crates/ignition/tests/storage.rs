//! The disks and mount stages of whole configs: order, names of devices, arrays.

mod machine;

use hardway_ignition::hardware::Table;
use hardway_ignition::operation::{Operation, Source};
use hardway_ignition::{Circumstances, judge, operations, parse};
use machine::{machine, plan, plan_on, refused};
use serde_json::{Value, json};

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
fn partitions_of_other_tables_are_not_known() {
    for (table, expected) in [
        (
            Table::Mbr,
            "/dev/nvme0n1 has an MBR table, whose partitions are not known here",
        ),
        (
            Table::Damaged,
            "the partition table of /dev/nvme0n1 is damaged",
        ),
    ] {
        let mut machine = machine();
        machine.disks[1].table = table;
        let storage = json!({"filesystems": [{"device": "/dev/nvme0n1p1", "format": "ext4"}]});
        let expected =
            format!("$.storage.filesystems.0.device: /dev/nvme0n1p1 is not there: {expected}");
        assert_eq!(plan_on(&machine, &storage), Err(vec![expected]));
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
fn a_link_that_two_disks_claim_names_neither() {
    let mut machine = machine();
    let alias = machine.disks[0].aliases[0].clone();
    machine.disks[1].aliases.push(alias.clone());
    for (key, device) in [
        ("disks", alias.clone()),
        ("filesystems", format!("{alias}-part1")),
    ] {
        let storage = json!({ key: [{"device": device, "format": "ext4"}] });
        let problems = plan_on(&machine, &storage).unwrap_err();
        let expected =
            format!("{device} could be of any of /dev/vda, /dev/nvme0n1: name one by its path");
        assert!(problems[0].ends_with(&expected), "{problems:?}");
    }
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
        (
            "linear",
            2,
            None,
            Some(
                "level: the agent's kernel has no driver for linear arrays (Linux dropped it in \
                 6.8): take raid0",
            ),
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
