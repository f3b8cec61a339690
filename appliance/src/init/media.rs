//! The appliance's own disk: found by the names of its partitions, mounted, grown on first boot.
//!
//! A disk is the appliance's when it has partitions named `ESP` and `CONFIG`. Where several have, the
//! one with the most of `ESP`, `CONFIG` and `DATA` is taken, of equal ones the first by name, and the
//! console says so: remove the other one if it is wrong.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hardway_userspace::console::Console;
use hardway_userspace::mounts::{self, Flags};

use super::drivers::Drivers;
use super::{grow, told};

/// Where the ESP is mounted, read-only.
pub const BOOT: &str = "/boot";
/// The payload on the ESP.
pub const PAYLOAD: &str = "/boot/hardway";
/// The module store in the payload.
pub const MODULES: &str = "/boot/hardway/modules";
/// Where CONFIG is mounted, read-only.
pub const CONFIG: &str = "/config";
/// The operator's file.
pub const CLUSTER: &str = "/config/cluster.yaml";
/// The operator's own token, if there is one.
pub const ADMIN_TOKEN: &str = "/config/admin-token";
/// Where DATA is mounted.
pub const DATA: &str = "/data";
/// The journal's folder.
pub const STATE: &str = "/data/state";
/// The image store.
pub const IMAGES: &str = "/data/images";

const PAUSE: Duration = Duration::from_millis(250);

/// What was found.
#[derive(Debug, Default)]
pub struct Media {
    /// What is wrong with it, for the screen.
    pub problems: Vec<String>,
    /// Whether the state survives a restart.
    pub durable: bool,
}

/// A partition, from its uevent file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    device: String,
    number: u32,
}

/// One disk's partitions by their names.
type Named = BTreeMap<String, Partition>;

impl Media {
    /// Waits for the appliance's disk and mounts what is on it.
    pub fn find(drivers: &mut Drivers, console: &Console, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let disks = loop {
            let disks = own_disks(&disks(Path::new("/sys/class/block")));
            if !disks.is_empty() || Instant::now() >= deadline {
                break disks;
            }
            std::thread::sleep(PAUSE);
            drivers.look_again(console);
        };
        let mut media = Self::default();
        if disks.len() > 1 {
            let names: Vec<&str> = disks.iter().map(|(name, _)| name.as_str()).collect();
            media.problems.push(format!(
                "several disks look like an appliance's ({}); {} is used",
                names.join(", "),
                names[0]
            ));
        }
        match disks.first() {
            Some((disk, partitions)) => media.mount(disk, partitions, console),
            None => media.problems.push(
                "no disk has partitions named ESP and CONFIG: there is nothing to serve".into(),
            ),
        }
        if !media.durable {
            media.keep_in_memory();
        }
        for problem in &media.problems {
            console.line(problem);
        }
        media
    }

    fn mount(&mut self, disk: &str, partitions: &Named, console: &Console) {
        let read_only = Flags::MS_RDONLY | Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC;
        for (name, target) in [("ESP", BOOT), ("CONFIG", CONFIG)] {
            let Some(partition) = partitions.get(name) else {
                continue;
            };
            let device = format!("/dev/{}", partition.device);
            if let Err(error) = mounts::mount(&device, Path::new(target), "vfat", read_only, "") {
                self.problems.push(told(&error));
            }
        }
        let Some(data) = partitions.get("DATA") else {
            return;
        };
        // Before it is mounted, because the kernel takes a new size only of an unused partition.
        match grow::partition(disk, data.number) {
            Ok(Some(grown)) => console.line(&grown),
            Ok(None) => {}
            Err(error) => self
                .problems
                .push(format!("growing partition DATA: {error:#}")),
        }
        let device = format!("/dev/{}", data.device);
        let flags = Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC | Flags::MS_NOATIME;
        if let Err(error) = mounts::mount(&device, Path::new(DATA), "ext4", flags, "") {
            self.problems.push(told(&error));
            return;
        }
        self.durable = true;
        if let Err(error) = grow::filesystem(&device, Path::new(DATA)) {
            self.problems
                .push(format!("growing the filesystem on DATA: {error:#}"));
        }
    }

