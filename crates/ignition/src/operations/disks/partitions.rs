//! One disk's partitions: what stands there and what the config wants → the finished table.
//!
//! As Ignition 2.26 does it. Everything listed is first laid out anew, in a copy of the table from
//! which the listed partitions are gone: those with a number in the config's order, then those with
//! number 0. What stands there already is compared with the place that it would get.

use std::collections::{BTreeMap, BTreeSet};

use super::space::{Extent, Obstacle, Space};
use super::wanted::{Wanted, WantedPartition};
use crate::config;
use crate::hardware::{self, Disk};
use crate::operation::describe::{extent, size};
use crate::operation::disks::{Fate, Table, TableEntry};
use crate::report::Problem;

/// The table that `disk` is to have, or `None` where nothing changes. `at` is the path of `spec`.
///
/// # Errors
///
/// Everything in `spec` that does not go with what stands on the disk.
pub fn plan(disk: &Disk, spec: &config::Disk, at: &str) -> Result<Option<Table>, Vec<Problem>> {
    let wipe = spec.wipe_table == Some(true);
    let before = Before::read(disk, wipe).map_err(|message| vec![Problem::error(at, message)])?;
    let wanted = Wanted::of(disk, spec, at)?;
    let placed = place(&before, &wanted, disk.sector_size)?;
    let (entries, deleted) = decide(&before, &wanted, &placed, disk)?;
    let changes = !deleted.is_empty() || entries.iter().any(|entry| entry.fate != Fate::Kept);
    if !changes && !wipe {
        return Ok(None);
    }
    before
        .check_kept(&entries)
        .map_err(|message| vec![Problem::error(at, message)])?;
    let erase = entries
        .iter()
        .filter(|entry| disk.claimed && matches!(entry.fate, Fate::Created | Fate::Recreated))
        .map(|entry| entry.number)
        .collect();
    Ok(Some(Table {
        disk: disk.path.clone(),
        sector_size: disk.sector_size,
        found: match &disk.table {
            hardware::Table::Gpt { entries, .. } => Some(entries.clone()),
            _ => None,
        },
        wipe,
        deleted,
        entries,
        erase,
    }))
}

/// What stands on the disk once a table that is to be wiped is gone.
pub(super) struct Before {
    usable: Extent,
    total: u64,
    pub(super) entries: BTreeMap<u32, TableEntry>,
}

impl Before {
    fn read(disk: &Disk, wipe: bool) -> Result<Self, String> {
        let path = &disk.path;
        if !matches!(disk.sector_size, 512 | 4096) {
            return Err(format!("{path} has sectors of {} bytes", disk.sector_size));
        }
        if disk.in_use {
            return Err(format!(
                "{path} itself is mounted or held: it cannot be partitioned"
            ));
        }
        if wipe && !disk.active.is_empty() {
            return Err(format!(
                "{} of {path} is mounted or held: its table cannot be wiped",
                numbers(&disk.active)
            ));
        }
        let blank = Self::blank(disk)?;
        if wipe {
            return Ok(blank);
        }
        let (usable, entries) = match &disk.table {
            hardware::Table::None => return Ok(blank),
            hardware::Table::Gpt { usable, entries } => (*usable, entries),
            hardware::Table::Mbr => {
                return Err(format!(
                    "{path} has an MBR partition table: `wipeTable: true` would replace it"
                ));
            }
            hardware::Table::Damaged => {
                return Err(format!(
                    "the partition table of {path} is damaged: `wipeTable: true` would replace it"
                ));
            }
        };
        if usable.0 < 2 || usable.0 > usable.1 || usable.1 >= blank.total {
            return Err(format!(
                "the table of {path} is for another disk: `wipeTable: true` would replace it"
            ));
        }
        let before = Self {
            usable,
            total: blank.total,
            entries: entries
                .iter()
                .map(|entry| (entry.number, entry.clone()))
                .collect(),
        };
        if before.entries.len() < entries.len() {
            return Err(format!("the table of {path} has a number twice"));
        }
        Ok(before)
    }

