//! A machine with three disks, and what is planned for it.

#![allow(dead_code)] // Each test file uses its part.

use hardway_ignition::hardware::{Disk, Hardware, Signature, Table};
use hardway_ignition::operation::Operation;
use hardway_ignition::operation::disks::TableEntry;
use hardway_ignition::{Circumstances, operations, parse};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// Three disks: `/dev/vda` with a system, `/dev/nvme0n1` blank, `/dev/loop7` with one partition.
pub fn machine() -> Hardware {
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

pub const UUID: &str = "0fe9a2f6-7f7f-4e5d-9a50-2f5d6c7c0a11";
pub const UUID2: &str = "11e9a2f6-7f7f-4e5d-9a50-2f5d6c7c0a22";

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

pub fn plan_on(machine: &Hardware, storage: &Value) -> Result<Vec<Operation>, Vec<String>> {
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
pub fn plan(storage: &Value) -> Vec<String> {
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

pub fn refused(storage: &Value) -> Vec<String> {
    plan_on(&machine(), storage).expect_err("refused")
}
