//! What stands on a disk: a receipt of ours, something else, or nothing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use hardway_model::inventory::Content;
use hardway_model::receipt::{self, Receipt, ReceiptError, Stage};

use hardway_recognition::signatures;
use hardway_recognition::table::{Kind, Table};

const MIB: u64 = 1 << 20;

/// Looks at a disk without writing to it.
pub fn probe(path: &Path, size: u64, sector_size: u32) -> Content {
    let outcome = File::open(path).and_then(|mut disk| look(&mut disk, size, sector_size));
    outcome.unwrap_or_else(|error| Content::Unreadable {
        error: error.to_string(),
    })
}

/// What stands on anything that can be read like a disk.
pub fn look(
    disk: &mut (impl Read + Seek),
    size: u64,
    sector_size: u32,
) -> std::io::Result<Content> {
    let end = size.min(MIB);
    let head = read(disk, 0, end)?;
    let tail = read(disk, size - end, end)?;
    let mut table = Table::read(disk, sector_size)?;
    let mut seen = Vec::new();
    match ours(&head) {
        Ok(mut receipt) => {
            // A claim clears the copy of the table that was there before last.
            let had_table = receipt.stage == Stage::Complete && is_table_copy(&tail, sector_size);
            // The boot sector comes after the table, and before its copy: nothing boots without it.
            if !had_table && head[..512].iter().all(|byte| *byte == 0) {
                table = None;
            }
            let is_bare = table.is_none()
                && !had_table
                && is_begun(&receipt, &head, sector_size)
                && signatures::find(disk, 0, size)?.is_empty();
            // The complete receipt reaches the disk just before the table's header does. A disk with
            // the one and not the other was cut off in between: it does not boot.
            if is_bare {
                receipt.stage = Stage::Writing;
            }
            let is_of_ours = |table: &Table| receipt.fits(&table.guids());
            let is_whole =
                receipt.stage == Stage::Complete && table.as_ref().is_some_and(is_of_ours);
            if is_bare || is_whole {
                let receipt = Box::new(receipt);
                return Ok(Content::Ours { receipt });
            }
            seen.push(left_behind(&receipt, table.is_some()));
        }
        Err(ReceiptError::Absent) => {}
        Err(error) => seen.push(error.to_string()),
    }
    seen.extend(table.as_ref().map(describe));
    // Without a table the first partition is looked for where every tool puts it.
    let first = table.is_none().then_some((MIB, size));
    let whole = std::iter::once((0, size)).chain(first);
    let partitions = table.iter().flat_map(|table| &table.partitions);
    let stretches = whole.chain(partitions.map(|partition| (partition.start, partition.length)));
    for (start, length) in stretches.collect::<Vec<_>>() {
        for signature in signatures::find(disk, start, length.min(size.saturating_sub(start)))? {
            seen.push(format!("{signature} at {}", place(start)));
        }
    }
    if seen.is_empty() {
        for (start, bytes) in [(0, &head), (size - end, &tail)] {
            if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
                seen.push(format!("not zero at {}", start + at as u64));
            }
        }
    }
    if seen.is_empty() {
        return Ok(Content::Blank);
    }
    Ok(Content::Foreign { signatures: seen })
}

fn ours(head: &[u8]) -> Result<Receipt, ReceiptError> {
    let at = receipt::OFFSET as usize;
    Receipt::decode(
        head.get(at..at + receipt::LENGTH)
            .ok_or(ReceiptError::Absent)?,
    )
}

/// Whether the disk's last sector is the header of a backup GPT, which is the last thing that an
/// installation writes.
fn is_table_copy(tail: &[u8], sector_size: u32) -> bool {
    let at = tail.len().checked_sub(sector_size as usize);
    at.is_some_and(|at| tail[at..].starts_with(b"EFI PART"))
}

/// Whether what stands before the receipt is what an installation leaves that was cut off, and not what is
/// left of one that somebody erased: tools that destroy a table destroy its entries, or the mark of the
/// boot sector alone. A complete receipt stands there only when the entries do, and before the boot sector.
fn is_begun(receipt: &Receipt, head: &[u8], sector_size: u32) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let entries = 2 * sector_size as usize..receipt::OFFSET as usize;
    receipt.stage == Stage::Writing || (is_zero(&head[..512]) && !is_zero(&head[entries]))
}

