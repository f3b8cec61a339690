//! What a config wants of a disk's partitions, and where that differs from what stands there.

use super::partitions::Before;
use super::space::Extent;
use crate::config;
use crate::hardware::Disk;
use crate::operation::describe::size;
use crate::operation::disks::{Fate, TableEntry};
use crate::report::Problem;

/// A partition's type where the config gives none: Linux filesystem data.
const LINUX_FILESYSTEM: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// Says in a table that an entry is not used.
const UNUSED: &str = "00000000-0000-0000-0000-000000000000";

/// What the config wants of one disk's partitions, in the order in which they are laid out.
pub(super) struct Wanted<'a> {
    pub(super) partitions: Vec<WantedPartition<'a>>,
}

/// One of them.
pub(super) struct WantedPartition<'a> {
    spec: &'a config::Partition,
    pub(super) at: String,
    /// 0: the next that is free.
    pub(super) number: u32,
    /// In sectors.
    pub(super) start: Option<u64>,
    /// In sectors.
    pub(super) sectors: Option<u64>,
    pub(super) exists: bool,
    pub(super) wipe: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(disk: &Disk, spec: &'a config::Disk, at: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut partitions = Vec::new();
        for (index, partition) in spec.partitions.iter().enumerate() {
            let at = format!("{at}.partitions.{index}");
            let mut earlier = spec.partitions[..index].iter();
            if partition.number != 0 && earlier.any(|other| other.number == partition.number) {
                let message = format!("number {} is given twice", partition.number);
                problems.push(Problem::error(format!("{at}.number"), message));
            }
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
    pub(super) fn found<'b>(&self, before: &'b Before) -> Option<&'b TableEntry> {
        before
            .entries
            .get(&self.number)
            .filter(|_| self.number != 0)
    }
}

impl WantedPartition<'_> {
    pub(super) fn entry(&self, number: u32, (first, last): Extent, fate: Fate) -> TableEntry {
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
    pub(super) fn change(
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