    /// With room for the usual 128 entries at both ends.
    fn blank(disk: &Disk) -> Result<Self, String> {
        let total = disk.size / u64::from(disk.sector_size);
        let first = 2 + 128 * 128 / u64::from(disk.sector_size);
        let last = total.checked_sub(first).filter(|last| *last >= first);
        let last = last.ok_or_else(|| format!("{} is too small for a table", disk.path))?;
        Ok(Self {
            usable: (first, last),
            total,
            entries: BTreeMap::new(),
        })
    }

    fn space(&self, sector_size: u32) -> Space {
        let used = self
            .entries
            .iter()
            .map(|(number, entry)| (*number, place_of(entry)));
        Space::new(self.usable, self.total, sector_size, used.collect())
    }

    /// No table is written, by sgdisk neither, whose partitions overlap or lie outside.
    fn check_kept(&self, entries: &[TableEntry]) -> Result<(), String> {
        let mut in_order: Vec<&TableEntry> = entries.iter().collect();
        in_order.sort_by_key(|entry| entry.start);
        let mut next = self.usable.0;
        for entry in in_order {
            let (first, last) = place_of(entry);
            if entry.sectors == 0 || first < next || last > self.usable.1 {
                return Err(format!(
                    "partition {} overlaps another or lies outside of the table's range: \
                     `wipeTable: true` would make a new table",
                    entry.number
                ));
            }
            next = last.saturating_add(1);
        }
        Ok(())
    }
}

fn place_of(entry: &TableEntry) -> Extent {
    let last = entry
        .start
        .saturating_add(entry.sectors)
        .saturating_sub(1)
        .max(entry.start);
    (entry.start, last)
}

/// Lays out everything listed, as if it were all to be made anew: number and place of each.
fn place(
    before: &Before,
    wanted: &Wanted<'_>,
    sector_size: u32,
) -> Result<Vec<Option<(u32, Extent)>>, Vec<Problem>> {
    let mut space = before.space(sector_size);
    for partition in &wanted.partitions {
        if partition.number != 0 {
            space.delete(partition.number);
        }
    }
    let mut problems = Vec::new();
    let mut placed = Vec::new();
    for partition in &wanted.partitions {
        if !partition.exists {
            placed.push(None);
            continue;
        }
        let number = match partition.number {
            0 => space.free_number(),
            number => number,
        };
        let kept = partition.found(before).filter(|_| !partition.wipe);
        let or_kept = |wanted: Option<u64>, kept: Option<u64>| wanted.or(kept).unwrap_or(0);
        let start = or_kept(partition.start, kept.map(|entry| entry.start));
        let sectors = or_kept(partition.sectors, kept.map(|entry| entry.sectors));
        match space.create(number, start, sectors) {
            Ok(extent) => placed.push(Some((number, extent))),
            Err(obstacle) => {
                placed.push(None);
                let message = say(obstacle, number, &space, sector_size);
                problems.push(Problem::error(&partition.at, message));
            }
        }
    }
    if problems.is_empty() {
        Ok(placed)
    } else {
        Err(problems)
    }
}

