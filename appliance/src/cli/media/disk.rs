//! The disk itself: a copy of the appliance's image, with the partition DATA reaching to its end.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use gptman::GPT;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// Room behind what DATA has to hold: state, filesystem structures, the next image.
const SLACK: u64 = 256 * MIB;

/// A partition's place in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the disk's start.
    pub start: u64,
    /// Its length.
    pub length: u64,
}

/// A copied disk whose partitions CONFIG and DATA are to be filled.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// The partition CONFIG.
    pub config: Extent,
    /// The partition DATA, grown.
    pub data: Extent,
}

impl Disk {
    /// Copies everything before DATA, and makes a partition table in which DATA has room for
    /// `content` bytes and some more, or ends where a disk of `size` bytes does.
    pub fn copy(
        image: &Path,
        output: &Path,
        size: Option<u64>,
        content: u64,
    ) -> anyhow::Result<Disk> {
        let mut source =
            File::open(image).with_context(|| format!("opening {}", image.display()))?;
        let mut table = GPT::read_from(&mut source, SECTOR)
            .with_context(|| format!("reading the partition table of {}", image.display()))?;
        let (_, config) = find(&table, "CONFIG", image)?;
        let (number, old) = find(&table, "DATA", image)?;
        ensure!(
            table
                .iter()
                .all(|(_, entry)| entry.is_unused() || entry.starting_lba * SECTOR <= old.start),
            "DATA is not the last partition of {}",
            image.display()
        );
        // One MiB behind DATA holds the backup of the partition table.
        let least = old.start + content + content / 32 + 64 * MIB;
        let size = size.unwrap_or((least + SLACK).next_multiple_of(MIB)) / MIB * MIB;
        if size < least + MIB {
            bail!(
                "a disk of {size} bytes is too small: the images need {}",
                least + MIB
            );
        }
        let data = Extent {
            start: old.start,
            length: size - MIB - old.start,
        };

        let mut target = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(output)?;
        source.seek(SeekFrom::Start(0))?;
        copy_sparse(source, old.start, &mut target)
            .with_context(|| format!("copying {}", image.display()))?;
        target.set_len(size)?;
        table.header.update_from(&mut target, SECTOR)?;
        table[number].ending_lba = (data.start + data.length) / SECTOR - 1;
        table
            .write_into(&mut target)
            .context("writing the partition table")?;
        GPT::write_protective_mbr_into(&mut target, SECTOR)
            .context("writing the protective MBR")?;
        Ok(Disk {
            path: output.to_path_buf(),
            config,
            data,
        })
    }

    /// Writes a filesystem into CONFIG.
    pub fn write_config(&self, filesystem: &Path) -> anyhow::Result<()> {
        let data =
            fs::read(filesystem).with_context(|| format!("reading {}", filesystem.display()))?;
        ensure!(
            data.len() as u64 == self.config.length,
            "CONFIG's filesystem has not the size of its partition"
        );
        let mut target = File::options().write(true).open(&self.path)?;
        target.seek(SeekFrom::Start(self.config.start))?;
        target.write_all(&data).context("writing CONFIG")
    }
}

fn find(table: &GPT, name: &str, image: &Path) -> anyhow::Result<(u32, Extent)> {
    let found = table
        .iter()
        .find(|(_, entry)| entry.is_used() && entry.partition_name.as_str() == name);
    let (number, entry) = found.with_context(|| {
        format!(
            "{} has no partition {name}: it is not the appliance's image",
            image.display()
        )
    })?;
    let sectors = entry
        .size()
        .with_context(|| format!("reading the size of partition {name}"))?;
    Ok((
        number,
        Extent {
            start: entry.starting_lba * SECTOR,
            length: sectors * SECTOR,
        },
    ))
}

/// Copies `length` bytes, leaving holes where they are zero.
fn copy_sparse(source: File, length: u64, target: &mut File) -> anyhow::Result<()> {
    let mut source = source.take(length);
    let mut block = Vec::with_capacity(MIB as usize);
    loop {
        block.clear();
        let count = source.by_ref().take(MIB).read_to_end(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        if block.iter().all(|byte| *byte == 0) {
            target.seek_relative(count as i64)?;
        } else {
            target.write_all(&block)?;
        }
    }
}
