//! What stands on a disk and what a config wants → the finished table, or why not.

use hardway_ignition::config;
use hardway_ignition::hardware::{Disk, Table};
use hardway_ignition::operation::disks::TableEntry;
use hardway_ignition::{Operation, partitions};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const ROOT_TYPE: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
const GUID: &str = "7A5F0C2E-90D4-4C1B-8E33-5D2F6A7B8C90";

/// A disk of 200 MiB with a GPT: number, label, first MiB and MiB of each partition.
fn disk(partitions: &[(u32, &str, u64, u64)]) -> Disk {
    sized_disk(200, 512, partitions)
}

fn sized_disk(mib: u64, sector_size: u32, partitions: &[(u32, &str, u64, u64)]) -> Disk {
    let per_mib = MIB / u64::from(sector_size);
    let first = 2 + 16384 / u64::from(sector_size);
    let entry = |&(number, label, start, size): &(u32, &str, u64, u64)| TableEntry {
        number,
        start: start * per_mib,
        sectors: size * per_mib,
        type_guid: ROOT_TYPE.to_owned(),
        guid: Some(GUID.to_owned()),
        label: label.to_owned(),
        attributes: 4,
        fate: Default::default(),
    };
    Disk {
        path: "/dev/vdb".to_owned(),
        aliases: Vec::new(),
        size: mib * MIB,
        sector_size,
        table: match partitions {
            [] => Table::None,
            partitions => Table::Gpt {
                usable: (first, mib * per_mib - first),
                entries: partitions.iter().map(entry).collect(),
            },
        },
        signatures: Vec::new(),
        in_use: false,
        active: Vec::new(),
        claimed: false,
    }
}

/// What is planned, in words; refusals with their paths.
fn plan(disk: &Disk, spec: &Value) -> Vec<String> {
    let spec: config::Disk = serde_json::from_value(spec.clone()).expect("a disk");
    match partitions::plan(disk, &spec, "$") {
        Ok(None) => vec!["nothing to do".to_owned()],
        Ok(Some(table)) => Operation::WriteTable(table).describe(),
        Err(problems) => problems
            .iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect(),
    }
}

fn check(disk: &Disk, partitions: &Value, expected: &[&str]) {
    let spec = json!({ "partitions": partitions });
    assert_eq!(plan(disk, &spec), expected, "{partitions}");
}

const NEW: &str = "/dev/vdb: new GPT";
const CHANGED: &str = "/dev/vdb: GPT changed";

#[test]
fn a_blank_disk_is_filled_in_order() {
    let blank = disk(&[]);
    check(
        &blank,
        &json!([{"label": "a", "sizeMiB": 10}, {"number": 1, "sizeMiB": 20}, {"label": "b"}]),
        &[
            NEW,
            "  + 1: 20 MiB at 1 MiB, created",
            "  + 2 `a`: 10 MiB at 21 MiB, created",
            "  + 3 `b`: 168.9 MiB at 31 MiB, created",
        ],
    );
    // The second one without a size gets what lies before the first MiB.
    check(
        &blank,
        &json!([{"number": 1}, {"number": 2}]),
        &[
            NEW,
            "  + 1: 198.9 MiB at 1 MiB, created",
            "  + 2: 0.9 MiB at 0.0 MiB, created",
        ],
    );
    let of_4096 = sized_disk(200, 4096, &[]);
    check(
        &of_4096,
        &json!([{"number": 1, "startMiB": 8, "sizeMiB": 16}, {"number": 2, "sizeMiB": 0}]),
        &[
            NEW,
            "  + 1: 16 MiB at 8 MiB, created",
            "  + 2: 175.9 MiB at 24 MiB, created",
        ],
    );
}

#[test]
fn what_matches_is_kept() {
    let found = disk(&[(1, "boot", 1, 32), (3, "root", 33, 166)]);
    for partitions in [
        json!([{"number": 1}]),
        json!([{"number": 1, "label": "boot", "startMiB": 1, "sizeMiB": 32}]),
        json!([{"number": 3, "typeGuid": ROOT_TYPE.to_lowercase(), "guid": GUID.to_lowercase()}]),
        json!([{"number": 3, "typeGuid": "", "guid": "", "wipePartitionEntry": true, "sizeMiB": 166, "startMiB": 33}]),
        json!([{"number": 2, "shouldExist": false}]),
        // Of the largest free block, once it is gone, it takes just that much.
        json!([{"number": 3, "startMiB": 0, "sizeMiB": 166}]),
    ] {
        check(&found, &partitions, &["nothing to do"]);
    }
}

