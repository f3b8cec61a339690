//! `--disk`: disk images and block devices in the terms of the planner. Nothing is written to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use hardway_ignition::hardware::{Disk, Hardware};
use hardway_recognition::layout;

use crate::planning::hardware;

nix::ioctl_read_bad!(logical_sector_size, libc::BLKSSZGET, libc::c_int);

/// A disk as it is given on the command line: `IMAGE[=DEVICE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenDisk {
    /// A disk image or a block device.
    image: PathBuf,
    /// What configs call it. `None`: a block device's own node, the next of `/dev/vda`, `/dev/vdb`, …
    /// for an image.
    device: Option<String>,
}

impl FromStr for GivenDisk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (image, device) = match text.rsplit_once("=/dev/") {
            Some((image, name)) => (image, Some(format!("/dev/{name}"))),
            None => (text, None),
        };
        if image.is_empty() {
            return Err("IMAGE or IMAGE=/dev/NAME is expected".to_owned());
        }
        Ok(Self {
            image: image.into(),
            device,
        })
    }
}

/// Reads the disks. `tpm2`: the machine has a TPM 2.0; otherwise this machine's own counts if one of
/// the disks is a block device of it.
pub fn hardware(given: &[GivenDisk], tpm2: bool) -> Result<Hardware> {
    let mut letters = 'a'..='z';
    let mut disks: Vec<Disk> = Vec::new();
    let mut has_block_device = false;
    for disk in given {
        let shown = disk.image.display();
        let metadata = fs::metadata(&disk.image).with_context(|| format!("opening {shown}"))?;
        let is_block_device = metadata.file_type().is_block_device();
        has_block_device |= is_block_device;
        let path = match &disk.device {
            Some(device) => device.clone(),
            None if is_block_device => fs::canonicalize(&disk.image)?.display().to_string(),
            None => {
                let letter = letters.next().context("counting the disk images")?;
                format!("/dev/vd{letter}")
            }
        };
        let read = read(&disk.image, path, is_block_device);
        let read = read.with_context(|| format!("reading {shown}"))?;
        ensure!(
            disks.iter().all(|other| other.path != read.path),
            "two disks are called {}",
            read.path
        );
        disks.push(read);
    }
    Ok(Hardware {
        disks,
        tpm2: match (tpm2, has_block_device) {
            (true, _) => Some(true),
            (false, true) => Some(has_tpm2()),
            (false, false) => None,
        },
    })
}

fn read(image: &Path, path: String, is_block_device: bool) -> Result<Disk> {
    let mut file = File::open(image)?;
    let size = file.seek(SeekFrom::End(0))?;
    let sector_size = match is_block_device {
        true => sector_size(&file)?,
        false => layout::sector_size(&mut file, size)?,
    };
    let found = layout::look(&mut file, size, sector_size)?;
    let usage = match is_block_device {
        true => Usage::of(image)?,
        false => Usage::default(),
    };
    Ok(Disk {
        path,
        aliases: usage.aliases,
        size,
        sector_size,
        table: hardware::table(&found.table),
        signatures: hardware::signatures(&found),
        in_use: usage.in_use,
        active: usage.active,
        claimed: false,
    })
}

fn sector_size(file: &File) -> Result<u32> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open and `bytes` is an int that the kernel fills.
    unsafe { logical_sector_size(file.as_raw_fd(), &raw mut bytes) }
        .context("asking for the sector size")?;
    Ok(u32::try_from(bytes)?)
}

/// How this machine uses a block device of its own.
#[derive(Default)]
struct Usage {
    aliases: Vec<String>,
    in_use: bool,
    active: Vec<u32>,
}

impl Usage {
    fn of(device: &Path) -> Result<Self> {
        let node = fs::canonicalize(device)?;
        let name = node.file_name().context("taking the device's name")?;
        let sys = Path::new("/sys/class/block").join(name);
        if sys.join("partition").exists() {
            bail!("it is a partition: a whole disk is expected");
        }
        let mounted = mounted()?;
        let is_used = |sys: &Path, node: &Path| -> bool {
            let holders = fs::read_dir(sys.join("holders"));
            let is_held = holders.is_ok_and(|mut holders| holders.next().is_some());
            is_held || mounted.contains(node)
        };
        let mut active = Vec::new();
        for entry in fs::read_dir(&sys).with_context(|| format!("reading {}", sys.display()))? {
            let entry = entry?.path();
            let number = fs::read_to_string(entry.join("partition"));
            if let Some(number) = number.ok().and_then(|text| text.trim().parse().ok())
                && let Some(name) = entry.file_name()
                && is_used(&entry, &Path::new("/dev").join(name))
            {
                active.push(number);
            }
        }
        active.sort_unstable();
        Ok(Self {
            aliases: aliases(&node, device),
            in_use: is_used(&sys, &node),
            active,
        })
    }
}

