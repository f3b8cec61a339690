//! Any valid wish for a disk with any table: no panic, and whatever table is planned can stand: no
//! overlap, nothing out of range, no number twice, and what was not asked for stays as it was.

#![no_main]

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use hardway_ignition::config::{self, Config};
use hardway_ignition::hardware::{self, Disk};
use hardway_ignition::operation::disks::{Fate, Table, TableEntry};
use hardway_ignition::{Severity, partitions, validate};
use libfuzzer_sys::fuzz_target;

const MIB: u64 = 1 << 20;
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

#[derive(Debug, Arbitrary)]
struct Input {
    mebibytes: u16,
    is_4k: bool,
    table: Standing,
    wipe: bool,
    claimed: bool,
    in_use: bool,
    active: Vec<u8>,
    wishes: Vec<Wish>,
}

#[derive(Debug, Arbitrary)]
enum Standing {
    None,
    Gpt(Vec<StandingPartition>),
    Mbr,
    Damaged,
}

#[derive(Debug, Arbitrary)]
struct StandingPartition {
    number: u8,
    gap: u16,
    sectors: u16,
    is_esp: bool,
    label: u8,
    attributes: u8,
}

#[derive(Debug)]
struct Wish {
    number: i64,
    start: Option<i64>,
    size: Option<i64>,
    label: Option<u8>,
    is_esp: Option<bool>,
    guid: Option<u8>,
    should_exist: Option<bool>,
    wipe: Option<bool>,
    resize: Option<bool>,
}

/// Numbers and sizes mostly meet what is there, and are sometimes far off.
impl<'a> Arbitrary<'a> for Wish {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        fn number(u: &mut Unstructured<'_>) -> arbitrary::Result<i64> {
            match u.int_in_range(0..=15)? {
                0 => u.arbitrary(),
                1 => Ok(i64::from(u.arbitrary::<u16>()?)),
                _ => Ok(i64::from(u.arbitrary::<u8>()? % 16)),
            }
        }
        fn maybe(u: &mut Unstructured<'_>) -> arbitrary::Result<Option<i64>> {
            if u.arbitrary()? {
                number(u).map(Some)
            } else {
                Ok(None)
            }
        }
        Ok(Self {
            number: number(u)?,
            start: maybe(u)?,
            size: maybe(u)?,
            label: u.arbitrary()?,
            is_esp: u.arbitrary()?,
            guid: u.arbitrary()?,
            should_exist: u.arbitrary()?,
            wipe: u.arbitrary()?,
            resize: u.arbitrary()?,
        })
    }
}

fuzz_target!(|input: Input| {
    if input.wishes.len() > 12 {
        return;
    }
    let disk = disk(&input);
    let spec = spec(&input);
    let mut config = Config::empty();
    config.storage.disks = vec![spec.clone()];
    let problems = validate(&config);
    if problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
    {
        return;
    }
    let planned = partitions::plan(&disk, &spec, "$.storage.disks.0");
    if let Ok(Some(table)) = &planned {
        stands(table, &disk);
        keeps(table, &disk, &spec);
    }
    assert_eq!(planned, partitions::plan(&disk, &spec, "$.storage.disks.0"));
});

fn label(number: u8) -> String {
    match number % 4 {
        0 => String::new(),
        number => format!("label-{number}"),
    }
}

fn guid(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02X}")
}

fn type_guid(is_esp: bool) -> String {
    if is_esp {
        ESP.to_owned()
    } else {
        LINUX.to_owned()
    }
}

/// First and last sector for partitions.
fn usable(disk_sectors: u64, sector_size: u64) -> (u64, u64) {
    let table = 128 * 128 / sector_size;
    (2 + table, disk_sectors.saturating_sub(2 + table))
}

fn disk(input: &Input) -> Disk {
    let sector_size = if input.is_4k { 4096 } else { 512 };
    let size = u64::from(input.mebibytes) * MIB;
    let usable = usable(size / sector_size, sector_size);
    let table = match &input.table {
        Standing::None => hardware::Table::None,
        Standing::Mbr => hardware::Table::Mbr,
        Standing::Damaged => hardware::Table::Damaged,
        Standing::Gpt(standing) => hardware::Table::Gpt {
            usable,
            entries: entries(standing, usable),
        },
    };
    Disk {
        path: "/dev/vda".to_owned(),
        aliases: Vec::new(),
        size,
        sector_size: sector_size as u32,
        table,
        signatures: Vec::new(),
        in_use: input.in_use,
        active: input
            .active
            .iter()
            .map(|number| u32::from(number % 16))
            .collect(),
        claimed: input.claimed,
    }
}

