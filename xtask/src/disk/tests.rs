//! Disk images, read back: the partition table by gptman, the boot code byte by byte.

use std::fs;

use super::*;

const DISK: &str = "5f4b3a10-8a3a-4c57-9d2e-000000000000";

fn guid(last: u8) -> Guid {
    format!("{}{last:02x}", &DISK[..34]).parse().unwrap()
}

fn partition(number: u8, kind: Guid, size: u64, content: Content) -> Partition {
    Partition {
        name: format!("part{number}"),
        kind,
        guid: guid(number),
        size,
        content,
    }
}

/// A file that a partition can hold, with nothing in it.
fn nothing(folder: &tempfile::TempDir) -> Content {
    let path = folder.path().join("nothing");
    fs::write(&path, "").unwrap();
    Content::File(path)
}

#[test]
fn partitions_stand_aligned_in_order_and_hold_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let (content, output) = (folder.path().join("content"), folder.path().join("disk"));
    let mut bytes = vec![0; 3 * ALIGNMENT as usize / 2];
    bytes[0] = 1;
    *bytes.last_mut().unwrap() = 2;
    fs::write(&content, &bytes).unwrap();

    let layout = DiskLayout {
        guid: guid(0),
        partitions: vec![
            partition(1, Guid::ESP, 0, Content::File(content)),
            partition(2, Guid::LINUX_DATA, 3 * ALIGNMENT + 1, nothing(&folder)),
        ],
    };
    assemble(&layout, &output).unwrap();

    let disk = fs::read(&output).unwrap();
    assert_eq!(disk.len() as u64, 8 * ALIGNMENT);
    let start = ALIGNMENT as usize;
    assert_eq!(disk[start..start + bytes.len()], bytes);
    let table = gptman::GPT::read_from(&mut File::open(&output).unwrap(), SECTOR).unwrap();
    let found: Vec<_> = table
        .iter()
        .filter(|(_, entry)| entry.is_used())
        .map(|(number, entry)| {
            (
                number,
                entry.partition_name.as_str().to_owned(),
                entry.starting_lba,
                entry.ending_lba,
                entry.unique_partition_guid,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (1, "part1".to_owned(), 2048, 6143, guid(1).to_disk()),
            (2, "part2".to_owned(), 6144, 14335, guid(2).to_disk()),
        ]
    );
    assert_eq!(table.header.disk_guid, guid(0).to_disk());
    assert_eq!(table.header.backup_lba, disk.len() as u64 / SECTOR - 1);
}

#[test]
fn the_boot_sector_finds_the_core_image() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("disk");
    let layout = DiskLayout {
        guid: guid(0),
        partitions: vec![
            partition(1, Guid::ESP, 1, nothing(&folder)),
            partition(
                2,
                Guid::BIOS_BOOT,
                0,
                Content::BiosBoot(grub::BiosLoader::for_test(1300)),
            ),
        ],
    };
    assemble(&layout, &output).unwrap();

    let disk = fs::read(&output).unwrap();
    let (first, start) = (4096_u64, 2 * ALIGNMENT as usize);
    assert_eq!(
        disk[0x5b..0x69],
        [
            &[0xbb],
            &first.to_le_bytes()[..],
            &[0xbb, 0xbb, 0x90, 0x90, 0xbb]
        ]
        .concat()
    );
    assert_eq!(disk[439..446], [0xbb, 0, 0, 0, 0, 0, 0]);
    assert_eq!(disk[510..512], [0x55, 0xaa]);
    let core = &disk[start..];
    assert_eq!(
        core[499..513],
        [
            &[0xcc],
            &(first + 1).to_le_bytes()[..],
            &[2, 0, 0x20, 0x08, 0xcc]
        ]
        .concat()
    );
    assert_eq!(core[1299..1301], [0xcc, 0]);
}

#[test]
fn the_same_layout_gives_the_same_bytes_over_an_older_file() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::write(&second, vec![0xff; 9 << 20]).unwrap();
    let layout = DiskLayout {
        guid: guid(0),
        partitions: vec![partition(1, Guid::LINUX_DATA, 1, nothing(&folder))],
    };
    assemble(&layout, &first).unwrap();
    assemble(&layout, &second).unwrap();
    assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
}

#[test]
fn a_partition_without_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let partitions = [partition(1, Guid::LINUX_DATA, 0, nothing(&folder))];
    let error = place(&partitions).unwrap_err();
    assert_eq!(error.to_string(), "partition part1 has no size");
}

#[test]
fn duplicate_partition_guids_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = DiskLayout {
        guid: guid(0),
        partitions: vec![
            partition(1, Guid::ESP, 1, nothing(&folder)),
            partition(1, Guid::ESP, 1, nothing(&folder)),
        ],
    };
    assert!(assemble(&layout, &folder.path().join("disk")).is_err());
}