/// Every device that something is mounted from.
fn mounted() -> Result<BTreeSet<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    // After the separator: type, source, options (proc(5)).
    let sources = text.lines().filter_map(|line| {
        let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
        source
            .starts_with('/')
            .then(|| fs::canonicalize(source))?
            .ok()
    });
    Ok(sources.collect())
}

/// The links that udev made to a disk, its node, and the name that it was given by.
fn aliases(node: &Path, given: &Path) -> Vec<String> {
    let folders = ["/dev/disk/by-id", "/dev/disk/by-path"];
    let links = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let leading = links.flatten().filter_map(|entry| {
        let link = entry.ok()?.path();
        (fs::canonicalize(&link).ok()? == node).then_some(link)
    });
    let mut aliases: Vec<String> = leading
        .chain([node.to_owned(), given.to_owned()])
        .map(|link| link.display().to_string())
        .collect();
    aliases.sort_unstable();
    aliases.dedup();
    aliases
}

/// Whether this machine has a TPM 2.0.
fn has_tpm2() -> bool {
    let devices = fs::read_dir("/sys/class/tpm").into_iter().flatten();
    devices.flatten().any(|device| {
        let version = fs::read_to_string(device.path().join("tpm_version_major"));
        version.is_ok_and(|version| version.trim() == "2")
    })
}

#[cfg(test)]
mod tests {
    use hardway_ignition::hardware::Table;
    use hardway_recognition::fixture::gpt_disk;

    use super::*;

    #[test]
    fn what_stands_for_which_device() {
        for (text, image, device) in [
            ("/dev/loop3", "/dev/loop3", None),
            ("disk.img", "disk.img", None),
            ("a=b.img=/dev/nvme0n1", "a=b.img", Some("/dev/nvme0n1")),
            ("/dev/loop3=/dev/vda", "/dev/loop3", Some("/dev/vda")),
        ] {
            let expected = GivenDisk {
                image: image.into(),
                device: device.map(str::to_owned),
            };
            assert_eq!(text.parse(), Ok(expected));
        }
        assert!("=/dev/vda".parse::<GivenDisk>().is_err());
    }

    #[test]
    fn images_of_both_sector_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let mut small = gpt_disk(16 << 20, 512, &[("data", 1, 2)]);
        small[1 << 20..(1 << 20) + 4].copy_from_slice(b"XFSB");
        let given: Vec<GivenDisk> = [
            ("small.img", "", small),
            (
                "large.img",
                "=/dev/sdb",
                gpt_disk(16 << 20, 4096, &[("a", 1, 2), ("b", 3, 4)]),
            ),
            ("blank.img", "", vec![0; 4 << 20]),
        ]
        .into_iter()
        .map(|(name, device, bytes)| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            format!("{}{device}", path.display()).parse().unwrap()
        })
        .collect();
        let Hardware { disks, tpm2 } = hardware(&given, false).unwrap();
        assert_eq!(tpm2, None);
        let found: Vec<_> = disks
            .iter()
            .map(|disk| {
                let partitions = match &disk.table {
                    Table::Gpt { usable, entries } => Some((*usable, entries.len())),
                    _ => None,
                };
                (disk.path.as_str(), disk.sector_size, partitions)
            })
            .collect();
        let expected = [
            ("/dev/vda", 512, Some(((34, 32768 - 34), 1))),
            ("/dev/sdb", 4096, Some(((6, 4096 - 6), 2))),
            ("/dev/vdb", 512, None),
        ];
        assert_eq!(found, expected);
        let seen = &disks[0].signatures[0];
        assert_eq!((seen.offset, seen.kind.as_str()), (1 << 20, "xfs"));
    }

    #[test]
    fn a_name_is_one_disks() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk.img");
        fs::write(&image, vec![0; 1 << 20]).unwrap();
        let given: GivenDisk = format!("{}=/dev/vda", image.display()).parse().unwrap();
        let error = hardware(&[given.clone(), given], true).unwrap_err();
        assert_eq!(error.to_string(), "two disks are called /dev/vda");
    }
}
