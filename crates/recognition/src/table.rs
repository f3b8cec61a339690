//! Partition tables as they stand on a disk: GPT, or the four entries of an MBR.

use std::io::{Read, Seek, SeekFrom};

use crate::signatures;

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which.
    pub kind: Kind,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// Kinds of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
}

/// One partition, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// Its name in a GPT.
    pub name: String,
    /// MBR type byte; 0 in a GPT.
    pub mbr_type: u8,
    /// Its own GUID in a GPT, in upper case; empty in an MBR.
    pub guid: String,
    /// Partition type of a GPT, as its bytes stand there; zeros in an MBR.
    pub type_guid: [u8; 16],
}

impl Table {
    /// GUIDs of its partitions; none in an MBR, where all of them hang on one number that systems
    /// change.
    pub fn guids(&self) -> Vec<String> {
        let named = self.partitions.iter().filter(|p| !p.guid.is_empty());
        named.map(|partition| partition.guid.clone()).collect()
    }

    /// Reads the table of a disk with that logical sector size. A GPT whose primary header is
    /// damaged counts as absent: no firmware would start from its copy here.
    pub fn read(disk: &mut (impl Read + Seek), sector_size: u32) -> std::io::Result<Option<Self>> {
        let mut sector = [0; 512];
        disk.seek(SeekFrom::Start(0))?;
        disk.read_exact(&mut sector)?;
        let Some(entries) = mbr(&sector, sector_size) else {
            return Ok(None);
        };
        if !entries.iter().any(|entry| entry.mbr_type == PROTECTIVE) {
            return Ok((!entries.is_empty()).then_some(Self {
                kind: Kind::Mbr,
                partitions: entries,
            }));
        }
        disk.seek(SeekFrom::Start(u64::from(sector_size)))?;
        let found = gptman::GPT::read_from(disk, u64::from(sector_size));
        let Some(table) = found.ok().filter(gptman::GPT::is_primary) else {
            return Ok(None);
        };
        let bytes = u64::from(sector_size);
        let partitions = table
            .iter()
            .filter(|(_, entry)| entry.is_used())
            .map(|(number, entry)| Partition {
                number,
                start: entry.starting_lba.saturating_mul(bytes),
                length: entry
                    .ending_lba
                    .saturating_add(1)
                    .saturating_sub(entry.starting_lba)
                    .saturating_mul(bytes),
                name: entry.partition_name.as_str().to_owned(),
                mbr_type: 0,
                guid: signatures::guid(&entry.unique_partition_guid),
                type_guid: entry.partition_type_guid,
            })
            .collect();
        Ok(Some(Self {
            kind: Kind::Gpt,
            partitions,
        }))
    }
}

/// The type byte of the MBR entry that guards a GPT.
pub const PROTECTIVE: u8 = 0xee;

/// The used entries of an MBR; `None` where there is no MBR. The boot sector of a FAT filesystem
/// ends alike: there the entries hold nonsense, as a status byte that is neither 0 nor 0x80.
pub fn mbr(sector: &[u8; 512], sector_size: u32) -> Option<Vec<Partition>> {
    if sector[510..] != [0x55, 0xaa] {
        return None;
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(sector[446..510].chunks_exact(16)) {
        if entry[0] & 0x7f != 0 {
            return None;
        }
        let sectors = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        if entry[4] != 0 && sectors(12) != 0 {
            partitions.push(Partition {
                number,
                start: u64::from(sectors(8)) * u64::from(sector_size),
                length: u64::from(sectors(12)) * u64::from(sector_size),
                name: String::new(),
                mbr_type: entry[4],
                guid: String::new(),
                type_guid: [0; 16],
            });
        }
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::fixture::gpt_disk;

    #[test]
    fn gpt_of_both_sector_sizes() {
        for sector_size in [512, 4096] {
            let disk = gpt_disk(16 << 20, sector_size, &[("boot", 1, 2), ("root", 3, 12)]);
            let table = Table::read(&mut Cursor::new(disk), sector_size as u32)
                .unwrap()
                .unwrap();
            assert_eq!(table.kind, Kind::Gpt);
            let found: Vec<_> = table
                .partitions
                .iter()
                .map(|p| (p.number, p.name.as_str(), p.start >> 20, p.length >> 20))
                .collect();
            assert_eq!(found, [(1, "boot", 1, 2), (2, "root", 3, 10)]);
        }
    }

    #[test]
    fn mbr_with_a_gap_between_entries() {
        let mut sector = vec![0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector[446 + 16] = 0x80;
        sector[446 + 20] = 0x83;
        sector[446 + 24..446 + 32].copy_from_slice(&[0, 8, 0, 0, 0, 0x10, 0, 0]);
        let table = Table::read(&mut Cursor::new(sector), 512).unwrap().unwrap();
        assert_eq!(table.kind, Kind::Mbr);
        let expected = Partition {
            number: 2,
            start: 1 << 20,
            length: 2 << 20,
            name: String::new(),
            mbr_type: 0x83,
            guid: String::new(),
            type_guid: [0; 16],
        };
        assert_eq!(table.partitions, [expected]);
    }

    #[test]
    fn damage_and_emptiness_are_no_table() {
        let read = |disk: Vec<u8>| Table::read(&mut Cursor::new(disk), 512).unwrap();
        assert_eq!(read(vec![0; 1024]), None);
        let mut damaged = gpt_disk(4 << 20, 512, &[("root", 1, 2)]);
        damaged[512 + 40] ^= 1;
        assert_eq!(read(damaged), None);
    }
}
