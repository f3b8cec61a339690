//! Partition tables: read, compared, changed in memory, and written at once.

use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};
use gptman::{GPT, GPTPartitionEntry};
use hardway_ignition::operation::disks::{Fate, Table, TableEntry};
use hardway_recognition::table as recognition;

use super::edits::{Changes, Edits};
use super::guid;
use crate::apply::disk::Device;

/// Bytes of an MBR's code, before its four entries.
const BOOT_CODE: u64 = 446;
/// Type of the MBR entry that guards a GPT (UEFI 2.10, section 5.2.3).
const PROTECTIVE: u8 = 0xee;
/// Bytes of the largest usual array of GPT entries: 128 of 128 bytes.
const ARRAY: u64 = 128 * 128;

/// What is to be written, and where partitions may stand then.
pub struct Planned {
    /// The sectors that change.
    pub changes: Changes,
    /// The first byte behind the last that a partition may use; the copy of the table stands there.
    pub end_of_usable: u64,
}

/// Compares what stands on the disk with what the table was planned for, and makes the change in
/// memory. Nothing is written.
pub fn plan<D: Device>(device: &D, wanted: &Table) -> Result<Planned> {
    let sector_size = u64::from(device.sector_size());
    if wanted.sector_size != device.sector_size() {
        bail!(
            "the disk has sectors of {sector_size} bytes, and the table is planned for {}",
            wanted.sector_size
        );
    }
    let mut disk = Edits::new(device);
    let recognised = recognition::Table::read(&mut disk, wanted.sector_size);
    if recognised?.is_some_and(|table| table.kind == recognition::Kind::Mbr) && !wanted.wipe {
        bail!("{} has an MBR with partitions of its own", wanted.disk);
    }
    let standing = GPT::read_from(&mut disk, sector_size).ok();
    compare(wanted, standing.as_ref(), is_guarded(&mbr(&mut disk)?))?;
    if wanted.wipe {
        wipe(&mut disk, device.size(), sector_size)?;
    }
    let end_of_usable = if wanted.wipe && wanted.entries.is_empty() {
        device.size()
    } else {
        let kept = standing.filter(|_| !wanted.wipe);
        write(&mut disk, kept, wanted, device.size())?
    };
    Ok(Planned {
        changes: disk.into_changes(),
        end_of_usable,
    })
}

/// Number, start, sectors and GUID of every entry have to be as planned. What is wiped away without
/// having been counted as a GPT may be the copy of one, or one that an MBR has taken the place of.
fn compare(wanted: &Table, standing: Option<&GPT>, is_guarded: bool) -> Result<()> {
    let disk = &wanted.disk;
    let (planned, standing) = match (&wanted.found, standing) {
        (None, None) => return Ok(()),
        (None, Some(table)) if wanted.wipe && (table.is_backup() || !is_guarded) => return Ok(()),
        (None, Some(_)) => bail!("{disk} has a GPT now, and had none when this was planned"),
        (Some(_), None) => bail!("{disk} had a GPT when this was planned, and has none now"),
        (Some(planned), Some(standing)) => (planned, standing),
    };
    let mut expected = planned
        .iter()
        .map(|entry| {
            let guid = entry.guid.as_deref().map(guid::parse).transpose()?;
            Ok((entry.number, entry.start, entry.sectors, guid))
        })
        .collect::<Result<Vec<_>>>()?;
    expected.sort_unstable();
    let found: Vec<_> = used(standing)
        .map(|(number, entry)| {
            let sectors = (entry.ending_lba + 1).saturating_sub(entry.starting_lba);
            (
                number,
                entry.starting_lba,
                sectors,
                entry.unique_partition_guid,
            )
        })
        .collect();
    let is_equal = expected.len() == found.len()
        && expected.iter().zip(&found).all(|(expected, found)| {
            (expected.0, expected.1, expected.2) == (found.0, found.1, found.2)
                && expected.3.is_none_or(|guid| guid == found.3)
        });
    if !is_equal {
        bail!("the partitions of {disk} are not those for which this was planned");
    }
    Ok(())
}

fn used(table: &GPT) -> impl Iterator<Item = (u32, &GPTPartitionEntry)> {
    table.iter().filter(|(_, entry)| entry.is_used())
}

/// Destroys MBR, GPT and the GPT's copy.
fn wipe<D: Device>(disk: &mut Edits<'_, D>, size: u64, sector_size: u64) -> Result<()> {
    let array = ARRAY.next_multiple_of(sector_size);
    let (head, tail) = (2 * sector_size + array, sector_size + array);
    if size < head + tail {
        bail!("a disk of {size} bytes is too small for a table");
    }
    for (offset, length) in [(0, head), (size / sector_size * sector_size - tail, tail)] {
        disk.seek(SeekFrom::Start(offset))?;
        disk.write_all(&vec![0; length as usize])
            .context("clearing the old table")?;
    }
    Ok(())
}

