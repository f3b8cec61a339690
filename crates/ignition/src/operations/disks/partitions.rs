//! One disk's partitions: what stands there and what the config wants → the finished table.
//!
//! As Ignition 2.26 does it. Everything listed is first laid out anew, in a copy of the table from
//! which the listed partitions are gone: those with a number in the config's order, then those with
//! number 0. What stands there already is compared with the place that it would get.

use std::collections::{BTreeMap, BTreeSet};

use super::space::{Extent, Obstacle, Space};
use crate::config;
use crate::hardware::{self, Disk};
use crate::operation::describe::{extent, size};
use crate::operation::disks::{Fate, Table, TableEntry};
use crate::report::Problem;

/// A partition's type where the config gives none: Linux filesystem data.
const LINUX_FILESYSTEM: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// Says in a table that an entry is not used.
const UNUSED: &str = "00000000-0000-0000-0000-000000000000";

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
struct Before {
    usable: Extent,
    total: u64,
    entries: BTreeMap<u32, TableEntry>,
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

/// What the config wants of one disk's partitions, in the order in which they are laid out.
struct Wanted<'a> {
    partitions: Vec<WantedPartition<'a>>,
}

struct WantedPartition<'a> {
    spec: &'a config::Partition,
    at: String,
    /// 0: the next that is free.
    number: u32,
    /// In sectors.
    start: Option<u64>,
    /// In sectors.
    sectors: Option<u64>,
    exists: bool,
    wipe: bool,
}

impl<'a> Wanted<'a> {
    fn of(disk: &Disk, spec: &'a config::Disk, at: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut partitions = Vec::new();
        for (index, partition) in spec.partitions.iter().enumerate() {
            let at = format!("{at}.partitions.{index}");
            match WantedPartition::of(disk, partition, at) {
                Ok(wanted) => partitions.push(wanted),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        partitions.sort_by_key(|partition| partition.number == 0);
        Ok(Self { partitions })
    }
}

impl<'a> WantedPartition<'a> {
    fn of(disk: &Disk, spec: &'a config::Partition, at: String) -> Result<Self, Problem> {
        let number = u32::try_from(spec.number).map_err(|_| {
            let message = format!("{} is no partition number", spec.number);
            Problem::error(format!("{at}.number"), message)
        })?;
        let per_mib = (1 << 20) / u64::from(disk.sector_size);
        let sectors = |mib: Option<i64>, key: &str| {
            let Some(mib) = mib else { return Ok(None) };
            let sectors = u64::try_from(mib)
                .ok()
                .and_then(|mib| mib.checked_mul(per_mib));
            sectors.map(Some).ok_or_else(|| {
                let message = format!("{mib} MiB is no place on a disk");
                Problem::error(format!("{at}.{key}"), message)
            })
        };
        if spec.type_guid.as_deref() == Some(UNUSED) {
            let message = "this type means that the partition is not there";
            return Err(Problem::error(format!("{at}.typeGuid"), message));
        }
        Ok(Self {
            spec,
            number,
            start: sectors(spec.start_mib, "startMiB")?,
            sectors: sectors(spec.size_mib, "sizeMiB")?,
            exists: spec.should_exist != Some(false),
            wipe: spec.wipe_partition_entry == Some(true),
            at,
        })
    }

    /// The partition of that number that stands there; one with number 0 is always new.
    fn found<'b>(&self, before: &'b Before) -> Option<&'b TableEntry> {
        before
            .entries
            .get(&self.number)
            .filter(|_| self.number != 0)
    }
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
    let kept = |entry: &TableEntry| TableEntry {
        fate: Fate::Kept,
        ..entry.clone()
    };
    let mut entries: BTreeMap<u32, TableEntry> = before
        .entries
        .iter()
        .map(|(number, entry)| (*number, kept(entry)))
        .collect();
    let mut deleted = BTreeSet::new();
    let mut problems = Vec::new();
    for (partition, place) in wanted.partitions.iter().zip(placed) {
        let found = partition.found(before);
        let outcome = match (found, place) {
            (None, None) => Ok(None),
            (Some(_), None) if partition.wipe => {
                deleted.insert(partition.number);
                Ok(entries.remove(&partition.number).map(|_| partition.number))
            }
            (Some(entry), None) => Err(format!(
                "partition {} is there: {}; `wipePartitionEntry: true` would delete it",
                entry.number,
                show(entry, disk.sector_size)
            )),
            (None, Some((number, extent))) => {
                // The slot of a partition that goes counts as free.
                let fate = match deleted.remove(number) {
                    true => Fate::Recreated,
                    false => Fate::Created,
                };
                entries.insert(*number, partition.entry(*number, *extent, fate));
                Ok(Some(*number))
            }
            (Some(entry), Some((_, extent))) => {
                let changed = partition.change(entry, *extent, disk.sector_size);
                changed.map(|changed| {
                    let changed = changed?;
                    entries.insert(changed.number, changed);
                    Some(entry.number)
                })
            }
        };
        match outcome {
            Ok(Some(number)) if disk.active.contains(&number) => {
                let message =
                    format!("partition {number} is mounted or held and cannot be changed");
                problems.push(Problem::error(&partition.at, message));
            }
            Ok(_) => {}
            Err(message) => problems.push(Problem::error(&partition.at, message)),
        }
    }
    if problems.is_empty() {
        Ok((
            entries.into_values().collect(),
            deleted.into_iter().collect(),
        ))
    } else {
        Err(problems)
    }
}

