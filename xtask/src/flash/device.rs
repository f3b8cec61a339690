//! What is known of a device, and whether it may be written over.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where facts are read from: the machine itself, or a tree that a test has made.
#[derive(Debug)]
pub struct System {
    sys: PathBuf,
    /// Content of `/proc/self/mounts`.
    mounts: String,
    /// Content of `/proc/swaps`.
    swaps: String,
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's name of it, without `/dev`.
    pub name: String,
    /// Vendor and model, for the operator to recognise it.
    pub model: String,
    /// Its size in bytes.
    pub size: u64,
    /// For a partition, the disk that it is on.
    pub partition_of: Option<String>,
    /// Whether it is made to be taken out: a removable medium, a USB disk, an SD card.
    pub removable: bool,
    /// Whether the kernel refuses writes: the little switch on an SD card.
    pub read_only: bool,
    /// What uses it or a part of it, in words: a mount point, swap, a RAID above it.
    pub used_as: Vec<String>,
}

/// Why a device is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is a partition; the disk is named.
    Partition(String),
    /// It is in use.
    Used(Vec<String>),
    /// It is built in.
    NotRemovable,
    /// It cannot be written.
    ReadOnly,
    /// It has fewer bytes than the image.
    TooSmall {
        /// The device's bytes.
        size: u64,
        /// The image's bytes.
        needed: u64,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Refusal::Partition(disk) => {
                write!(f, "it is a partition; the whole disk is /dev/{disk}")
            }
            Refusal::Used(uses) => write!(f, "it is in use: {}", uses.join(", ")),
            Refusal::NotRemovable => write!(
                f,
                "it is built into this machine, neither a removable medium nor a USB disk nor an SD card"
            ),
            Refusal::ReadOnly => write!(f, "it is write-protected"),
            Refusal::TooSmall { size, needed } => {
                write!(f, "it has {size} bytes, and the image {needed}")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl System {
    /// This machine.
    pub fn here() -> System {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        System {
            sys: "/sys".into(),
            mounts: text("/proc/self/mounts"),
            swaps: text("/proc/swaps"),
        }
    }
}

impl Facts {
    /// Reads what the kernel says of a block device.
    pub fn read(device: &Path, system: &System) -> Result<Facts> {
        let real = fs::canonicalize(device)
            .with_context(|| format!("looking for {}", device.display()))?;
        let name = real
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Facts::of(&name, system).with_context(|| format!("{} is not a disk", device.display()))
    }

    fn of(name: &str, system: &System) -> Result<Facts> {
        let class = system.sys.join("class/block").join(name);
        let folder =
            fs::canonicalize(&class).with_context(|| format!("looking for {}", class.display()))?;
        let attribute = |path: &str| {
            fs::read_to_string(folder.join(path))
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let is_partition = folder.join("partition").exists();
        let parent = folder
            .parent()
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned());
        let sectors: u64 = attribute("size")
            .parse()
            .with_context(|| format!("reading the size of {name}"))?;
        let model = [
            attribute("device/vendor"),
            attribute("device/model"),
            attribute("device/name"),
        ]
        .join(" ");
        let by_usb = folder
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        Ok(Facts {
            name: name.to_owned(),
            model: model.split_whitespace().collect::<Vec<_>>().join(" "),
            // The kernel counts in 512 bytes whatever the device's own sectors are.
            size: sectors * 512,
            partition_of: parent.filter(|_| is_partition),
            removable: attribute("removable") == "1" || by_usb || attribute("device/type") == "SD",
            read_only: attribute("ro") == "1",
            used_as: uses(&folder, name, system),
        })
    }

    /// Whether an image of `length` bytes may be written onto it.
    pub fn judge(&self, length: u64) -> Result<(), Refusal> {
        if let Some(disk) = &self.partition_of {
            return Err(Refusal::Partition(disk.clone()));
        }
        if !self.used_as.is_empty() {
            return Err(Refusal::Used(self.used_as.clone()));
        }
        if !self.removable {
            return Err(Refusal::NotRemovable);
        }
        if self.read_only {
            return Err(Refusal::ReadOnly);
        }
        // A card reader without its card is a disk of no bytes.
        if self.size < length || self.size == 0 {
            return Err(Refusal::TooSmall {
                size: self.size,
                needed: length,
            });
        }
        Ok(())
    }
}

/// What uses a disk or one of its partitions.
fn uses(folder: &Path, disk: &str, system: &System) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let partitions = entries
        .filter(|entry| entry.path().join("partition").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = partitions.chain([disk.to_owned()]).collect();
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let device = format!("/dev/{name}");
        let mounted = system.mounts.lines().filter_map(|line| {
            let mut words = line.split(' ');
            (words.next()? == device).then(|| words.next()).flatten()
        });
        found.extend(mounted.map(|place| format!("{device} is mounted at {place}")));
        if system
            .swaps
            .lines()
            .any(|line| line.split_whitespace().next() == Some(&device))
        {
            found.push(format!("{device} is swap"));
        }
        let part = if name == disk {
            folder.to_path_buf()
        } else {
            folder.join(&name)
        };
        let holders = fs::read_dir(part.join("holders"))
            .into_iter()
            .flatten()
            .flatten();
        found.extend(holders.map(|holder| {
            format!(
                "{device} is part of {}",
                holder.file_name().to_string_lossy()
            )
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stick() -> Facts {
        Facts {
            name: "sdb".into(),
            model: "Example Stick".into(),
            size: 8_000_000_000,
            partition_of: None,
            removable: true,
            read_only: false,
            used_as: Vec::new(),
        }
    }

    fn check(facts: Facts, expected: &str) {
        let refusal = facts.judge(200_000_000).unwrap_err();
        assert_eq!(refusal.to_string(), expected);
    }

    #[test]
    fn a_stick_is_written() {
        assert_eq!(stick().judge(200_000_000), Ok(()));
        assert_eq!(stick().judge(8_000_000_000), Ok(()));
    }

    #[test]
    fn each_refusal_names_its_reason() {
        check(
            Facts {
                partition_of: Some("sdb".into()),
                ..stick()
            },
            "it is a partition; the whole disk is /dev/sdb",
        );
        check(
            Facts {
                used_as: vec!["/dev/sdb1 is mounted at /media/stick".into()],
                ..stick()
            },
            "it is in use: /dev/sdb1 is mounted at /media/stick",
        );
        check(
            Facts {
                removable: false,
                ..stick()
            },
            "it is built into this machine, neither a removable medium nor a USB disk nor an SD card",
        );
        check(
            Facts {
                read_only: true,
                ..stick()
            },
            "it is write-protected",
        );
        check(
            Facts {
                size: 100,
                ..stick()
            },
            "it has 100 bytes, and the image 200000000",
        );
    }

    /// A made-up sysfs with disk `sdb` on USB, its partition `sdb1`, and disk `sda` inside the machine.
    fn system(folder: &Path) -> System {
        for (path, text) in [
            ("devices/usb1/sdb/size", "15625000\n"),
            ("devices/usb1/sdb/removable", "0\n"),
            ("devices/usb1/sdb/device/vendor", "Example \n"),
            ("devices/usb1/sdb/device/model", "Stick   \n"),
            ("devices/usb1/sdb/sdb1/size", "2048\n"),
            ("devices/usb1/sdb/sdb1/partition", "1\n"),
            ("devices/ata1/sda/size", "4096\n"),
            ("devices/ata1/sda/removable", "0\n"),
            ("devices/ata1/sda/holders/md0", ""),
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(folder.join("class/block")).unwrap();
        for (name, target) in [
            ("sdb", "usb1/sdb"),
            ("sdb1", "usb1/sdb/sdb1"),
            ("sda", "ata1/sda"),
        ] {
            std::os::unix::fs::symlink(
                folder.join("devices").join(target),
                folder.join("class/block").join(name),
            )
            .unwrap();
        }
        System {
            sys: folder.to_path_buf(),
            mounts: "/dev/sdb10 /other ext4\n/dev/sdb1 /media/stick vfat rw 0 0\n".into(),
            swaps: String::new(),
        }
    }

    #[test]
    fn facts_come_from_sysfs_and_mounts() {
        let folder = tempfile::tempdir().unwrap();
        let system = system(folder.path());
        let expected = Facts {
            used_as: vec!["/dev/sdb1 is mounted at /media/stick".into()],
            ..stick()
        };
        assert_eq!(Facts::of("sdb", &system).unwrap(), expected);
        assert_eq!(
            Facts::of("sdb1", &system).unwrap().partition_of.as_deref(),
            Some("sdb")
        );
        let inside = Facts::of("sda", &system).unwrap();
        assert!(!inside.removable);
        assert_eq!(inside.used_as, ["/dev/sda is part of md0"]);
        assert!(Facts::of("sdz", &system).is_err());
    }
}