/// One after another with gaps, as a table that is right has them.
fn entries(standing: &[StandingPartition], usable: (u64, u64)) -> Vec<TableEntry> {
    let mut next = usable.0;
    let mut numbers = BTreeSet::new();
    let mut entries = Vec::new();
    for partition in standing {
        let number = u32::from(partition.number % 16) + 1;
        let start = next + u64::from(partition.gap);
        let sectors = u64::from(partition.sectors) + 1;
        if start + sectors - 1 > usable.1 || !numbers.insert(number) {
            continue;
        }
        next = start + sectors;
        entries.push(TableEntry {
            number,
            start,
            sectors,
            type_guid: type_guid(partition.is_esp),
            guid: Some(guid(partition.number)),
            label: label(partition.label),
            attributes: u64::from(partition.attributes),
            fate: Fate::Kept,
        });
    }
    entries.sort_by_key(|entry| entry.number);
    entries
}

fn spec(input: &Input) -> config::Disk {
    let partition = |wish: &Wish| config::Partition {
        number: wish.number,
        start_mib: wish.start,
        size_mib: wish.size,
        label: wish.label.map(label),
        type_guid: wish.is_esp.map(type_guid),
        guid: wish.guid.map(guid),
        should_exist: wish.should_exist,
        wipe_partition_entry: wish.wipe,
        resize: wish.resize,
    };
    config::Disk {
        device: "/dev/vda".to_owned(),
        partitions: input.wishes.iter().map(partition).collect(),
        wipe_table: Some(input.wipe),
    }
}

fn stands(table: &Table, disk: &Disk) {
    let sector_size = u64::from(disk.sector_size);
    let (first, last) = usable(disk.size / sector_size, sector_size);
    let mut numbers = BTreeSet::new();
    let mut in_order: Vec<&TableEntry> = table.entries.iter().collect();
    in_order.sort_by_key(|entry| entry.start);
    let mut next = first;
    for entry in in_order {
        assert!((1..=128).contains(&entry.number), "{entry:?}");
        assert!(numbers.insert(entry.number), "twice: {entry:?}");
        assert!(entry.sectors > 0, "empty: {entry:?}");
        assert!(
            entry.start >= next,
            "overlaps or begins too early: {entry:?}"
        );
        next = entry.start.checked_add(entry.sectors).expect("an end");
        assert!(next - 1 <= last, "ends too late: {entry:?}");
    }
    for number in &table.deleted {
        assert!(!numbers.contains(number), "{number} is deleted and there");
    }
    assert!(table.erase.iter().all(|number| numbers.contains(number)));
}

fn keeps(table: &Table, disk: &Disk, spec: &config::Disk) {
    let found = match &disk.table {
        hardware::Table::Gpt { entries, .. } => entries.as_slice(),
        _ => &[],
    };
    let finished = |number| table.entries.iter().find(|entry| entry.number == number);
    let standing = |number| found.iter().find(|entry| entry.number == number);
    for entry in table
        .entries
        .iter()
        .filter(|entry| entry.fate == Fate::Kept)
    {
        assert!(!table.wipe, "kept in a table that is wiped: {entry:?}");
        assert_eq!(Some(entry), standing(entry.number), "kept and another");
    }
    for entry in table
        .entries
        .iter()
        .filter(|entry| entry.fate == Fate::Resized)
    {
        let before = standing(entry.number).expect("what is resized was there");
        assert_eq!((entry.start, &entry.guid), (before.start, &before.guid));
        assert_eq!(
            (&entry.type_guid, &entry.label),
            (&before.type_guid, &before.label)
        );
    }
    if table.wipe {
        return;
    }
    for before in found {
        let is_mentioned = spec
            .partitions
            .iter()
            .any(|wish| wish.number == i64::from(before.number));
        match finished(before.number) {
            Some(after) if !is_mentioned => assert_eq!(after, before, "nobody asked"),
            Some(_) => {}
            None => {
                assert!(is_mentioned, "nobody asked for {before:?} to go");
                assert!(table.deleted.contains(&before.number));
            }
        }
        let has_changed = finished(before.number) != Some(before);
        assert!(
            !has_changed || !disk.active.contains(&before.number),
            "{before:?} is in use and changes"
        );
    }
}
