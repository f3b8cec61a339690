//! Disk images: partitions assembled into a GPT disk that boots by BIOS and by UEFI, with neither
//! root nor loop devices.
//!
//! A [`DiskLayout`] says what stands where; [`assemble`] writes it. The contents come from the
//! builders beside it: [`fat`] (ESP, CONFIG), [`ext4`] (root, DATA) and [`grub`] (both boot
//! loaders). Same input, same bytes: every GUID is given, every time stamp is [`EPOCH`].

pub mod ext4;
pub mod fat;
pub mod grub;
mod guid;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub use guid::Guid;

use crate::process;

/// Bytes in a sector of the images: BIOS knows no other.
pub const SECTOR: u64 = 512;
/// Partitions begin and end on multiples of this.
pub const ALIGNMENT: u64 = 1 << 20;
/// The time stamp of everything made here, in seconds since 1970: 2025-08-09, trixie's release.
pub const EPOCH: u64 = 1_754_697_600;

/// A disk, before it is written.
#[derive(Debug, Clone)]
pub struct DiskLayout {
    /// The disk's own GUID.
    pub guid: Guid,
    /// Partitions in the order in which they stand, numbered from 1.
    pub partitions: Vec<Partition>,
}

/// One entry of the partition table.
#[derive(Debug, Clone)]
pub struct Partition {
    /// GPT name (`PARTLABEL`), at most 36 UTF-16 units.
    pub name: String,
    /// What the partition is for: one of the constants of [`Guid`].
    pub kind: Guid,
    /// The partition's own GUID (`PARTUUID`).
    pub guid: Guid,
    /// Least size in bytes; the content's own size where that is more. Rounded up to [`ALIGNMENT`].
    pub size: u64,
    /// What is written into it.
    pub content: Content,
}

/// What a partition holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// The bytes of a file.
    File(PathBuf),
    /// GRUB for BIOS as [`grub::bios_core`] makes it, which [`assemble`] ties to the place where the
    /// partition stands, with its boot sector in front of the disk.
    BiosBoot(grub::BiosLoader),
}

/// Writes the disk image to `output`, sparse, over whatever stood there.
pub fn assemble(layout: &DiskLayout, output: &Path) -> Result<()> {
    write_disk(layout, output)
        .with_context(|| format!("assembling disk image {}", output.display()))
}

fn write_disk(layout: &DiskLayout, output: &Path) -> Result<()> {
    let extents = place(&layout.partitions)?;
    let end = extents.last().map_or(ALIGNMENT, |last| last.end);
    let mut disk = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(output)?;
    // One aligned unit behind the last partition holds the backup table.
    disk.set_len(end + ALIGNMENT)?;

    for (partition, extent) in layout.partitions.iter().zip(&extents) {
        disk.seek(SeekFrom::Start(extent.start))?;
        match &partition.content {
            Content::File(path) => copy_sparse(path, &mut disk)
                .with_context(|| format!("writing {} into its partition", path.display()))?,
            Content::BiosBoot(loader) => {
                let (boot, core) = loader.placed_at(extent.start / SECTOR)?;
                disk.write_all(&core)?;
                disk.seek(SeekFrom::Start(0))?;
                disk.write_all(&boot)?;
            }
        }
    }
    write_table(layout, &extents, &mut disk).context("writing partition table")?;
    disk.sync_all()?;
    Ok(())
}

/// Where a partition stands, in bytes from the disk's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: u64,
    end: u64,
}

/// Puts partitions one behind the other, the first at 1 MiB: the agent keeps its receipt before.
fn place(partitions: &[Partition]) -> Result<Vec<Extent>> {
    let mut start = ALIGNMENT;
    partitions
        .iter()
        .map(|partition| {
            let content = match &partition.content {
                Content::BiosBoot(loader) => loader.size(),
                Content::File(path) => fs::metadata(path)
                    .with_context(|| format!("reading the size of {}", path.display()))?
                    .len(),
            };
            let size = content.max(partition.size).next_multiple_of(ALIGNMENT);
            ensure!(size > 0, "partition {} has no size", partition.name);
            let extent = Extent {
                start,
                end: start + size,
            };
            start = extent.end;
            Ok(extent)
        })
        .collect()
}

fn write_table(layout: &DiskLayout, extents: &[Extent], disk: &mut File) -> Result<()> {
    let mut table = gptman::GPT::new_from(disk, SECTOR, layout.guid.to_disk())?;
    for (number, (partition, extent)) in (1..).zip(layout.partitions.iter().zip(extents)) {
        table[number] = gptman::GPTPartitionEntry {
            partition_type_guid: partition.kind.to_disk(),
            unique_partition_guid: partition.guid.to_disk(),
            starting_lba: extent.start / SECTOR,
            ending_lba: extent.end / SECTOR - 1,
            attribute_bits: 0,
            partition_name: partition.name.as_str().into(),
        };
    }
    table.write_into(disk)?;
    gptman::GPT::write_protective_mbr_into(disk, SECTOR)?;
    Ok(())
}

/// Copies a file to where `disk` stands, leaving holes where it is zero.
fn copy_sparse(path: &Path, disk: &mut File) -> Result<()> {
    let mut source = File::open(path)?;
    let mut block = vec![0; ALIGNMENT as usize];
    loop {
        let filled = read_full(&mut source, &mut block)?;
        if filled == 0 {
            return Ok(());
        }
        let bytes = &block[..filled];
        if bytes.iter().all(|byte| *byte == 0) {
            disk.seek_relative(filled as i64)?;
        } else {
            disk.write_all(bytes)?;
        }
    }
}

fn read_full(source: &mut impl Read, block: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Runs a tool to its end with what makes its output reproducible in its environment.
fn run(command: &mut Command) -> Result<()> {
    let epoch = EPOCH.to_string();
    command.env("SOURCE_DATE_EPOCH", epoch).env("TZ", "UTC");
    process::run(command).map(drop)
}

#[cfg(test)]
mod tests;
