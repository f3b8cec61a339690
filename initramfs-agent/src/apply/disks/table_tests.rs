//! Tables on disks in memory: made, changed, kept, wiped, refused.

use std::io::Cursor;

use super::*;
use crate::apply::disk::tests::{Entry, Recorder};
use hardway_recognition::fixture::gpt_disk;

const MIB: u64 = 1 << 20;
const SIZE: usize = 16 << 20;
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const GUID: &str = "CD59A8EA-0000-4000-8000-0123456789AB";

/// An entry in whole MiB.
fn entry(sector_size: u32, number: u32, start: u64, size: u64, fate: Fate) -> TableEntry {
    let per_mib = MIB / u64::from(sector_size);
    TableEntry {
        number,
        start: start * per_mib,
        sectors: size * per_mib,
        type_guid: LINUX.into(),
        guid: None,
        label: format!("p{number}"),
        attributes: 0,
        fate,
    }
}

fn wanted(sector_size: u32, found: Option<&[u8]>) -> Table {
    let found = found.map(|disk| {
        let gpt = read(disk, u64::from(sector_size));
        used(&gpt)
            .map(|(number, e)| TableEntry {
                number,
                start: e.starting_lba,
                sectors: e.ending_lba + 1 - e.starting_lba,
                guid: Some(text(&e.unique_partition_guid)),
                ..entry(sector_size, number, 0, 0, Fate::Kept)
            })
            .collect()
    });
    Table {
        disk: "/dev/vda".into(),
        sector_size,
        found,
        wipe: false,
        deleted: Vec::new(),
        entries: Vec::new(),
        erase: Vec::new(),
    }
}

fn text(guid: &[u8; 16]) -> String {
    let hex = |range: &[u8]| -> String { range.iter().map(|b| format!("{b:02X}")).collect() };
    let back = |range: &[u8]| hex(&range.iter().rev().copied().collect::<Vec<_>>());
    format!(
        "{}-{}-{}-{}-{}",
        back(&guid[..4]),
        back(&guid[4..6]),
        back(&guid[6..8]),
        hex(&guid[8..10]),
        hex(&guid[10..])
    )
}

fn read(disk: &[u8], sector_size: u64) -> GPT {
    GPT::read_from(&mut Cursor::new(disk), sector_size).unwrap()
}

/// The disk after the table was written, and where its usable part ends.
fn write_to(disk: Vec<u8>, wanted: &Table) -> Result<(Vec<u8>, u64)> {
    let mut device = Recorder::new(disk, wanted.sector_size);
    let planned = plan(&device, wanted)?;
    planned.changes.commit(&mut device)?;
    let mut bytes = vec![0; device.size() as usize];
    device.read(&mut bytes, 0)?;
    Ok((bytes, planned.end_of_usable))
}

fn refusal(disk: Vec<u8>, wanted: &Table) -> String {
    format!("{:#}", write_to(disk, wanted).err().unwrap())
}

/// Number, first and last MiB of every partition.
fn places(disk: &[u8], sector_size: u64) -> Vec<(u32, u64, u64)> {
    let per_mib = MIB / sector_size;
    used(&read(disk, sector_size))
        .map(|(number, e)| (number, e.starting_lba / per_mib, e.ending_lba / per_mib))
        .collect()
}

#[test]
fn a_blank_disk_gets_a_table_with_its_copy_and_a_guard() {
    for sector_size in [512, 4096] {
        let mut wanted = wanted(sector_size, None);
        wanted.entries = vec![
            TableEntry {
                guid: Some(GUID.into()),
                attributes: 4,
                ..entry(sector_size, 1, 1, 4, Fate::Created)
            },
            entry(sector_size, 9, 5, 2, Fate::Created),
        ];
        let (disk, end) = write_to(vec![0; SIZE], &wanted).unwrap();
        let bytes = u64::from(sector_size);
        assert_eq!(places(&disk, bytes), [(1, 1, 4), (9, 5, 6)]);
        let table = read(&disk, bytes);
        assert_eq!(text(&table[1].unique_partition_guid), GUID);
        assert_eq!(text(&table[1].partition_type_guid), LINUX);
        assert_eq!(
            (table[1].partition_name.as_str(), table[1].attribute_bits),
            ("p1", 4)
        );
        assert_eq!(table[9].unique_partition_guid[7] >> 4, 4, "a random GUID");
        assert_eq!(end, (table.header.last_usable_lba + 1) * bytes);
        let guard = &disk[446..462];
        assert_eq!((guard[4], &disk[510..512]), (0xee, &[0x55, 0xaa][..]));
        assert_eq!(
            guard[12..],
            ((SIZE as u64 / bytes - 1) as u32).to_le_bytes()
        );
        let mut damaged = disk.clone();
        damaged[bytes as usize..][..92].fill(0);
        assert!(read(&damaged, bytes).is_backup());
    }
}

