//! What holds of every table that is planned, whatever stood there and whatever is asked for.

use hardway_ignition::config;
use hardway_ignition::hardware::{Disk, Table};
use hardway_ignition::operation::disks::{Fate, TableEntry};
use hardway_ignition::partitions;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// A disk with partitions one behind the other, in any order of numbers.
fn any_disk() -> impl Strategy<Value = Disk> {
    let partitions = proptest::collection::vec((0..40_u64, 1..40_u64, 0..3_u64), 0..6);
    let numbers = Just((1..=8_u32).collect::<Vec<_>>()).prop_shuffle();
    let size = 32..400_u64;
    let sector_size = prop_oneof![Just(512_u32), Just(4096)];
    let kind = (any::<bool>(), 0..12_u8, any::<bool>());
    (size, sector_size, partitions, numbers, kind).prop_map(
        |(mib, sector_size, partitions, numbers, (has_table, other, claimed))| {
            let per_mib = MIB / u64::from(sector_size);
            let first = 2 + 16384 / u64::from(sector_size);
            let usable = (first, mib * per_mib - first);
            let mut next = per_mib;
            let mut entries = Vec::new();
            for ((gap, size, odd), number) in partitions.into_iter().zip(numbers) {
                let start = next + gap * per_mib + odd * 7;
                let sectors = size * per_mib - odd;
                next = start + sectors;
                if next <= usable.1 {
                    entries.push(entry(number, start, sectors));
                }
            }
            entries.sort_by_key(|entry| entry.number);
            Disk {
                path: "/dev/vdb".to_owned(),
                aliases: Vec::new(),
                size: mib * MIB,
                sector_size,
                table: match (has_table, other) {
                    (false, 0) => Table::Mbr,
                    (false, 1) => Table::Damaged,
                    (false, _) => Table::None,
                    (true, _) => Table::Gpt { usable, entries },
                },
                signatures: Vec::new(),
                in_use: false,
                active: if other == 2 { vec![1] } else { Vec::new() },
                claimed,
            }
        },
    )
}

fn entry(number: u32, start: u64, sectors: u64) -> TableEntry {
    TableEntry {
        number,
        start,
        sectors,
        type_guid: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".to_owned(),
        guid: Some(format!("00000000-0000-0000-0000-00000000000{number}")),
        label: format!("p{number}"),
        attributes: 1,
        fate: Fate::Kept,
    }
}

/// A disk that no sane program wrote.
fn strange_disk() -> impl Strategy<Value = Disk> {
    let number = || prop_oneof![any::<u64>(), 0..5000_u64, Just(u64::MAX)];
    let entries = proptest::collection::vec((any::<u8>(), number(), number()), 0..5);
    let sector_size = prop_oneof![Just(512), Just(4096), any::<u32>()];
    (number(), sector_size, number(), number(), entries).prop_map(
        |(size, sector_size, first, last, entries)| Disk {
            path: "/dev/vdb".to_owned(),
            aliases: Vec::new(),
            size,
            sector_size,
            table: Table::Gpt {
                usable: (first, last),
                entries: entries
                    .into_iter()
                    .map(|(number, start, sectors)| entry(u32::from(number % 9), start, sectors))
                    .collect(),
            },
            signatures: Vec::new(),
            in_use: false,
            active: Vec::new(),
            claimed: false,
        },
    )
}

fn any_partition() -> impl Strategy<Value = config::Partition> {
    let place = || proptest::option::of(prop_oneof![Just(0), 1..60_i64, -2..500_i64]);
    let flag = || proptest::option::of(any::<bool>());
    let label = proptest::option::of("p[0-9]");
    (0..10_i64, label, place(), place(), flag(), flag(), flag()).prop_map(
        |(number, label, start_mib, size_mib, should_exist, wipe_partition_entry, resize)| {
            config::Partition {
                number,
                label,
                start_mib,
                size_mib,
                should_exist,
                wipe_partition_entry,
                resize,
                ..config::Partition::default()
            }
        },
    )
}

