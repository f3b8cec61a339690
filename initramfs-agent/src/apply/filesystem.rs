//! The system on the disk: its partitions made known, its root found, mounted and grown.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hardway_userspace::mounts::{self, Flags};
use hardway_userspace::{grow, partitions};

use super::Execution;
use super::disks::nodes;
use super::own_ignition::Place;
use super::root::TargetRoot;
use hardway_recognition::signatures::{self, Signature};
use hardway_recognition::table::{Partition, Table};

const MOUNT_POINT: &str = "/run/target";

/// A mounted filesystem of the disk. Dropping it unmounts.
pub struct Mounted {
    target: PathBuf,
    device: String,
    kind: &'static str,
    partition: Partition,
    is_mounted: bool,
}

/// What a partition of a Linux system may hold, and which module serves it.
const MOUNTABLE: [(&str, &str); 6] = [
    ("ext2", "ext4"),
    ("ext3", "ext4"),
    ("ext4", "ext4"),
    ("xfs", "xfs"),
    ("btrfs", "btrfs"),
    ("vfat", "vfat"),
];

impl Mounted {
    /// Mounts the partition that holds the installed system: the first, from the end of the disk,
    /// that has what every Linux root has.
    pub fn system(
        disk: &str,
        table: &Table,
        flags: Flags,
        execution: &mut Execution<'_>,
    ) -> Result<Self> {
        let root_files = [
            "etc/os-release",
            "usr/lib/os-release",
            "etc/passwd",
            "sbin/init",
        ];
        let found = Self::first(disk, table, flags, execution, |target| {
            root_files
                .iter()
                .any(|file| target.join(file).symlink_metadata().is_ok())
        })?;
        found.with_context(|| format!("no partition of {disk} holds a Linux system"))
    }

    /// Mounts the filesystem where an image's own Ignition looks.
    pub fn labelled(
        disk: &str,
        table: &Table,
        place: &Place,
        execution: &mut Execution<'_>,
    ) -> Result<Self> {
        let mut seen = Vec::new();
        for partition in &table.partitions {
            let (device, found) = look(disk, partition)?;
            let is_meant = found.iter().any(|signature| {
                signature.kind == place.kind && signature.label.as_deref() == Some(place.label)
            });
            seen.extend(found.iter().map(ToString::to_string));
            if is_meant
                && let Some(mounted) =
                    Self::mount(device, found, partition, Flags::empty(), execution)?
            {
                return Ok(mounted);
            }
        }
        bail!(
            "the image has no {} filesystem with the label {}, where its first boot would look for \
             the configuration; there is {}",
            place.kind,
            place.label,
            seen.join(", ")
        )
    }

    /// Mounts the first partition, from the end of the disk, for which `fits` holds.
    pub fn first(
        disk: &str,
        table: &Table,
        flags: Flags,
        execution: &mut Execution<'_>,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Option<Self>> {
        let mut partitions = table.partitions.clone();
        partitions.sort_by_key(|partition| std::cmp::Reverse(partition.start));
        for partition in partitions {
            if let Some(mounted) = Self::of(disk, &partition, flags, execution)?
                && fits(&mounted.target)
            {
                return Ok(Some(mounted));
            }
        }
        Ok(None)
    }

    /// Mounts a partition; `None` where it holds nothing that could be mounted.
    pub fn of(
        disk: &str,
        partition: &Partition,
        flags: Flags,
        execution: &mut Execution<'_>,
    ) -> Result<Option<Self>> {
        let (device, found) = look(disk, partition)?;
        Self::mount(device, found, partition, flags, execution)
    }

    /// Lets what was mounted to be read be written.
    pub fn make_writable(&self) -> Result<()> {
        Ok(mounts::remount(&self.target, Flags::empty())?)
    }

    fn mount(
        device: String,
        found: Vec<Signature>,
        partition: &Partition,
        flags: Flags,
        execution: &mut Execution<'_>,
    ) -> Result<Option<Self>> {
        let kind = found
            .iter()
            .find_map(|signature| MOUNTABLE.iter().find(|(kind, _)| *kind == signature.kind));
        let Some((_, module)) = kind else {
            return Ok(None);
        };
        execution.drivers.load(module);
        if *module == "vfat" {
            // What the kernel's configuration names as the defaults of vfat.
            for name in ["nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859-1"] {
                execution.drivers.load(name);
            }
        }
        let target = PathBuf::from(MOUNT_POINT);
        mounts::mount(&device, &target, module, flags, "")?;
        let partition = partition.clone();
        Ok(Some(Self {
            target,
            device,
            kind: module,
            partition,
            is_mounted: true,
        }))
    }

    /// The mounted tree, out of which no path leads.
    pub fn root(&self) -> Result<TargetRoot> {
        TargetRoot::open(&self.target)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Lets the filesystem fill its partition.
    pub fn grow(&self) -> Result<String> {
        let bytes = self.partition.length;
        match self.kind {
            "ext4" => grow::ext4(&self.target, bytes)?,
            "xfs" => grow::xfs(&self.target, bytes)?,
            "btrfs" => grow::btrfs(&self.target, bytes)?,
            kind => bail!("{kind} on {} cannot grow", self.device),
        }
        Ok(format!(
            "{} on {} has {} MiB",
            self.kind,
            self.device,
            bytes >> 20
        ))
    }

    /// Unmounts, which brings everything to the disk.
    /// Unmounting alone would pass over an error of the last writes.
    pub fn unmount(mut self) -> Result<()> {
        let tree = std::fs::File::open(&self.target)
            .with_context(|| format!("opening {}", self.target.display()))?;
        rustix::fs::syncfs(&tree)
            .with_context(|| format!("bringing what was written to {}", self.device))?;
        drop(tree);
        self.is_mounted = false;
        mounts::unmount(&self.target).with_context(|| format!("unmounting {}", self.device))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // Nothing more can be done here; a claim on the disk would find it busy and say so.
            let _ = mounts::unmount(&self.target);
        }
    }
}

/// A partition's device node, and what it holds.
fn look(disk: &str, partition: &Partition) -> Result<(String, Vec<Signature>)> {
    let device = nodes::partition(disk, partition.number);
    let mut file = File::open(&device).with_context(|| format!("opening {device}"))?;
    let found = signatures::find(&mut file, 0, partition.length);
    Ok((
        device.clone(),
        found.with_context(|| format!("reading {device}"))?,
    ))
}

/// Makes the kernel know exactly the partitions of `table`, whatever stands on the disk itself.
pub fn announce(file: &File, disk: &str, table: &Table) -> Result<()> {
    let mut known = nodes::known(Path::new("/sys"), disk);
    let wanted: Vec<_> = table.partitions.iter().collect();
    known.retain(|number, place| {
        let stays = wanted
            .iter()
            .any(|p| p.number == *number && (p.start, p.length) == *place);
        // One that is in use stays as well; mounting it tells.
        stays || partitions::delete(file, disk, *number).is_err()
    });
    for partition in wanted {
        if !known.contains_key(&partition.number) {
            partitions::add(
                file,
                disk,
                partition.number,
                partition.start,
                partition.length,
            )?;
        }
        nodes::wait_for(&nodes::partition(disk, partition.number))?;
    }
    Ok(())
}

/// Makes the kernel forget all partitions of a disk that is about to be written.
pub fn forget(file: &File, disk: &str) -> Result<()> {
    for number in nodes::known(Path::new("/sys"), disk).into_keys() {
        partitions::delete(file, disk, number)?;
    }
    Ok(())
}