#[test]
fn what_is_kept_stays_bit_for_bit() {
    for sector_size in [512, 4096] {
        let mut before = gpt_disk(
            SIZE,
            u64::from(sector_size),
            &[("a", 1, 2), ("b", 3, 4), ("c", 5, 6)],
        );
        before[..4].copy_from_slice(b"BOOT");
        let mut wanted = wanted(sector_size, Some(&before));
        wanted.deleted = vec![2];
        wanted.entries = vec![
            entry(sector_size, 1, 1, 2, Fate::Kept),
            entry(sector_size, 3, 5, 4, Fate::Resized),
            entry(sector_size, 4, 3, 1, Fate::Created),
        ];
        let (after, _) = write_to(before.clone(), &wanted).unwrap();
        let bytes = u64::from(sector_size);
        assert_eq!(places(&after, bytes), [(1, 1, 2), (3, 5, 8), (4, 3, 3)]);
        let (old, new) = (read(&before, bytes), read(&after, bytes));
        assert_eq!(old.header.disk_guid, new.header.disk_guid);
        assert_eq!(old[1], new[1]);
        assert_eq!(old[3].unique_partition_guid, new[3].unique_partition_guid);
        assert_eq!(new[3].partition_name.as_str(), "c");
        assert_eq!(&after[..4], b"BOOT");
        assert_eq!(
            after[MIB as usize..15 << 20],
            before[MIB as usize..15 << 20]
        );
    }
}

#[test]
fn a_partition_can_take_the_place_of_another() {
    let before = gpt_disk(SIZE, 512, &[("a", 1, 2), ("b", 3, 4)]);
    let mut wanted = wanted(512, Some(&before));
    wanted.entries = vec![
        entry(512, 1, 3, 2, Fate::Recreated),
        entry(512, 2, 1, 2, Fate::Recreated),
    ];
    let (after, _) = write_to(before, &wanted).unwrap();
    assert_eq!(places(&after, 512), [(1, 3, 4), (2, 1, 2)]);
}

#[test]
fn a_grown_disk_has_its_copy_at_the_end() {
    let mut before = gpt_disk(8 << 20, 512, &[("a", 1, 6)]);
    before.resize(SIZE, 0);
    let mut wanted = wanted(512, Some(&before));
    wanted.entries = vec![
        entry(512, 1, 1, 6, Fate::Kept),
        entry(512, 2, 7, 8, Fate::Created),
    ];
    let (mut after, end) = write_to(before, &wanted).unwrap();
    assert_eq!(places(&after, 512), [(1, 1, 6), (2, 7, 14)]);
    assert_eq!(end, SIZE as u64 - 33 * 512);
    after[512..604].fill(0);
    assert!(read(&after, 512).is_backup());
}

#[test]
fn the_copy_alone_is_enough_to_go_on_from() {
    let before = gpt_disk(SIZE, 512, &[("a", 1, 2)]);
    let mut damaged = before.clone();
    damaged[..1536].fill(0x5c);
    let mut wanted = wanted(512, Some(&before));
    wanted.entries = vec![entry(512, 1, 1, 2, Fate::Kept)];
    let (after, _) = write_to(damaged, &wanted).unwrap();
    assert!(read(&after, 512).is_primary());
    assert_eq!(places(&after, 512), [(1, 1, 2)]);
    assert_eq!(after[450], 0xee);
}

#[test]
fn a_hybrid_mbr_stays() {
    let mut before = gpt_disk(SIZE, 512, &[("a", 1, 2)]);
    // The guard up to the first MiB, and beside it the partition itself.
    before[458..462].copy_from_slice(&2047_u32.to_le_bytes());
    before[462..478].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0]);
    let mut wanted = wanted(512, Some(&before));
    wanted.entries = vec![
        entry(512, 1, 1, 2, Fate::Kept),
        entry(512, 2, 3, 1, Fate::Created),
    ];
    let (after, _) = write_to(before.clone(), &wanted).unwrap();
    assert_eq!(after[..512], before[..512]);
    assert_eq!(places(&after, 512), [(1, 1, 2), (2, 3, 3)]);
}

#[test]
fn wiping_destroys_both_tables() {
    for sector_size in [512_u32, 4096] {
        let bytes = u64::from(sector_size);
        let before = gpt_disk(SIZE, bytes, &[("a", 1, 2), ("b", 3, 4)]);
        let mut bare = wanted(sector_size, Some(&before));
        bare.wipe = true;
        let (after, end) = write_to(before.clone(), &bare).unwrap();
        assert!(GPT::read_from(&mut Cursor::new(&after), bytes).is_err());
        assert!(after.iter().all(|byte| *byte == 0));
        assert_eq!(end, SIZE as u64);
        bare.entries = vec![entry(sector_size, 1, 2, 2, Fate::Created)];
        let (after, _) = write_to(before.clone(), &bare).unwrap();
        assert_eq!(places(&after, bytes), [(1, 2, 3)]);
        // An MBR has taken the place of one whose header still stands.
        let mut taken = before.clone();
        taken[450] = 0x83;
        assert!(
            write_to(
                taken,
                &Table {
                    found: None,
                    ..bare.clone()
                }
            )
            .is_ok()
        );
        // Its copy alone, or none of it, may be there by then.
        let mut damaged = before.clone();
        damaged[..3 * bytes as usize].fill(0x5c);
        bare.found = None;
        assert_eq!(
            places(&write_to(damaged, &bare).unwrap().0, bytes),
            [(1, 2, 3)]
        );
    }
}