fn any_spec() -> impl Strategy<Value = config::Disk> {
    let partitions = proptest::collection::vec(any_partition(), 0..6);
    let wipe = proptest::option::weighted(0.3, any::<bool>());
    (partitions, wipe).prop_map(|(partitions, wipe_table)| config::Disk {
        device: "/dev/vdb".to_owned(),
        partitions,
        wipe_table,
    })
}

/// What stands on the disk and is not wiped.
fn before(disk: &Disk, wipe: bool) -> Vec<TableEntry> {
    match &disk.table {
        Table::Gpt { entries, .. } if !wipe => entries.clone(),
        _ => Vec::new(),
    }
}

fn usable(disk: &Disk, wipe: bool) -> (u64, u64) {
    match disk.table {
        Table::Gpt { usable, .. } if !wipe => usable,
        _ => {
            let first = 2 + 16384 / u64::from(disk.sector_size);
            (first, disk.size / u64::from(disk.sector_size) - first)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn finished_tables_are_sound(disk in any_disk(), spec in any_spec()) {
        let wipe = spec.wipe_table == Some(true);
        let Ok(Some(table)) = partitions::plan(&disk, &spec, "$") else { return Ok(()) };
        let (first, last) = usable(&disk, wipe);
        let numbers: Vec<u32> = table.entries.iter().map(|entry| entry.number).collect();
        prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let mut places: Vec<(u64, u64)> =
            table.entries.iter().map(|e| (e.start, e.start + e.sectors)).collect();
        places.sort_unstable();
        let mut free = first;
        for (start, end) in places {
            prop_assert!(free <= start && start < end && end - 1 <= last);
            free = end;
        }
        let found = before(&disk, wipe);
        for entry in table.entries.iter().filter(|entry| entry.fate == Fate::Kept) {
            prop_assert!(found.contains(entry));
        }
        // Nothing goes that nobody named.
        for entry in &found {
            let is_named = spec.partitions.iter().any(|p| p.number == i64::from(entry.number));
            prop_assert!(is_named || table.entries.contains(entry));
            let stays = numbers.contains(&entry.number);
            prop_assert_eq!(stays, !table.deleted.contains(&entry.number));
        }
        prop_assert!(disk.claimed || table.erase.is_empty());
    }

    #[test]
    fn strange_tables_do_no_harm(disk in strange_disk(), spec in any_spec()) {
        if let Ok(Some(table)) = partitions::plan(&disk, &spec, "$") {
            let mut next = 0;
            let mut places: Vec<_> = table.entries.iter().map(|e| (e.start, e.sectors)).collect();
            places.sort_unstable();
            for (start, sectors) in places {
                prop_assert!(next <= start && sectors > 0);
                next = start.saturating_add(sectors);
            }
        }
    }

    #[test]
    fn what_was_planned_is_right_when_it_is_planned_again(disk in any_disk(), spec in any_spec()) {
        let wipe = spec.wipe_table == Some(true);
        let Ok(Some(table)) = partitions::plan(&disk, &spec, "$") else { return Ok(()) };
        let per_mib = MIB / u64::from(disk.sector_size);
        let is_whole = |e: &TableEntry| e.start.is_multiple_of(per_mib) && e.sectors.is_multiple_of(per_mib);
        let mib = |sectors: u64| i64::try_from(sectors / per_mib).ok();
        let explicit = table.entries.iter().filter(|entry| is_whole(entry));
        let again = config::Disk {
            partitions: explicit
                .map(|entry| config::Partition {
                    number: i64::from(entry.number),
                    start_mib: mib(entry.start),
                    size_mib: mib(entry.sectors),
                    label: Some(entry.label.clone()),
                    wipe_partition_entry: Some(true),
                    ..config::Partition::default()
                })
                .collect(),
            ..config::Disk::default()
        };
        let written = Disk {
            table: Table::Gpt { usable: usable(&disk, wipe), entries: table.entries.clone() },
            active: Vec::new(),
            ..disk
        };
        prop_assert_eq!(partitions::plan(&written, &again, "$"), Ok(None));
    }
}
