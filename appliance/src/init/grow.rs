//! Partition DATA fills the disk that the image was written to.
//!
//! The table is changed in place: last partition to the last usable sector, backup header to the end
//! of the disk. The backup is written first, the primary last.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context as _;
use gptman::GPT;
use hardway_model::quantity::ByteSize;
use hardway_userspace::{grow, partitions};

use super::media::open_disk;

/// Growth below this is not worth a write: the image's own rounding.
const WORTHWHILE: u64 = 8 << 20;

/// Enlarges a partition of the disk and tells the kernel, which takes a new size only of a partition
/// that is not in use. Says what was done, if anything was.
pub fn partition(disk: &str, number: u32) -> anyhow::Result<Option<String>> {
    let mut file = open_disk(disk, true).with_context(|| format!("opening /dev/{disk}"))?;
    let size = partitions::size(&file, disk)?;
    let sector = u64::from(partitions::sector_size(&file, disk)?);
    let Some(grown) = enlarged(&mut file, size, sector, number)? else {
        return Ok(None);
    };
    write(&mut file, grown.table).with_context(|| format!("writing the table of /dev/{disk}"))?;
    file.sync_all()
        .with_context(|| format!("flushing /dev/{disk}"))?;
    partitions::delete(&file, disk, number)?;
    partitions::add(&file, disk, number, grown.start, grown.length)?;
    Ok(Some(format!(
        "partition DATA has {} now",
        ByteSize(grown.length)
    )))
}

/// Lets the mounted ext4 fill its partition; nothing to do when it does.
pub fn filesystem(device: &str, target: &Path) -> anyhow::Result<()> {
    let mut file = File::open(device).with_context(|| format!("opening {device}"))?;
    let partition = partitions::size(&file, device)?;
    let filesystem = ext4_size(&mut file).with_context(|| format!("reading {device}"))?;
    if filesystem + WORTHWHILE <= partition {
        grow::ext4(target, partition)?;
    }
    Ok(())
}

/// From the superblock: Documentation/filesystems/ext4/super.rst, `s_blocks_count` and
/// `s_log_block_size`.
fn ext4_size(device: &mut (impl Read + Seek)) -> std::io::Result<u64> {
    const SUPERBLOCK: u64 = 1024;
    let mut bytes = [0; 1024];
    device.seek(SeekFrom::Start(SUPERBLOCK))?;
    device.read_exact(&mut bytes)?;
    let word = |at: usize| {
        u64::from(u32::from_le_bytes([
            bytes[at],
            bytes[at + 1],
            bytes[at + 2],
            bytes[at + 3],
        ]))
    };
    let blocks = word(0x4) | word(0x150) << 32;
    let block_size = 1024_u64.checked_shl(word(0x18) as u32).unwrap_or(0);
    Ok(blocks.saturating_mul(block_size))
}

struct Grown {
    table: GPT,
    /// Bytes from the disk's start.
    start: u64,
    /// Bytes.
    length: u64,
}

/// The table with the partition enlarged; `None` when it fills the disk already. Only the last
/// partition of a disk can grow.
fn enlarged(
    disk: &mut (impl Read + Seek),
    size: u64,
    sector: u64,
    number: u32,
) -> anyhow::Result<Option<Grown>> {
    let mut table = GPT::read_from(disk, sector).context("reading the partition table")?;
    let count = table.header.number_of_partition_entries;
    anyhow::ensure!(
        (1..=count).contains(&number),
        "partition {number} is not in the table"
    );
    // Backup entries and header stand in the last sectors of the disk.
    let entries = u64::from(count) * u64::from(table.header.size_of_partition_entry);
    let last_sector = (size / sector).saturating_sub(1);
    let last_usable = last_sector.saturating_sub(1 + entries.div_ceil(sector));
    let others = (1..=count).filter(|index| *index != number && table[*index].is_used());
    let others_end = others.map(|index| table[index].ending_lba).max();
    let start = table[number].starting_lba;
    anyhow::ensure!(
        table[number].is_used() && others_end.is_none_or(|end| end < start),
        "partition {number} is not the last one"
    );
    let growth = last_usable.saturating_sub(table[number].ending_lba);
    if growth * sector < WORTHWHILE {
        return Ok(None);
    }
    table.header.last_usable_lba = last_usable;
    table.header.backup_lba = last_sector;
    table[number].ending_lba = last_usable;
    Ok(Some(Grown {
        table,
        start: start * sector,
        length: (last_usable - start + 1) * sector,
    }))
}