#[test]
fn what_differs_from_the_plan_is_refused() {
    let disk = || gpt_disk(SIZE, 512, &[("a", 1, 2), ("b", 3, 4)]);
    let planned = wanted(512, Some(&disk()));
    let message = "the partitions of /dev/vda are not those for which this was planned";
    assert_eq!(
        refusal(gpt_disk(SIZE, 512, &[("a", 1, 2)]), &planned),
        message
    );
    assert_eq!(
        refusal(gpt_disk(SIZE, 512, &[("a", 1, 2), ("b", 3, 5)]), &planned),
        message
    );
    let mut other_guid = planned.clone();
    other_guid.found.as_mut().unwrap()[1].guid = Some(GUID.into());
    assert_eq!(refusal(disk(), &other_guid), message);
    let mut mbr = vec![0; SIZE];
    mbr[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0]);
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(
        refusal(mbr, &wanted(512, None)),
        "/dev/vda has an MBR with partitions of its own"
    );
    let unseen = Table {
        wipe: true,
        ..wanted(512, None)
    };
    assert_eq!(
        refusal(disk(), &unseen),
        "/dev/vda has a GPT now, and had none when this was planned"
    );
    assert_eq!(
        refusal(vec![0; SIZE], &planned),
        "/dev/vda had a GPT when this was planned, and has none now"
    );
    assert_eq!(
        refusal(disk(), &wanted(512, None)),
        "/dev/vda has a GPT now, and had none when this was planned"
    );
    let refused = plan(&Recorder::new(disk(), 512), &wanted(4096, None));
    assert_eq!(
        refused.err().unwrap().to_string(),
        "the disk has sectors of 512 bytes, and the table is planned for 4096"
    );
}

#[test]
fn a_table_that_cannot_be_right_is_not_written() {
    let disk = || gpt_disk(SIZE, 512, &[("a", 1, 2)]);
    let check = |entries: Vec<TableEntry>, message: &str| {
        let mut wanted = wanted(512, Some(&disk()));
        wanted.entries = entries;
        let found = refusal(disk(), &wanted);
        assert!(found.starts_with(message), "{found}");
    };
    let kept = || entry(512, 1, 1, 2, Fate::Kept);
    check(
        vec![kept(), entry(512, 2, 2, 2, Fate::Created)],
        "composing the GPT",
    );
    check(
        vec![kept(), entry(512, 2, 15, 2, Fate::Created)],
        "composing the GPT",
    );
    check(
        vec![kept(), entry(512, 129, 3, 1, Fate::Created)],
        "the table has room for partitions 1 to 128, and not for 129",
    );
    check(
        vec![entry(512, 1, 1, 3, Fate::Kept)],
        "setting partition 1: it is to stay as it is, and has another size",
    );
    check(
        vec![entry(512, 1, 2, 3, Fate::Resized)],
        "setting partition 1: it is to stay, and starts elsewhere",
    );
    check(
        vec![kept(), entry(512, 2, 3, 0, Fate::Created)],
        "setting partition 2: it has no sectors",
    );
    check(
        vec![entry(512, 2, 3, 1, Fate::Created)],
        "partition 1 would stay, and the plan does not say so",
    );
    let mut nameless = entry(512, 2, 3, 1, Fate::Created);
    nameless.type_guid = "linux".into();
    check(
        vec![kept(), nameless],
        "setting partition 2: `linux` is no GUID",
    );
}

#[test]
fn the_copy_is_on_the_medium_before_the_table() {
    let mut wanted = wanted(512, None);
    wanted.entries = vec![entry(512, 1, 1, 2, Fate::Created)];
    let mut device = Recorder::new(vec![0; SIZE], 512);
    plan(&device, &wanted)
        .unwrap()
        .changes
        .commit(&mut device)
        .unwrap();
    let mut order: Vec<&str> = device
        .log
        .iter()
        .map(|entry| match entry {
            Entry::Write(offset, _) if *offset > SIZE as u64 / 2 => "copy",
            Entry::Write(..) => "table",
            Entry::Sync => "sync",
        })
        .collect();
    order.dedup();
    assert_eq!(order, ["copy", "sync", "table", "sync"]);
}