#[test]
fn what_differs_is_refused_with_the_mend() {
    let found = disk(&[(1, "boot", 1, 32), (3, "root", 40, 60)]);
    let anew = "`wipePartitionEntry: true` would make it anew";
    for (partition, expected) in [
        (
            json!({"number": 1, "label": "", "guid": "00000000-0000-0000-0000-000000000001"}),
            format!(
                "partition 1 is there and has the GUID {GUID}, not \
                 00000000-0000-0000-0000-000000000001, the label `boot`, not ``; {anew}"
            ),
        ),
        (
            json!({"number": 1, "startMiB": 2}),
            format!("partition 1 is there and has its start at 1 MiB, not 2 MiB; {anew}"),
        ),
        (
            json!({"number": 3, "sizeMiB": 80}),
            "partition 3 is there and has a size of 60 MiB, not 80 MiB; `resize: true` would change \
             its size and keep what it holds"
                .to_owned(),
        ),
        (
            json!({"number": 3, "shouldExist": false}),
            "partition 3 is there: `root`, 60 MiB at 40 MiB; `wipePartitionEntry: true` would \
             delete it"
                .to_owned(),
        ),
        (
            json!({"number": 3, "sizeMiB": 500}),
            "partition 3 does not fit at 500 MiB at 40 MiB: free are 166.9 MiB at 33 MiB".to_owned(),
        ),
        (
            json!({"number": 5, "startMiB": 10, "sizeMiB": 5}),
            "partition 5 does not fit at 5 MiB at 10 MiB: free are 7 MiB at 33 MiB, 99.9 MiB at 100 \
             MiB"
                .to_owned(),
        ),
        (
            json!({"number": 5, "startMiB": 33}),
            "partition 5 does not fit at 166.9 MiB at 33 MiB: free are 7 MiB at 33 MiB, \
             99.9 MiB at 100 MiB"
                .to_owned(),
        ),
        (
            json!({"number": 129}),
            "the table has no number 129: they end at 128".to_owned(),
        ),
    ] {
        check(
            &found,
            &json!([partition]),
            &[&format!("$.partitions.0: {expected}")],
        );
    }
    for (partition, expected) in [
        (
            json!({"number": -1}),
            "$.partitions.0.number: -1 is no partition number",
        ),
        (
            json!({"number": 7, "sizeMiB": -4}),
            "$.partitions.0.sizeMiB: -4 MiB is no place on a disk",
        ),
    ] {
        check(&found, &json!([partition]), &[expected]);
    }
}

#[test]
fn what_differs_is_made_anew_where_that_is_asked_for() {
    let found = disk(&[(1, "boot", 1, 32), (3, "root", 40, 60)]);
    // Without a place of its own it moves to the largest free block.
    check(
        &found,
        &json!([{"number": 1, "label": "new", "wipePartitionEntry": true}]),
        &[
            CHANGED,
            "  ± 1 `new`: 99.9 MiB at 100 MiB, deleted and made anew (was `boot` 32 MiB at 1 MiB)",
            "    3 `root`: 60 MiB at 40 MiB, kept",
        ],
    );
    check(
        &found,
        &json!([
            {"number": 1, "shouldExist": false, "wipePartitionEntry": true},
            {"number": 3, "resize": true, "sizeMiB": 0},
            {"number": 2, "label": "swap", "sizeMiB": 4},
        ]),
        &[
            CHANGED,
            "  - 1 `boot`: 32 MiB at 1 MiB, deleted",
            "  + 2 `swap`: 4 MiB at 1 MiB, created",
            "  ~ 3 `root`: 159.9 MiB at 40 MiB, resized, keeping what it holds (was `root` 60 MiB at \
             40 MiB)",
        ],
    );
    check(
        &found,
        &json!([{"number": 3, "shouldExist": false, "wipePartitionEntry": true}]),
        &[
            CHANGED,
            "    1 `boot`: 32 MiB at 1 MiB, kept",
            "  - 3 `root`: 60 MiB at 40 MiB, deleted",
        ],
    );
}

#[test]
fn an_explicit_zero_is_computed_anew() {
    // A free block before the partition that is larger than the one behind, with it or without.
    let found = disk(&[(1, "boot", 1, 32), (3, "root", 140, 20)]);
    check(
        &found,
        &json!([{"number": 3, "startMiB": 0}]),
        &[
            "$.partitions.0: partition 3 is there and has its start at 140 MiB, not 33 MiB; \
           `wipePartitionEntry: true` would make it anew",
        ],
    );
    let last = disk(&[(1, "boot", 1, 32), (3, "root", 33, 60)]);
    check(
        &last,
        &json!([{"number": 3, "startMiB": 0, "sizeMiB": 0, "wipePartitionEntry": true}]),
        &[
            CHANGED,
            "    1 `boot`: 32 MiB at 1 MiB, kept",
            "  ± 3: 166.9 MiB at 33 MiB, deleted and made anew (was `root` 60 MiB at 33 MiB)",
        ],
    );
}

