//! The image's partition table, in memory: checked, and grown to the disk.

use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};

use super::disk::{Device, TargetDisk};
use hardway_model::receipt::{self, Receipt};
use hardway_recognition::table::{Kind, Table};

/// Checks that what was written is a disk with partitions that this disk can boot, and gives the
/// end of the last partition to the device.
pub fn settle<D: Device>(disk: &mut TargetDisk<D>) -> Result<Table> {
    if !disk.has_room_for_receipt() {
        bail!("the image uses the bytes from 960 to 976 KiB, where the receipt has to stand");
    }
    let table = read(disk)?;
    let end = match table.kind {
        Kind::Gpt => end_of_usable(disk)?,
        Kind::Mbr => disk.size(),
    };
    disk.release_tail(end)?;
    Ok(table)
}

/// Moves the backup GPT to the end of the disk and lets a partition fill the room behind it: that of
/// this number, or the last one. Gives back how many bytes were won; `None` for an MBR, which stays as
/// it is.
pub fn grow<D: Device>(disk: &mut TargetDisk<D>, partition: Option<u32>) -> Result<Option<u64>> {
    if read(disk)?.kind == Kind::Mbr {
        return Ok(None);
    }
    let sector_size = u64::from(disk.sector_size());
    let mut view = View { disk, position: 0 };
    let mut table = gptman::GPT::read_from(&mut view, sector_size).context("reading the GPT")?;
    table
        .header
        .update_from(&mut view, sector_size)
        .context("moving the backup GPT to the end of the disk")?;
    let last_usable = table.header.last_usable_lba;
    let number = match partition {
        Some(number) => number,
        None => last(&table).context("the image has no partition")?,
    };
    // Whole MiB: no filesystem's blocks are larger than that.
    let mebibyte = (1 << 20) / sector_size;
    let limit = room_behind(&table, number)?;
    let end = (limit + 1) / mebibyte * mebibyte - 1;
    let before = table[number].ending_lba;
    table[number].ending_lba = before.max(end);
    let won = (table[number].ending_lba - before) * sector_size;
    table
        .write_into(&mut view)
        .context("writing the grown GPT to memory")?;
    widen_protective_mbr(disk)?;
    disk.release_tail((last_usable + 1) * sector_size)?;
    Ok(Some(won))
}

fn last(table: &gptman::GPT) -> Option<u32> {
    let used = table.iter().filter(|(_, entry)| entry.is_used());
    used.max_by_key(|(_, entry)| entry.starting_lba)
        .map(|(number, _)| number)
}

/// The last sector that the partition can reach: before the next one, or the last usable.
fn room_behind(table: &gptman::GPT, number: u32) -> Result<u64> {
    let used = || table.iter().filter(|(_, entry)| entry.is_used());
    let Some((_, partition)) = used().find(|(other, _)| *other == number) else {
        bail!("there is no partition {number} to grow");
    };
    let next = used()
        .map(|(_, entry)| entry.starting_lba)
        .filter(|start| *start > partition.starting_lba)
        .min();
    Ok(next.map_or(table.header.last_usable_lba, |start| start - 1))
}

/// A receipt that tells the partitions as they will stand on the disk.
pub fn told<D: Device>(receipt: &Receipt, disk: &mut TargetDisk<D>) -> Result<Receipt> {
    let mut partitions = read(disk)?.guids();
    partitions.truncate(receipt::PARTITIONS);
    Ok(Receipt {
        partitions,
        ..receipt.clone()
    })
}

/// The table as it will stand on the disk.
pub fn read<D: Device>(disk: &mut TargetDisk<D>) -> Result<Table> {
    let sector_size = disk.sector_size();
    let found = Table::read(&mut View { disk, position: 0 }, sector_size);
    if let Some(table) = found.context("reading the image's partition table")? {
        return Ok(table);
    }
    for other in [512, 4096] {
        let found = Table::read(&mut View { disk, position: 0 }, other);
        if other != sector_size
            && matches!(
                found,
                Ok(Some(Table {
                    kind: Kind::Gpt,
                    ..
                }))
            )
        {
            bail!("the image is made for sectors of {other} bytes, and the disk has {sector_size}");
        }
    }
    bail!("the image has no partition table: a whole disk is expected, not a single filesystem");
}

/// The entry that guards the GPT covers the whole disk (UEFI 2.10, section 5.2.3).
fn widen_protective_mbr<D: Device>(disk: &mut TargetDisk<D>) -> Result<()> {
    const ENTRIES: u64 = 446;
    let sectors = disk.size() / u64::from(disk.sector_size()) - 1;
    let covered = u32::try_from(sectors).unwrap_or(u32::MAX);
    for number in 0..4 {
        let at = ENTRIES + 16 * number;
        let mut entry = [0; 16];
        disk.read(&mut entry, at)
            .context("reading the protective MBR")?;
        if entry[4] == 0xee && entry[8..12] == 1_u32.to_le_bytes() {
            disk.write(&covered.to_le_bytes(), at + 12)?;
        }
    }
    Ok(())
}

fn end_of_usable<D: Device>(disk: &mut TargetDisk<D>) -> Result<u64> {
    let sector_size = u64::from(disk.sector_size());
    let table = gptman::GPT::read_from(&mut View { disk, position: 0 }, sector_size)
        .context("reading the GPT")?;
    Ok((table.header.last_usable_lba + 1) * sector_size)
}

/// The disk with its withheld ends as one file.
struct View<'a, D> {
    disk: &'a mut TargetDisk<D>,
    position: u64,
}

impl<D: Device> Read for View<'_, D> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.size().saturating_sub(self.position);
        let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.disk.read(&mut bytes[..length], self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl<D: Device> Write for View<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk
            .write(bytes, self.position)
            .map_err(io::Error::other)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Device> Seek for View<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.disk.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