/// Partitioning tools and `mkfs` leave the bytes where the receipt stands alone, so that it outlives
/// its installation. What stands beside it then is somebody's.
fn left_behind(receipt: &Receipt, has_table: bool) -> String {
    let Receipt {
        machine,
        generation,
        ..
    } = receipt;
    match receipt.stage {
        Stage::Writing => {
            format!("the receipt of an unfinished installation of machine `{machine}`")
        }
        Stage::Complete => {
            let beside = match has_table {
                true => "beside a table of other partitions",
                false => "without its partition table",
            };
            format!("the receipt of generation {generation} of machine `{machine}`, {beside}")
        }
    }
}

fn describe(table: &Table) -> String {
    let kind = match table.kind {
        Kind::Gpt => "gpt",
        Kind::Mbr => "mbr",
    };
    let names: Vec<String> = table
        .partitions
        .iter()
        .map(|partition| match table.kind {
            Kind::Gpt if !partition.name.is_empty() => partition.name.clone(),
            Kind::Gpt => format!("number {}", partition.number),
            Kind::Mbr => format!("type {:02x}", partition.mbr_type),
        })
        .collect();
    match names.len() {
        0 => format!("{kind}: no partitions"),
        1 => format!("{kind}: 1 partition ({})", names[0]),
        count => format!("{kind}: {count} partitions ({})", names.join(", ")),
    }
}

fn place(offset: u64) -> String {
    if offset != 0 && offset.is_multiple_of(MIB) {
        return format!("{} MiB", offset / MIB);
    }
    offset.to_string()
}