#[test]
fn number_0_never_finds_what_is_there() {
    let found = disk(&[(1, "data", 1, 32)]);
    check(
        &found,
        &json!([
            {"number": 1, "shouldExist": false, "wipePartitionEntry": true},
            {"label": "data", "sizeMiB": 8},
        ]),
        &[
            "$.partitions.1: the next free number is 1, of a partition that is deleted: give a number, \
             or `wipePartitionEntry: true`",
        ],
    );
    check(
        &found,
        &json!([
            {"number": 1, "shouldExist": false, "wipePartitionEntry": true},
            {"label": "new", "sizeMiB": 8, "wipePartitionEntry": true},
        ]),
        &[
            CHANGED,
            "  ± 1 `new`: 8 MiB at 1 MiB, deleted and made anew (was `data` 32 MiB at 1 MiB)",
        ],
    );
    check(
        &found,
        &json!([{"label": "data", "sizeMiB": 8}]),
        &[
            CHANGED,
            "    1 `data`: 32 MiB at 1 MiB, kept",
            "  + 2 `data`: 8 MiB at 33 MiB, created",
        ],
    );
}

#[test]
fn what_is_in_use_is_left_alone() {
    let found = disk(&[(1, "boot", 1, 32), (3, "root", 40, 60)]);
    let active = Disk {
        active: vec![3],
        ..found.clone()
    };
    check(
        &active,
        &json!([{"number": 3, "resize": true, "sizeMiB": 61}]),
        &["$.partitions.0: partition 3 is mounted or held and cannot be changed"],
    );
    check(
        &active,
        &json!([{"number": 3, "shouldExist": false, "wipePartitionEntry": true}]),
        &["$.partitions.0: partition 3 is mounted or held and cannot be changed"],
    );
    check(&active, &json!([{"number": 3}]), &["nothing to do"]);
    assert_eq!(
        plan(&active, &json!({"wipeTable": true})),
        ["$: partition 3 of /dev/vdb is mounted or held: its table cannot be wiped"]
    );
    let held = Disk {
        in_use: true,
        ..found
    };
    check(
        &held,
        &json!([{"number": 3}]),
        &["$: /dev/vdb itself is mounted or held: it cannot be partitioned"],
    );
}

#[test]
fn other_tables_go_only_where_that_is_asked_for() {
    for (table, expected) in [
        (Table::Mbr, "$: /dev/vdb has an MBR partition table"),
        (
            Table::Damaged,
            "$: the partition table of /dev/vdb is damaged",
        ),
    ] {
        let other = Disk { table, ..disk(&[]) };
        check(
            &other,
            &json!([{"number": 1}]),
            &[&format!("{expected}: `wipeTable: true` would replace it")],
        );
        let wiped = plan(
            &other,
            &json!({"wipeTable": true, "partitions": [{"number": 1, "sizeMiB": 5}]}),
        );
        assert_eq!(wiped, [NEW, "  + 1: 5 MiB at 1 MiB, created"]);
        assert_eq!(
            plan(&other, &json!({"wipeTable": true})),
            ["/dev/vdb: every partition table destroyed"]
        );
    }
    let found = disk(&[(1, "boot", 1, 32), (3, "root", 40, 60)]);
    let wiped = plan(
        &found,
        &json!({"wipeTable": true, "partitions": [{"number": 3, "label": "all"}]}),
    );
    let expected = [
        "/dev/vdb: partition table destroyed, new GPT",
        "  - 1 `boot`: 32 MiB at 1 MiB, deleted",
        "  + 3 `all`: 198.9 MiB at 1 MiB, created (was `root` 60 MiB at 40 MiB)",
    ];
    assert_eq!(wiped, expected);
}

#[test]
fn a_grown_disk_is_filled_to_its_end() {
    // The hardware's range is the one once the backup stands at the end.
    let grown = sized_disk(400, 512, &[(1, "boot", 1, 32)]);
    check(
        &grown,
        &json!([{"number": 2, "sizeMiB": 0}]),
        &[
            CHANGED,
            "    1 `boot`: 32 MiB at 1 MiB, kept",
            "  + 2: 366.9 MiB at 33 MiB, created",
        ],
    );
}

#[test]
fn what_a_claimed_disk_held_is_erased_under_new_partitions() {
    let claimed = Disk {
        claimed: true,
        ..disk(&[(1, "boot", 1, 32), (2, "old", 33, 10)])
    };
    let spec = json!({"partitions": [
        {"number": 1},
        {"number": 2, "wipePartitionEntry": true, "label": "new", "sizeMiB": 10},
        {"number": 3},
    ]});
    let spec = serde_json::from_value(spec).expect("a disk");
    let planned = partitions::plan(&claimed, &spec, "$").expect("possible");
    assert_eq!(planned.expect("a change").erase, [2, 3]);
}

#[test]
fn entries_say_everything() {
    let spec = json!({"partitions": [{"number": 1, "sizeMiB": 1, "label": "x", "guid": GUID.to_lowercase()}]});
    let spec = serde_json::from_value(spec).expect("a disk");
    let planned = partitions::plan(&disk(&[]), &spec, "$").expect("possible");
    let planned = serde_json::to_value(planned).expect("JSON");
    let expected = json!({
        "disk": "/dev/vdb", "sectorSize": 512, "wipe": false,
        "entries": [{
            "number": 1, "start": 2048, "sectors": 2048, "label": "x", "attributes": 0,
            "typeGuid": "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "guid": GUID, "fate": "created",
        }],
    });
    assert_eq!(planned, expected);
}