impl WantedPartition<'_> {
    fn entry(&self, number: u32, (first, last): Extent, fate: Fate) -> TableEntry {
        let upper = |guid: &Option<String>| {
            let given = guid.as_deref().filter(|guid| !guid.is_empty());
            given.map(str::to_ascii_uppercase)
        };
        TableEntry {
            number,
            start: first,
            sectors: last - first + 1,
            type_guid: upper(&self.spec.type_guid).unwrap_or_else(|| LINUX_FILESYSTEM.to_owned()),
            guid: upper(&self.spec.guid),
            label: self.spec.label.clone().unwrap_or_default(),
            attributes: 0,
            fate,
        }
    }

    /// What a partition that stands there becomes; `None` where it is right already.
    fn change(
        &self,
        found: &TableEntry,
        extent: Extent,
        sector_size: u32,
    ) -> Result<Option<TableEntry>, String> {
        let other = self.differences(found, extent.0, sector_size);
        let sectors = extent.1 - extent.0 + 1;
        if other.is_empty() && sectors == found.sectors {
            return Ok(None);
        }
        if self.wipe {
            return Ok(Some(self.entry(found.number, extent, Fate::Recreated)));
        }
        let may_be_resized = self.spec.resize == Some(true);
        if other.is_empty() && may_be_resized {
            // Deleted and made again with what it had, but for the attributes.
            return Ok(Some(TableEntry {
                sectors,
                attributes: 0,
                fate: Fate::Resized,
                ..found.clone()
            }));
        }
        let mut differences = other;
        let mut mend = "`wipePartitionEntry: true` would make it anew";
        if sectors != found.sectors {
            if differences.is_empty() {
                mend = "`resize: true` would change its size and keep what it holds";
            }
            differences.push(format!(
                "a size of {}, not {}",
                size(found.sectors, sector_size),
                size(sectors, sector_size)
            ));
        }
        Err(format!(
            "partition {} is there and has {}; {mend}",
            found.number,
            differences.join(", ")
        ))
    }

    /// Where what stands there is not what is wanted, but for the size.
    fn differences(&self, found: &TableEntry, start: u64, sector_size: u32) -> Vec<String> {
        let mut differences = Vec::new();
        if start != found.start {
            differences.push(format!(
                "its start at {}, not {}",
                size(found.start, sector_size),
                size(start, sector_size)
            ));
        }
        let found_guid = found.guid.as_deref().unwrap_or_default();
        for (what, wanted, is) in [
            ("the GUID", &self.spec.guid, found_guid),
            ("the type", &self.spec.type_guid, found.type_guid.as_str()),
        ] {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| !wanted.is_empty())
                && !wanted.eq_ignore_ascii_case(is)
            {
                differences.push(format!("{what} {is}, not {}", wanted.to_ascii_uppercase()));
            }
        }
        if let Some(label) = self.spec.label.as_deref()
            && label != found.label
        {
            differences.push(format!("the label `{}`, not `{label}`", found.label));
        }
        differences
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
