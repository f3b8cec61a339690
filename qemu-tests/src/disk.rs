//! Disk files of VMs: blank ones, their hashes, and the few facts about their content that
//! scenarios assert.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hardway_model::identity::Sha256;
use sha2::Digest;

const SECTOR: u64 = 512;

/// Makes a sparse file of `size` zero bytes.
pub fn create_blank(path: &Path, size: u64) -> Result<()> {
    File::create(path)
        .and_then(|file| file.set_len(size))
        .with_context(|| format!("creating {}", path.display()))
}

/// SHA-256 of a whole file, holes included.
pub fn sha256(path: &Path) -> Result<Sha256> {
    let hash = || -> io::Result<Sha256> {
        let mut file = File::open(path)?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Sha256(hasher.finalize().into())),
                read => hasher.update(&buffer[..read]),
            }
        }
    };
    hash().with_context(|| format!("hashing {}", path.display()))
}

/// Whether firmware finds nothing to boot: the first 4 KiB, with MBR and GPT header, are zero.
pub fn is_not_bootable(path: &Path) -> Result<bool> {
    let mut head = [0; 4096];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut head))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(head.iter().all(|byte| *byte == 0))
}

/// Whether firmware of a PC finds something to start: the first sector is not zero.
pub fn has_boot_sector(path: &Path) -> Result<bool> {
    let mut first = [0; SECTOR as usize];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut first))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(first.iter().any(|byte| *byte != 0))
}

/// Bytes of the file that are on the host's disk: how much was written to a blank disk, roughly.
pub fn allocated(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let metadata =
        std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    Ok(metadata.blocks() * 512)
}

/// Writes an MBR partition table (one Linux partition from 1 MiB) and a few bytes inside it:
/// somebody else's disk.
pub fn write_foreign_table(path: &Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).open(path)?;
        let mut record = [0; 512];
        let sectors = (file.metadata()?.len() / SECTOR - 2048) as u32;
        let entry = &mut record[446..462];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&2048u32.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        record[510..].copy_from_slice(&[0x55, 0xaa]);
        file.write_all(&record)?;
        file.seek(SeekFrom::Start(3 << 20))?;
        file.write_all(b"family photographs")
    };
    write().with_context(|| format!("writing a partition table to {}", path.display()))
}

/// Gives the disk a GPT with one partition, as partitioning tools do: the rest of its first MiB stays.
pub fn partition_anew(path: &Path) -> Result<()> {
    let write = || -> Result<(), gptman::Error> {
        let mut file = File::options().read(true).write(true).open(path)?;
        let mut table = gptman::GPT::new_from(&mut file, SECTOR, [0x6a; 16])?;
        table[1] = gptman::GPTPartitionEntry {
            partition_type_guid: [0xaf; 16],
            unique_partition_guid: [0x6b; 16],
            starting_lba: 2048,
            ending_lba: 1 << 20,
            attribute_bits: 0,
            partition_name: "photographs".into(),
        };
        gptman::GPT::write_protective_mbr_into(&mut file, SECTOR)?;
        table.write_into(&mut file)?;
        Ok(())
    };
    write().with_context(|| format!("partitioning {}", path.display()))
}

/// Makes a Zstandard file another one that decompresses to the same bytes, so that only its hash
/// tells: a skippable frame is appended (RFC 8878, section 3.1.2).
pub fn append_skippable_frame(path: &Path) -> Result<()> {
    let frame = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"else"].concat();
    File::options()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(&frame))
        .with_context(|| format!("appending to {}", path.display()))
}

/// Where the GPT partition named `name` begins, in bytes (UEFI 2.10, section 5.3).
pub fn partition_offset(path: &Path, name: &str) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut header = [0; 512];
    file.read_exact_at(&mut header, SECTOR)
        .with_context(|| format!("reading {}", path.display()))?;
    ensure!(&header[..8] == b"EFI PART", "{} has no GPT", path.display());
    let entries = u64::from_le_bytes(array(&header[72..80])) * SECTOR;
    let count = u64::from(u32::from_le_bytes(array(&header[80..84])));
    let size = u64::from(u32::from_le_bytes(array(&header[84..88])));
    for index in 0..count.min(128) {
        let mut entry = [0; 128];
        file.read_exact_at(&mut entry, entries + index * size)
            .with_context(|| format!("reading {}", path.display()))?;
        let label: Vec<u16> = entry[56..]
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        if String::from_utf16_lossy(&label) == name {
            return Ok(u64::from_le_bytes(array(&entry[32..40])) * SECTOR);
        }
    }
    bail!("{} has no partition named {name}", path.display())
}

/// A slice whose length its caller chose.
fn array<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut array = [0; LENGTH];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_disk_does_not_boot_and_a_foreign_one_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        create_blank(&path, 64 << 20).unwrap();
        assert!(is_not_bootable(&path).unwrap());
        let blank = sha256(&path).unwrap();
        write_foreign_table(&path).unwrap();
        assert!(!is_not_bootable(&path).unwrap());
        assert_ne!(sha256(&path).unwrap(), blank);
        assert!(partition_offset(&path, "CONFIG").is_err());
    }
}
