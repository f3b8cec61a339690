//! The partition table that an image brings, read from its head.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hardway_ignition::operation::disks::TableEntry;
use hardway_model::desired::Compression;
use hardway_recognition::signatures::guid;
use hardway_recognition::table;

use crate::unpack::unpacked;

/// The header and the entries of a GPT lie before the first partition, which begins at 1 MiB as a rule.
const HEAD: u64 = 1 << 20;

/// An image's partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageTable {
    /// GUID partition table.
    Gpt {
        /// First sector that partitions may use.
        first_usable: u64,
        /// Sectors that the entries take up, at each end of a disk.
        entry_sectors: u64,
        /// Used entries, by number.
        entries: Vec<TableEntry>,
    },
    /// Master boot record.
    Mbr,
}

impl ImageTable {
    /// Reads the table of an image file that is to stand on a disk with that logical sector size.
    pub fn read(path: &Path, compression: Compression, sector_size: u32) -> Result<Self> {
        let reading = || format!("reading the partition table of {}", path.display());
        let file = File::open(path).with_context(reading)?;
        let content = unpacked(file, compression).with_context(reading)?;
        Self::of(content, sector_size).with_context(reading)
    }

    /// Reads the table of a disk's content, as above.
    pub fn of(content: impl Read, sector_size: u32) -> Result<Self> {
        Self::of_head(&head(content)?, sector_size)
    }

    fn of_head(head: &[u8], sector_size: u32) -> Result<Self> {
        let sector = head.first_chunk::<512>();
        let Some(record) = sector.and_then(|sector| table::mbr(sector, sector_size)) else {
            bail!("there is none");
        };
        if record.is_empty() {
            bail!("there are no partitions in it: a whole disk is expected, not a filesystem");
        }
        if !record
            .iter()
            .any(|entry| entry.mbr_type == table::PROTECTIVE)
        {
            return Ok(Self::Mbr);
        }
        let Some(table) = gpt(head, sector_size) else {
            let other = if sector_size == 512 { 4096 } else { 512 };
            match gpt(head, other) {
                Some(_) => {
                    bail!("it is made for sectors of {other} bytes, the disk has {sector_size}")
                }
                None => bail!("its GPT is damaged"),
            }
        };
        let header = &table.header;
        let entries_length = u64::from(header.number_of_partition_entries)
            * u64::from(header.size_of_partition_entry);
        let used = table.iter().filter(|(_, entry)| entry.is_used());
        Ok(Self::Gpt {
            first_usable: header.first_usable_lba,
            entry_sectors: entries_length.div_ceil(u64::from(sector_size)),
            entries: used
                .map(|(number, entry)| described(number, entry))
                .collect(),
        })
    }

    /// First and last sector that partitions may use on a disk of `size` bytes, with the backup table
    /// at its end.
    pub fn usable(&self, size: u64, sector_size: u32) -> Option<(u64, u64)> {
        match self {
            Self::Gpt {
                first_usable,
                entry_sectors,
                ..
            } => {
                let sectors = size / u64::from(sector_size);
                Some((*first_usable, sectors.checked_sub(entry_sectors + 2)?))
            }
            Self::Mbr => None,
        }
    }

    /// The used entries.
    pub fn entries(&self) -> &[TableEntry] {
        match self {
            Self::Gpt { entries, .. } => entries,
            Self::Mbr => &[],
        }
    }
}

fn gpt(head: &[u8], sector_size: u32) -> Option<gptman::GPT> {
    let mut head = Cursor::new(head);
    head.set_position(u64::from(sector_size));
    let table = gptman::GPT::read_from(&mut head, u64::from(sector_size)).ok()?;
    table.is_primary().then_some(table)
}

fn described(number: u32, entry: &gptman::GPTPartitionEntry) -> TableEntry {
    TableEntry {
        number,
        start: entry.starting_lba,
        sectors: entry
            .ending_lba
            .saturating_add(1)
            .saturating_sub(entry.starting_lba),
        type_guid: guid(&entry.partition_type_guid),
        guid: Some(guid(&entry.unique_partition_guid)),
        label: entry.partition_name.as_str().to_owned(),
        attributes: entry.attribute_bits,
        fate: Default::default(),
    }
}

/// The first bytes of the disk that an image makes.
fn head(content: impl Read) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    content.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use hardway_recognition::fixture::gpt_disk;

    use super::*;

    #[test]
    fn the_table_of_a_compressed_image() {
        let folder = tempfile::tempdir().unwrap();
        let disk = gpt_disk(8 << 20, 512, &[("boot", 1, 2), ("root", 3, 6)]);
        let zstd = zstd::encode_all(disk.as_slice(), 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&disk).unwrap();
        for (compression, bytes) in [
            (Compression::Zstd, zstd),
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::None, disk),
        ] {
            let path = folder.path().join("image");
            std::fs::write(&path, bytes).unwrap();
            let table = ImageTable::read(&path, compression, 512).unwrap();
            let shown: Vec<_> = table
                .entries()
                .iter()
                .map(|e| (e.number, e.label.as_str(), e.start, e.sectors))
                .collect();
            assert_eq!(shown, [(1, "boot", 2048, 4096), (2, "root", 6144, 8192)]);
            assert_eq!(
                table.usable(64 << 20, 512),
                Some((34, (64 << 11) - 34)),
                "to the end of the disk, not of the image"
            );
            assert_eq!(
                table.entries()[0].type_guid,
                "01010101-0101-0101-0101-010101010101"
            );
        }
    }

    #[test]
    fn what_is_no_table_for_this_disk() {
        let failure = |head: &[u8], sector_size| {
            ImageTable::of_head(head, sector_size)
                .unwrap_err()
                .to_string()
        };
        let disk = gpt_disk(4 << 20, 4096, &[("root", 1, 2)]);
        assert_eq!(
            failure(&disk, 512),
            "it is made for sectors of 4096 bytes, the disk has 512"
        );
        assert_eq!(failure(&[0; 4096], 512), "there is none");
        // A boot sector of FAT says that it starts, too, and has a program where entries would be.
        let mut filesystem = [0; 4096];
        filesystem[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(
            failure(&filesystem, 512),
            "there are no partitions in it: a whole disk is expected, not a filesystem"
        );
        filesystem[446] = b'N';
        assert_eq!(failure(&filesystem, 512), "there is none");
        let mut damaged = gpt_disk(4 << 20, 512, &[("root", 1, 2)]);
        damaged[512 + 40] ^= 1;
        assert_eq!(failure(&damaged, 512), "its GPT is damaged");
    }
}