/// What becomes of each partition: the finished entries by number, and the numbers that go.
fn decide(
    before: &Before,
    wanted: &Wanted<'_>,
    placed: &[Option<(u32, Extent)>],
    disk: &Disk,
) -> Result<(Vec<TableEntry>, Vec<u32>), Vec<Problem>> {
    let mut finished = Finished::of(before);
    let mut problems = Vec::new();
    for (partition, place) in wanted.partitions.iter().zip(placed) {
        match finished.take(partition, *place, before, disk.sector_size) {
            Ok(Some(number)) if disk.active.contains(&number) => {
                let message =
                    format!("partition {number} is mounted or held and cannot be changed");
                problems.push(Problem::error(&partition.at, message));
            }
            Ok(_) => {}
            Err(message) => problems.push(Problem::error(&partition.at, message)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let entries = finished.entries.into_values().collect();
    Ok((entries, finished.deleted.into_iter().collect()))
}

/// The table as far as it is decided.
struct Finished {
    entries: BTreeMap<u32, TableEntry>,
    deleted: BTreeSet<u32>,
}

impl Finished {
    fn of(before: &Before) -> Self {
        let kept = |entry: &TableEntry| TableEntry {
            fate: Fate::Kept,
            ..entry.clone()
        };
        let entries = before.entries.iter();
        Self {
            entries: entries
                .map(|(number, entry)| (*number, kept(entry)))
                .collect(),
            deleted: BTreeSet::new(),
        }
    }

    /// Decides one partition; the number, where something changes.
    fn take(
        &mut self,
        partition: &WantedPartition<'_>,
        place: Option<(u32, Extent)>,
        before: &Before,
        sector_size: u32,
    ) -> Result<Option<u32>, String> {
        match (partition.found(before), place) {
            (None, None) => Ok(None),
            (Some(_), None) if partition.wipe => {
                self.deleted.insert(partition.number);
                self.entries.remove(&partition.number);
                Ok(Some(partition.number))
            }
            (Some(entry), None) => Err(format!(
                "partition {} is there: {}; `wipePartitionEntry: true` would delete it",
                entry.number,
                show(entry, sector_size)
            )),
            // The number of a partition that goes is free. Ignition then takes the one that goes for
            // the one that is wanted.
            (None, Some((number, _))) if self.deleted.contains(&number) && !partition.wipe => {
                Err(format!(
                    "the next free number is {number}, of a partition that is deleted: give a number, \
                     or `wipePartitionEntry: true`"
                ))
            }
            (None, Some((number, extent))) => {
                let fate = match self.deleted.remove(&number) {
                    true => Fate::Recreated,
                    false => Fate::Created,
                };
                let entry = partition.entry(number, extent, fate);
                self.entries.insert(number, entry);
                Ok(Some(number))
            }
            (Some(entry), Some((_, extent))) => {
                let changed = partition.change(entry, extent, sector_size)?;
                Ok(changed.map(|changed| {
                    self.entries.insert(changed.number, changed);
                    entry.number
                }))
            }
        }
    }
}

fn say(obstacle: Obstacle, number: u32, space: &Space, sector_size: u32) -> String {
    let free = || {
        let blocks = space.free_blocks();
        let is_worth_naming =
            |(first, last): &&Extent| last - first >= (1 << 20) / u64::from(sector_size.max(1)) - 1;
        let blocks: Vec<String> = blocks
            .iter()
            .filter(is_worth_naming)
            .map(|(first, last)| extent(*first, last - first + 1, sector_size))
            .collect();
        if blocks.is_empty() {
            "less than 1 MiB is free".to_owned()
        } else {
            format!("free are {}", blocks.join(", "))
        }
    };
    match obstacle {
        Obstacle::NumberTaken => format!("number {number} is given to another partition"),
        Obstacle::NumberTooHigh(highest) => {
            format!("the table has no number {number}: they end at {highest}")
        }
        Obstacle::Full => "no space is free on the disk".to_owned(),
        Obstacle::NoRoom((first, last)) if first <= last => format!(
            "partition {number} does not fit at {}: {}",
            extent(first, last - first + 1, sector_size),
            free()
        ),
        Obstacle::NoRoom((first, _)) => format!(
            "partition {number} does not fit at {}: {}",
            size(first, sector_size),
            free()
        ),
        Obstacle::BehindLargest { start, largest } => format!(
            "a partition at {} without a size would end where the largest free block does, at {}: \
             give it a size",
            size(start, sector_size),
            size(largest.1.saturating_add(1), sector_size)
        ),
    }
}

fn show(entry: &TableEntry, sector_size: u32) -> String {
    let place = extent(entry.start, entry.sectors, sector_size);
    match entry.label.as_str() {
        "" => place,
        label => format!("`{label}`, {place}"),
    }
}

fn numbers(active: &[u32]) -> String {
    let numbers: Vec<String> = active.iter().map(u32::to_string).collect();
    format!("partition {}", numbers.join(", "))
}