    fn keep_in_memory(&mut self) {
        self.problems.push(
            "there is no usable partition DATA: the state is kept IN MEMORY and is lost at power-off, \
             and there are no OS images"
                .into(),
        );
        let flags = Flags::MS_NOSUID | Flags::MS_NODEV;
        if let Err(error) = mounts::mount("tmpfs", Path::new(DATA), "tmpfs", flags, "size=25%") {
            self.problems.push(told(&error));
        }
    }
}

/// Unmounts everything that [`Media::find`] mounted, as far as it is not in use.
pub fn unmount(console: &Console) {
    for target in [DATA, CONFIG, BOOT] {
        if is_mounted(Path::new(target))
            && let Err(error) = mounts::unmount(Path::new(target))
        {
            console.line(&told(&error));
        }
    }
}

fn is_mounted(target: &Path) -> bool {
    let mounted = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let target = target.to_string_lossy();
    mounted
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(&target))
}

/// Every disk's named partitions, by the disk's kernel name.
fn disks(class_block: &Path) -> BTreeMap<String, Named> {
    let mut disks: BTreeMap<String, Named> = BTreeMap::new();
    let entries = std::fs::read_dir(class_block)
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries {
        if let Some((disk, name, partition)) = read_partition(&entry.path()) {
            disks.entry(disk).or_default().insert(name, partition);
        }
    }
    disks
}

/// From the partition's uevent file; the disk is the folder above the partition's own.
fn read_partition(path: &Path) -> Option<(String, String, Partition)> {
    let uevent = std::fs::read_to_string(path.join("uevent")).ok()?;
    let field = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key));
    let partition = Partition {
        device: field("DEVNAME=")?.to_owned(),
        number: field("PARTN=")?.parse().ok()?,
    };
    let own: PathBuf = std::fs::canonicalize(path).ok()?;
    let disk = own.parent()?.file_name()?.to_str()?.to_owned();
    Some((disk, field("PARTNAME=")?.to_owned(), partition))
}

fn own_disks(disks: &BTreeMap<String, Named>) -> Vec<(String, Named)> {
    let is_own = |partitions: &Named| {
        ["ESP", "CONFIG"]
            .iter()
            .all(|name| partitions.contains_key(*name))
    };
    let mut own: Vec<(String, Named)> = disks
        .iter()
        .filter(|(_, partitions)| is_own(partitions))
        .map(|(disk, partitions)| (disk.clone(), partitions.clone()))
        .collect();
    // Stable: equal ones stay in the order of their names.
    own.sort_by_key(|(_, partitions)| !partitions.contains_key("DATA"));
    own
}

/// Opens a disk by its kernel name.
pub fn open_disk(disk: &str, writable: bool) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(writable)
        .open(format!("/dev/{disk}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_by_their_partitions() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("class");
        std::fs::create_dir_all(&class).unwrap();
        let partition = |disk: &str, number: u32, name: &str| {
            let device = format!("{disk}{number}");
            let own = root.path().join("devices").join(disk).join(&device);
            std::fs::create_dir_all(&own).unwrap();
            let uevent = format!(
                "MAJOR=8\nMINOR={number}\nDEVNAME={device}\nDEVTYPE=partition\nPARTN={number}\n\
                 PARTNAME={name}\n"
            );
            std::fs::write(own.join("uevent"), uevent).unwrap();
            std::os::unix::fs::symlink(&own, class.join(&device)).unwrap();
        };
        partition("sda", 1, "ESP");
        partition("sda", 2, "root");
        partition("sdb", 2, "ESP");
        partition("sdb", 3, "CONFIG");
        partition("sdc", 2, "ESP");
        partition("sdc", 3, "CONFIG");
        partition("sdc", 4, "DATA");

        let own = own_disks(&disks(&class));
        let names: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["sdc", "sdb"]);
        let data = Partition {
            device: "sdc4".into(),
            number: 4,
        };
        assert_eq!(own[0].1["DATA"], data);
    }
}
