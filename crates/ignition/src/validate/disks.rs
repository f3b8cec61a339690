//! Disks, partitions, RAID arrays and filesystems.

use super::{Problems, check_path, is_given};
use crate::config::{Disk, Filesystem, Partition, Raid, Storage};

pub(super) fn check(storage: &Storage, problems: &mut Problems) {
    for (index, disk) in storage.disks.iter().enumerate() {
        check_disk(disk, &format!("$.storage.disks.{index}"), problems);
    }
    for (index, raid) in storage.raid.iter().enumerate() {
        check_raid(raid, &format!("$.storage.raid.{index}"), problems);
    }
    for (index, filesystem) in storage.filesystems.iter().enumerate() {
        let at = format!("$.storage.filesystems.{index}");
        check_filesystem(filesystem, &at, problems);
        warn_of_disk(filesystem, &storage.disks, &at, problems);
    }
}

fn check_disk(disk: &Disk, at: &str, problems: &mut Problems) {
    check_path(&disk.device, &format!("{at}.device"), problems);
    let partitions = &disk.partitions;
    for (index, partition) in partitions.iter().enumerate() {
        check_partition(partition, &format!("{at}.partitions.{index}"), problems);
    }
    let at = format!("{at}.partitions");
    for (index, partition) in partitions.iter().enumerate() {
        let earlier = &partitions[..index];
        let same_label = |other: &Partition| other.label == partition.label;
        if partition.label.is_some() && earlier.iter().any(same_label) {
            let label = partition.label.as_deref().unwrap_or_default();
            problems.error(
                format!("{at}.{index}"),
                format!("label `{label}` is given to two partitions"),
            );
        }
        if earlier.iter().any(|other| overlap(partition, other)) {
            problems.error(
                format!("{at}.{index}"),
                "the partition overlaps an earlier one",
            );
        }
    }
    let removes = partitions
        .iter()
        .any(|partition| partition.should_exist == Some(false));
    // Where such a partition goes depends on what the others leave. One with a size is valid since
    // after 2.14, and placed after the removals.
    let is_open = |value: Option<i64>| value.unwrap_or(0) == 0;
    let floats = |partition: &Partition| {
        partition.number == 0 && is_open(partition.start_mib) && is_open(partition.size_mib)
    };
    if removes && partitions.iter().any(floats) {
        let message = "a partition without number, start and size does not go with partitions that \
                       shall not exist";
        problems.error(&at, message);
    }
}

fn check_partition(partition: &Partition, at: &str, problems: &mut Problems) {
    let describes = partition.label.is_some()
        || is_given(&partition.type_guid)
        || is_given(&partition.guid)
        || partition.start_mib.is_some()
        || partition.size_mib.is_some();
    if partition.should_exist == Some(false) && describes {
        problems.error(
            at,
            "a partition that shall not exist takes nothing but a number",
        );
    }
    if partition.number == 0 && partition.label.is_none() {
        problems.error(at, "a partition needs a number of 1 or more, or a label");
    }
    if let Some(label) = &partition.label {
        // Counted in bytes, as the real program does.
        if label.len() > 36 {
            problems.error(
                format!("{at}.label"),
                "a partition's label has at most 36 characters",
            );
        }
        if label.contains(':') {
            problems.error(
                format!("{at}.label"),
                "a partition's label cannot hold a colon",
            );
        }
    }
    for (key, guid) in [
        ("guid", &partition.guid),
        ("typeGuid", &partition.type_guid),
    ] {
        if guid
            .as_deref()
            .is_some_and(|guid| !guid.is_empty() && !is_guid(guid))
        {
            let message = "not of the form 01234567-89AB-CDEF-EDCB-A98765432101";
            problems.error(format!("{at}.{key}"), message);
        }
    }
}

fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Whether both say where they lie and these places meet. A start of 0 means the largest free block,
/// which only the disk knows.
fn overlap(one: &Partition, other: &Partition) -> bool {
    let extent = |partition: &Partition| match (partition.start_mib, partition.size_mib) {
        (Some(start), Some(size)) if start != 0 => Some((start, start.saturating_add(size))),
        _ => None,
    };
    match (extent(one), extent(other)) {
        (Some((start, end)), Some((other_start, other_end))) => {
            (start >= other_start && start < other_end)
                || (other_start >= start && other_start < end)
        }
        _ => false,
    }
}

fn check_raid(raid: &Raid, at: &str, problems: &mut Problems) {
    let level = raid.level.as_deref().unwrap_or_default();
    match level {
        "" => problems.error(format!("{at}.level"), "a RAID level is required"),
        "linear" | "raid0" | "0" | "stripe" => {
            if raid.spares.is_some_and(|spares| spares != 0) {
                problems.error(
                    format!("{at}.level"),
                    "linear and raid0 arrays take no spares",
                );
            }
        }
        "raid1" | "1" | "mirror" | "raid4" | "4" | "raid5" | "5" | "raid6" | "6" | "raid10"
        | "10" => {}
        _ => problems.error(
            format!("{at}.level"),
            format!("unknown RAID level `{level}`"),
        ),
    }
    if raid.devices.is_empty() {
        problems.error(format!("{at}.devices"), "an array needs devices");
    }
    for (index, device) in raid.devices.iter().enumerate() {
        check_path(device, &format!("{at}.devices.{index}"), problems);
    }
}

fn check_filesystem(filesystem: &Filesystem, at: &str, problems: &mut Problems) {
    check_path(&filesystem.device, &format!("{at}.device"), problems);
    if let Some(path) = filesystem.path.as_deref().filter(|path| !path.is_empty()) {
        check_path(path, &format!("{at}.path"), problems);
    }
    let format = filesystem.format.as_deref().unwrap_or_default();
    match format {
        "ext4" | "btrfs" | "xfs" | "vfat" | "swap" => {}
        "none" if problems.minor >= 3 => {}
        "" => {
            let says_more = is_given(&filesystem.path)
                || is_given(&filesystem.label)
                || is_given(&filesystem.uuid)
                || filesystem.wipe_filesystem == Some(true)
                || !filesystem.options.is_empty()
                || !filesystem.mount_options.is_empty();
            if says_more {
                problems.error(
                    format!("{at}.format"),
                    "a filesystem that is described needs a format",
                );
            }
        }
        _ => problems.error(
            format!("{at}.format"),
            format!("unknown filesystem format `{format}`"),
        ),
    }
    check_label(filesystem, format, at, problems);
}

fn check_label(filesystem: &Filesystem, format: &str, at: &str, problems: &mut Problems) {
    let Some(label) = filesystem
        .label
        .as_deref()
        .filter(|label| !label.is_empty())
    else {
        return;
    };
    let longest = match format {
        "ext4" => 16,
        "btrfs" => 256,
        "xfs" => 12,
        "vfat" => 11,
        "swap" => 15,
        _ => return,
    };
    if label.len() > longest {
        let message = format!("a label of {format} has at most {longest} characters");
        problems.error(format!("{at}.label"), message);
    }
}

/// A filesystem on a whole disk that is also partitioned or wiped.
fn warn_of_disk(filesystem: &Filesystem, disks: &[Disk], at: &str, problems: &mut Problems) {
    let Some(disk) = disks.iter().find(|disk| disk.device == filesystem.device) else {
        return;
    };
    if !disk.partitions.is_empty() {
        problems.warning(
            format!("{at}.device"),
            "the filesystem overwrites the disk's partitions",
        );
    } else if disk.wipe_table == Some(true) {
        problems.warning(
            format!("{at}.device"),
            "the disk's table is wiped, and the filesystem with it",
        );
    }
}