/// Backup first: when the power is cut in the middle of the primary, a whole table is left for
/// repair. The kernel alone would not take it (it trusts a lone backup only with `gpt` on its
/// command line), and the window is one write of two sectors on the first boot.
fn write(disk: &mut (impl Write + Seek), mut table: GPT) -> anyhow::Result<()> {
    let sector = table.sector_size;
    let mut backup = table.header.clone();
    backup.primary_lba = table.header.backup_lba;
    backup.backup_lba = table.header.primary_lba;
    backup.partition_entry_lba = table.header.last_usable_lba + 1;
    let entries: Vec<_> = table.iter().map(|(_, entry)| entry.clone()).collect();
    backup.write_into(disk, sector, &entries)?;
    disk.flush()?;
    table.header.write_into(disk, sector, &entries)?;
    disk.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use gptman::GPTPartitionEntry;

    use super::*;

    const SECTOR: u64 = 512;
    const MIB: u64 = 1 << 20;

    fn image(sectors: u64) -> Cursor<Vec<u8>> {
        let mut disk = Cursor::new(vec![0; (sectors * SECTOR) as usize]);
        let mut table = GPT::new_from(&mut disk, SECTOR, [7; 16]).unwrap();
        for (number, start, end) in [(1, 2048, 4095), (2, 4096, 8191)] {
            table[number] = GPTPartitionEntry {
                partition_type_guid: [1; 16],
                unique_partition_guid: [number as u8; 16],
                starting_lba: start,
                ending_lba: end,
                attribute_bits: 0,
                partition_name: if number == 2 { "DATA" } else { "ESP" }.into(),
            };
        }
        table.write_into(&mut disk).unwrap();
        disk
    }

    #[test]
    fn the_last_partition_fills_a_larger_disk() {
        let mut disk = image(8192 + 64);
        let size = 64 * MIB;
        disk.get_mut().resize(size as usize, 0);
        let grown = enlarged(&mut disk, size, SECTOR, 2).unwrap().unwrap();
        assert_eq!(grown.start, 4096 * SECTOR);
        assert_eq!(grown.start + grown.length, size - 33 * SECTOR);
        write(&mut disk, grown.table).unwrap();

        let primary = GPT::read_from(&mut disk, SECTOR).unwrap();
        assert_eq!(primary[2].ending_lba, size / SECTOR - 34);
        assert_eq!(primary[1].ending_lba, 4095);
        assert_eq!(primary.header.disk_guid, [7; 16]);
        assert_eq!(primary.header.backup_lba, size / SECTOR - 1);
        // Without its primary header the disk is read by the backup.
        disk.get_mut()[SECTOR as usize..2 * SECTOR as usize].fill(0);
        let backup = GPT::read_from(&mut disk, SECTOR).unwrap();
        assert!(backup.is_backup());
        assert_eq!(backup[2].ending_lba, primary[2].ending_lba);
    }

    #[test]
    fn nothing_is_written_without_need() {
        let mut disk = image(8192 + 64);
        let size = disk.get_ref().len() as u64;
        assert!(enlarged(&mut disk, size, SECTOR, 2).unwrap().is_none());
    }

    #[test]
    fn only_the_last_partition_grows() {
        let mut disk = image(8192 + 64);
        disk.get_mut().resize(64 * MIB as usize, 0);
        for number in [0, 1, 3, 1000] {
            assert!(
                enlarged(&mut disk, 64 * MIB, SECTOR, number).is_err(),
                "{number}"
            );
        }
    }
}