/// Writes the whole table, on the base of the one that is kept. Gives back the end of the usable
/// sectors, in bytes.
fn write<D: Device>(
    disk: &mut Edits<'_, D>,
    kept: Option<GPT>,
    wanted: &Table,
    size: u64,
) -> Result<u64> {
    let sector_size = u64::from(wanted.sector_size);
    let is_new = kept.is_none();
    let mut table = match kept {
        Some(table) => at_home(table, disk, sector_size)?,
        None => GPT::new_from(disk, sector_size, guid::random()?)
            .context("making a GPT for this disk")?,
    };
    for number in &wanted.deleted {
        *entry(&mut table, *number)? = GPTPartitionEntry::empty();
    }
    // First all that go: a new one may stand where another one was.
    for new in &wanted.entries {
        if matches!(new.fate, Fate::Created | Fate::Recreated) {
            *entry(&mut table, new.number)? = GPTPartitionEntry::empty();
        }
    }
    for new in &wanted.entries {
        set(entry(&mut table, new.number)?, new)
            .with_context(|| format!("setting partition {}", new.number))?;
    }
    let unplanned = |number: &u32| wanted.entries.iter().all(|entry| entry.number != *number);
    if let Some(number) = used(&table).map(|(number, _)| number).find(unplanned) {
        bail!("partition {number} would stay, and the plan does not say so");
    }
    guard(disk, is_new, size / sector_size)?;
    table.write_into(disk).context("composing the GPT")?;
    Ok((table.header.last_usable_lba + 1) * sector_size)
}

/// The table with its header at the beginning of the disk and its copy at the end, as far as the
/// disk reaches now. What is left of it may have been the copy only.
fn at_home<D: Device>(mut table: GPT, disk: &mut Edits<'_, D>, sector_size: u64) -> Result<GPT> {
    let first_usable = table.header.first_usable_lba;
    if table.is_backup() {
        table.header.primary_lba = 1;
        table.header.partition_entry_lba = 2;
    }
    if table.header.partition_entry_lba != 2 {
        bail!(
            "the entries of this GPT stand at sector {} instead of 2; such a table is not changed",
            table.header.partition_entry_lba
        );
    }
    table
        .header
        .update_from(disk, sector_size)
        .context("moving the GPT's copy to the end of the disk")?;
    // Some programs leave room for a boot loader behind the table.
    table.header.first_usable_lba = table.header.first_usable_lba.max(first_usable);
    Ok(table)
}

fn entry(table: &mut GPT, number: u32) -> Result<&mut GPTPartitionEntry> {
    let most = table.header.number_of_partition_entries;
    if number == 0 || number > most {
        bail!("the table has room for partitions 1 to {most}, and not for {number}");
    }
    Ok(&mut table[number])
}

fn set(entry: &mut GPTPartitionEntry, wanted: &TableEntry) -> Result<()> {
    let ending_lba = (wanted.start + wanted.sectors)
        .checked_sub(1)
        .filter(|_| wanted.sectors > 0)
        .context("it has no sectors")?;
    match wanted.fate {
        Fate::Kept | Fate::Resized if entry.starting_lba != wanted.start => {
            bail!("it is to stay, and starts elsewhere");
        }
        Fate::Kept if entry.ending_lba != ending_lba => {
            bail!("it is to stay as it is, and has another size");
        }
        Fate::Kept => Ok(()),
        Fate::Resized => {
            entry.ending_lba = ending_lba;
            Ok(())
        }
        Fate::Created | Fate::Recreated => {
            if wanted.label.encode_utf16().count() > 36 {
                bail!("its label is longer than 36 characters");
            }
            *entry = GPTPartitionEntry {
                partition_type_guid: guid::parse(&wanted.type_guid)?,
                unique_partition_guid: match &wanted.guid {
                    Some(text) => guid::parse(text)?,
                    None => guid::random()?,
                },
                starting_lba: wanted.start,
                ending_lba,
                attribute_bits: wanted.attributes,
                partition_name: wanted.label.as_str().into(),
            };
            Ok(())
        }
    }
}

/// Sees to the MBR's entry that guards the GPT, and leaves boot code alone. A hybrid MBR, which has
/// partitions of its own beside that entry, stays as it is.
fn guard<D: Device>(disk: &mut Edits<'_, D>, is_new: bool, sectors: u64) -> Result<()> {
    let sector = mbr(disk)?;
    let is_guarded = is_guarded(&sector);
    let kinds = kinds(&sector);
    let others = kinds.iter().any(|kind| *kind != 0 && *kind != PROTECTIVE);
    if is_guarded && others && !is_new {
        return Ok(());
    }
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    let mut tail = [0; 66];
    // The whole disk from sector 1 on, with the addresses in cylinders that UEFI names.
    tail[..8].copy_from_slice(&[0, 0x00, 0x02, 0x00, PROTECTIVE, 0xff, 0xff, 0xff]);
    tail[8..12].copy_from_slice(&1_u32.to_le_bytes());
    tail[12..16].copy_from_slice(&covered.to_le_bytes());
    tail[64..].copy_from_slice(&[0x55, 0xaa]);
    if is_guarded && !is_new && kinds[0] == PROTECTIVE {
        // A boot flag there makes some firmware start at all.
        tail[0] = sector[446];
    }
    disk.seek(SeekFrom::Start(BOOT_CODE))?;
    disk.write_all(&tail).context("writing the protective MBR")
}

fn mbr<D: Device>(disk: &mut Edits<'_, D>) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut sector).context("reading the MBR")?;
    Ok(sector)
}

/// The types of an MBR's four entries.
fn kinds(sector: &[u8; 512]) -> [u8; 4] {
    [sector[450], sector[466], sector[482], sector[498]]
}

fn is_guarded(sector: &[u8; 512]) -> bool {
    sector[510..] == [0x55, 0xaa] && kinds(sector).contains(&PROTECTIVE)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
