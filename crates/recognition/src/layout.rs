//! What stands on a disk, exactly, for the planner of its partitions and filesystems.

use std::io::{Read, Seek, SeekFrom};

use hardway_model::layout::{Layout, Partition, PartitionTable, Signature};

use crate::signatures;
use crate::table::{self, PROTECTIVE};

/// The logical sector size of a disk image: 4096 where only sectors of that size make a GPT of it.
pub fn sector_size(disk: &mut (impl Read + Seek), size: u64) -> std::io::Result<u32> {
    for sector_size in [512, 4096] {
        if size >= 2 * u64::from(sector_size) && has_header(disk, size, sector_size)? {
            return Ok(sector_size);
        }
    }
    Ok(512)
}

/// Looks at a disk of `size` bytes.
pub fn look(disk: &mut (impl Read + Seek), size: u64, sector_size: u32) -> std::io::Result<Layout> {
    let table = table(disk, size, sector_size)?;
    let bytes = u64::from(sector_size);
    let mut stretches = vec![(0, size)];
    if let PartitionTable::Gpt { partitions, .. } = &table {
        stretches.extend(partitions.iter().map(|p| {
            (
                p.start.saturating_mul(bytes),
                p.sectors.saturating_mul(bytes),
            )
        }));
    }
    let mut found = Vec::new();
    for (offset, length) in stretches {
        let length = length.min(size.saturating_sub(offset));
        let seen = signatures::find(disk, offset, length)?;
        found.extend(seen.into_iter().map(|signature| Signature {
            offset,
            kind: signature.kind.to_owned(),
            label: signature.label,
            uuid: signature.uuid,
        }));
    }
    Ok(Layout {
        table,
        signatures: found,
    })
}

/// A GPT counts by either of its headers, but by its backup alone only where the MBR says that there
/// is one: else it may be of an earlier life (sgdisk gives up there too). A disk whose MBR has entries
/// and none that guards a GPT is an MBR disk, whatever an earlier GPT left behind it.
fn table(
    disk: &mut (impl Read + Seek),
    size: u64,
    sector_size: u32,
) -> std::io::Result<PartitionTable> {
    let mut sector = [0; 512];
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut sector)?;
    let entries = table::mbr(&sector, sector_size).unwrap_or_default();
    let is_guarded = entries.iter().any(|entry| entry.mbr_type == PROTECTIVE);
    if !entries.is_empty() && !is_guarded {
        return Ok(PartitionTable::Mbr);
    }
    disk.seek(SeekFrom::Start(u64::from(sector_size)))?;
    if let Ok(found) = gptman::GPT::read_from(disk, u64::from(sector_size))
        && (is_guarded || found.is_primary())
    {
        return Ok(described(&found, size, sector_size));
    }
    Ok(match is_guarded || has_header(disk, size, sector_size)? {
        true => PartitionTable::Damaged,
        false => PartitionTable::None,
    })
}

fn has_header(disk: &mut (impl Read + Seek), size: u64, sector_size: u32) -> std::io::Result<bool> {
    let sector_size = u64::from(sector_size);
    let mut found = false;
    for at in [sector_size, size.saturating_sub(sector_size)] {
        let mut magic = [0; 8];
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut magic)?;
        found |= magic == *b"EFI PART";
    }
    Ok(found)
}

fn described(found: &gptman::GPT, size: u64, sector_size: u32) -> PartitionTable {
    let header = &found.header;
    let entries =
        u64::from(header.number_of_partition_entries) * u64::from(header.size_of_partition_entry);
    let entry_sectors = entries.div_ceil(u64::from(sector_size));
    let used = found.iter().filter(|(_, entry)| entry.is_used());
    PartitionTable::Gpt {
        first_usable: header.first_usable_lba,
        last_usable: (size / u64::from(sector_size)).saturating_sub(entry_sectors + 2),
        partitions: used
            .map(|(number, entry)| Partition {
                number,
                start: entry.starting_lba,
                sectors: entry
                    .ending_lba
                    .saturating_add(1)
                    .saturating_sub(entry.starting_lba),
                type_guid: signatures::guid(&entry.partition_type_guid),
                guid: signatures::guid(&entry.unique_partition_guid),
                label: entry.partition_name.as_str().to_owned(),
                attributes: entry.attribute_bits,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::fixture::gpt_disk;

    fn layout(disk: &[u8]) -> Layout {
        look(&mut Cursor::new(disk), disk.len() as u64, 512).unwrap()
    }

    fn is_gpt(disk: &[u8]) -> bool {
        matches!(layout(disk).table, PartitionTable::Gpt { .. })
    }

    #[test]
    fn a_gpt_with_what_its_partitions_hold() {
        let mut disk = gpt_disk(16 << 20, 512, &[("boot", 1, 2), ("data", 3, 12)]);
        let xfs = 3 << 20;
        disk[xfs..xfs + 4].copy_from_slice(b"XFSB");
        disk[xfs + 32..xfs + 48].copy_from_slice(&[0xab; 16]);
        let Layout { table, signatures } = layout(&disk);
        let PartitionTable::Gpt {
            first_usable,
            last_usable,
            partitions,
        } = table
        else {
            panic!("{table:?}");
        };
        assert_eq!((first_usable, last_usable), (34, 32768 - 34));
        let data = Partition {
            number: 2,
            start: 6144,
            sectors: 20480,
            type_guid: "01010101-0101-0101-0101-010101010101".into(),
            guid: "02020202-0202-0202-0202-020202020202".into(),
            label: "data".into(),
            attributes: 0,
        };
        assert_eq!(partitions[1], data);
        let expected = Signature {
            offset: 3 << 20,
            kind: "xfs".into(),
            label: None,
            uuid: Some("abababab-abab-abab-abab-abababababab".into()),
        };
        assert_eq!(signatures, [expected]);
    }

    #[test]
    fn the_last_usable_sector_is_that_of_the_grown_disk() {
        let mut disk = gpt_disk(8 << 20, 512, &[("root", 1, 2)]);
        disk.resize(16 << 20, 0);
        let PartitionTable::Gpt { last_usable, .. } = layout(&disk).table else {
            panic!("no GPT");
        };
        assert_eq!(last_usable, 32768 - 34);
    }

    #[test]
    fn halves_of_tables() {
        let whole = gpt_disk(8 << 20, 512, &[("root", 1, 2)]);
        let without = |stretches: &[std::ops::Range<usize>]| {
            let mut disk = whole.clone();
            for stretch in stretches {
                disk[stretch.clone()].fill(0);
            }
            disk
        };
        let (mbr, primary) = (0..512, 512..1024);
        let backup = (8 << 20) - 512..8 << 20;
        assert!(
            is_gpt(&without(std::slice::from_ref(&primary))),
            "by its backup"
        );
        assert!(is_gpt(&without(&[mbr.clone(), backup.clone()])));
        let guarded = without(&[primary.clone(), backup.clone()]);
        assert_eq!(layout(&guarded).table, PartitionTable::Damaged);
        let copy = without(&[mbr.clone(), primary.clone()]);
        assert_eq!(layout(&copy).table, PartitionTable::Damaged);
        let nothing = without(&[mbr, primary.clone(), backup]);
        assert_eq!(layout(&nothing).table, PartitionTable::None);
        let mut other = without(&[primary]);
        other[446 + 4] = 0x83;
        assert_eq!(
            layout(&other).table,
            PartitionTable::Mbr,
            "an MBR that was made later, before the GPT's backup"
        );
    }
}