fn read(disk: &mut (impl Read + Seek), start: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    disk.seek(SeekFrom::Start(start))?;
    disk.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hardway_model::identity::Sha256;

    use super::*;
    use hardway_recognition::fixture::gpt_disk;

    fn check(disk: Vec<u8>) -> Content {
        let size = disk.len() as u64;
        look(&mut Cursor::new(disk), size, 512).unwrap()
    }

    fn foreign(lines: &[&str]) -> Content {
        Content::Foreign {
            signatures: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn blank_and_nearly_blank() {
        assert_eq!(check(vec![0; 4 << 20]), Content::Blank);
        assert_eq!(
            check(vec![0; 512 << 10]),
            Content::Blank,
            "smaller than a MiB"
        );
        for (at, line) in [(5, "not zero at 5"), ((4 << 20) - 1, "not zero at 4194303")] {
            let mut disk = vec![0; 4 << 20];
            disk[at] = 1;
            assert_eq!(check(disk), foreign(&[line]));
        }
    }

    #[test]
    fn tables_and_filesystems_are_listed() {
        let mut disk = gpt_disk(8 << 20, 512, &[("EFI", 1, 2), ("", 3, 4)]);
        disk[(3 << 20) + 1080..(3 << 20) + 1082].copy_from_slice(&[0x53, 0xef]);
        disk[(3 << 20) + 1144..(3 << 20) + 1148].copy_from_slice(b"data");
        let expected = foreign(&[
            "gpt: 2 partitions (EFI, number 2)",
            r#"ext2 "data" at 3 MiB"#,
        ]);
        assert_eq!(check(disk), expected);
    }

    #[test]
    fn a_first_partition_without_its_table_is_not_blank() {
        let mut disk = vec![0; 8 << 20];
        disk[(1 << 20) + 1080..(1 << 20) + 1082].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(check(disk), foreign(&["ext2 at 1 MiB"]));
    }

    fn receipt(stage: Stage) -> Receipt {
        Receipt {
            stage,
            cluster: "lab".into(),
            machine: "node1".into(),
            generation: 3,
            image: Sha256([1; 32]),
            config: Sha256([2; 32]),
            disk: "QEMU_1".into(),
            time: 1,
            agent: "0.1.0".into(),
            data_disks: Vec::new(),
            blank_data_disks: Vec::new(),
            appliance: None,
            confirmation: None,
            partitions: Vec::new(),
            signature: None,
        }
    }

    fn with_receipt(stage: Stage, disk: Vec<u8>) -> Vec<u8> {
        bearing(&receipt(stage), disk)
    }

    fn bearing(receipt: &Receipt, mut disk: Vec<u8>) -> Vec<u8> {
        let at = receipt::OFFSET as usize;
        disk[at..at + receipt::LENGTH].copy_from_slice(&receipt.encode().unwrap());
        disk
    }

    fn of_ours(stage: Stage) -> Content {
        Content::Ours {
            receipt: Box::new(receipt(stage)),
        }
    }

    #[test]
    fn a_receipt_is_complete_only_with_a_table() {
        let installed = with_receipt(Stage::Complete, gpt_disk(8 << 20, 512, &[("root", 1, 2)]));
        assert_eq!(check(installed), of_ours(Stage::Complete));
        let cut_off = with_receipt(Stage::Writing, vec![0; 8 << 20]);
        assert_eq!(check(cut_off), of_ours(Stage::Writing));
        // The table's entries are there, then its header, too; neither the boot sector before it nor the
        // copy behind it.
        for missing in [1024, 512] {
            let mut cut_off = gpt_disk(8 << 20, 512, &[("root", 1, 2)]);
            cut_off[..missing].fill(0);
            cut_off[(8 << 20) - 512..].fill(0);
            let cut_off = with_receipt(Stage::Complete, cut_off);
            assert_eq!(check(cut_off), of_ours(Stage::Writing));
        }
        let mut damaged = with_receipt(Stage::Complete, vec![0; 8 << 20]);
        damaged[receipt::OFFSET as usize + 20] ^= 1;
        assert_eq!(check(damaged), foreign(&["damaged receipt: checksum"]));
    }

    #[test]
    fn a_receipt_does_not_give_away_what_was_put_beside_it() {
        let table = gpt_disk(8 << 20, 512, &[("root", 1, 2)]);
        assert_eq!(
            check(with_receipt(Stage::Writing, table.clone())),
            foreign(&[
                "the receipt of an unfinished installation of machine `node1`",
                "gpt: 1 partition (root)",
            ]),
            "another system was installed by hand after an interrupted installation"
        );
        // Somebody partitioned the disk anew, and the receipt stayed in the gap.
        let [kept, replaced] = ["02020202-0202-0202-0202-020202020202", "of before"];
        for (guid, expected) in [
            (kept, None),
            (
                replaced,
                Some(foreign(&[
                    "the receipt of generation 3 of machine `node1`, beside a table of other partitions",
                    "gpt: 2 partitions (a, b)",
                ])),
            ),
        ] {
            let receipt = Receipt {
                partitions: vec!["of before, too".into(), guid.into()],
                ..receipt(Stage::Complete)
            };
            let disk = gpt_disk(8 << 20, 512, &[("a", 1, 2), ("b", 3, 4)]);
            let content = check(bearing(&receipt, disk));
            let receipt = Box::new(receipt);
            assert_eq!(content, expected.unwrap_or(Content::Ours { receipt }));
        }
        let orphan = "the receipt of generation 3 of machine `node1`, without its partition table";
        let mut damaged = table;
        damaged[512..1024].fill(0);
        assert_eq!(
            check(with_receipt(Stage::Complete, damaged)),
            foreign(&[orphan]),
            "the table is damaged, and its copy shows that it was there"
        );
        // As `sgdisk --zap-all` leaves it, and `wipefs --all`, which takes the marks alone.
        let zapped = with_receipt(Stage::Complete, vec![0; 8 << 20]);
        assert_eq!(check(zapped), foreign(&[orphan]));
        let mut wiped = gpt_disk(8 << 20, 512, &[("root", 1, 2)]);
        let copy = (8 << 20) - 512;
        for mark in [510..512, 512..520, copy..copy + 8] {
            wiped[mark].fill(0);
        }
        let wiped = with_receipt(Stage::Complete, wiped);
        assert_eq!(check(wiped), foreign(&[orphan]));
        let mut formatted = vec![0; 8 << 20];
        formatted[..4].copy_from_slice(b"XFSB");
        assert_eq!(
            check(with_receipt(Stage::Complete, formatted)),
            foreign(&[orphan, "xfs at 0"])
        );
    }
}
