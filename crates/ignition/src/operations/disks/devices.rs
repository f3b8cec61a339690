//! Names of devices in a config → [`Device`], by what will be there when its turn comes.
//!
//! No udev runs where operations are carried out. Its links (`/dev/disk/by-…`) are read here, from
//! the finished tables and from what was recognised on the disks.

use crate::config::Luks;
use crate::hardware::{Disk, Hardware, Signature, Table, unescape};
use crate::operation::disks::{Device, TableEntry};
use crate::paths::clean;

/// A machine's block devices once its tables are written.
pub(super) struct Devices<'a> {
    disks: Vec<PlannedDisk<'a>>,
    arrays: Vec<String>,
    volumes: Vec<(&'a Luks, Option<Device>)>,
}

/// A disk and the partitions that it will have.
pub(super) struct PlannedDisk<'a> {
    pub(super) disk: &'a Disk,
    pub(super) entries: Vec<TableEntry>,
    /// Partitions where earlier signatures are erased with the table.
    pub(super) erased: Vec<u32>,
}

impl<'a> Devices<'a> {
    pub(super) fn new(hardware: &'a Hardware) -> Self {
        let planned = |disk: &'a Disk| PlannedDisk {
            disk,
            entries: match &disk.table {
                Table::Gpt { entries, .. } => entries.clone(),
                _ => Vec::new(),
            },
            erased: Vec::new(),
        };
        Self {
            disks: hardware.disks.iter().map(planned).collect(),
            arrays: Vec::new(),
            volumes: Vec::new(),
        }
    }

    /// The whole disk of that name.
    pub(super) fn disk(&self, name: &str) -> Result<&PlannedDisk<'a>, String> {
        let cleaned = clean(name);
        self.check_alias(name, &cleaned)?;
        let found = self.disks.iter().find(|planned| planned.is(&cleaned));
        found.ok_or_else(|| match self.resolve(name) {
            Ok(device) if cleaned == device.to_string() => {
                format!("{name} is no whole disk; {}", self.list_disks())
            }
            Ok(device) => format!("{name} is {device}, no whole disk; {}", self.list_disks()),
            Err(_) => format!("the machine has no disk {name}; {}", self.list_disks()),
        })
    }

    /// Takes the table that a disk is to have.
    pub(super) fn set_table(&mut self, disk: &str, entries: &[TableEntry], erased: &[u32]) {
        for planned in &mut self.disks {
            if planned.disk.path == disk {
                planned.entries = entries.to_vec();
                planned.erased = erased.to_vec();
            }
        }
    }

    /// From here on the array is there.
    pub(super) fn add_array(&mut self, name: &str) {
        self.arrays.push(name.to_owned());
    }

    /// From here on the volume is there.
    pub(super) fn add_volume(&mut self, volume: &'a Luks, device: Option<Device>) {
        self.volumes.push((volume, device));
    }

    /// What a name stands for.
    pub(super) fn resolve(&self, name: &str) -> Result<Device, String> {
        let path = clean(name);
        for (prefix, find) in [
            (
                "/dev/disk/by-partlabel/",
                Self::by_partition_label as fn(&Self, &str) -> Vec<Device>,
            ),
            ("/dev/disk/by-partuuid/", Self::by_partition_guid),
            ("/dev/disk/by-label/", Self::by_label),
            ("/dev/disk/by-uuid/", Self::by_uuid),
        ] {
            if let Some(key) = path.strip_prefix(prefix) {
                return only_one(name, find(self, &unescape(key)), || self.list());
            }
        }
        for prefix in ["/dev/md/", "/dev/disk/by-id/md-name-any:"] {
            if let Some(array) = path.strip_prefix(prefix) {
                let known = self.arrays.iter().any(|known| known == array);
                return known
                    .then(|| Device::Array(array.to_owned()))
                    .ok_or_else(|| self.unknown_array(name));
            }
        }
        for prefix in ["/dev/mapper/", "/dev/disk/by-id/dm-name-"] {
            if let Some(volume) = path.strip_prefix(prefix) {
                let known = self.volumes.iter().any(|(known, _)| known.name == volume);
                return known
                    .then(|| Device::Volume(volume.to_owned()))
                    .ok_or_else(|| self.unknown_volume(name));
            }
        }
        self.by_disk(name, &path)
    }

    /// What is recognised on a device before any operation. Nothing where the place is new to its
    /// owner, or no place on a disk.
    pub(super) fn signatures(&self, device: &Device) -> Vec<&'a Signature> {
        let (disk, number) = match device {
            Device::Disk(disk) => (disk, None),
            Device::Partition { disk, number } => (disk, Some(*number)),
            Device::Array(_) | Device::Volume(_) => return Vec::new(),
        };
        let Some(planned) = self.disks.iter().find(|planned| planned.disk.path == *disk) else {
            return Vec::new();
        };
        let offset = match number {
            None => Some(0),
            Some(number) if planned.erased.contains(&number) => None,
            Some(number) => planned.offset(number),
        };
        let signatures = planned.disk.signatures.iter();
        signatures
            .filter(|signature| Some(signature.offset) == offset)
            .collect()
    }

    /// A disk or its partition, by the kernel's names and by the links that lead there.
    fn by_disk(&self, name: &str, path: &str) -> Result<Device, String> {
        self.check_alias(name, path)?;
        for planned in &self.disks {
            if planned.is(path) {
                return Ok(Device::Disk(planned.disk.path.clone()));
            }
        }
        for planned in &self.disks {
            let Some(number) = planned.partition_of(path) else {
                continue;
            };
            if planned.entries.iter().any(|entry| entry.number == number) {
                return Ok(Device::Partition {
                    disk: planned.disk.path.clone(),
                    number,
                });
            }
            return Err(format!(
                "{name} is not there: {}",
                planned.list_partitions()
            ));
        }
        Err(format!("{name} is not there: {}", self.list()))
    }

    /// Refuses a link that several disks claim, or whose partition does: nobody can have meant one.
    fn check_alias(&self, name: &str, path: &str) -> Result<(), String> {
        let claim =
            |planned: &&PlannedDisk<'_>| planned.is(path) || planned.partition_of(path).is_some();
        let claiming = self.disks.iter().filter(claim);
        let paths: Vec<&str> = claiming.map(|planned| planned.disk.path.as_str()).collect();
        match paths.as_slice() {
            [] | [_] => Ok(()),
            several => Err(format!(
                "{name} could be of any of {}: name one by its path",
                several.join(", ")
            )),
        }
    }

    fn partitions(&self, is_it: impl Fn(&TableEntry) -> bool) -> Vec<Device> {
        let mut found = Vec::new();
        for planned in &self.disks {
            for entry in planned.entries.iter().filter(|entry| is_it(entry)) {
                found.push(Device::Partition {
                    disk: planned.disk.path.clone(),
                    number: entry.number,
                });
            }
        }
        found
    }

    fn by_partition_label(&self, label: &str) -> Vec<Device> {
        self.partitions(|entry| entry.label == label)
    }

    fn by_partition_guid(&self, guid: &str) -> Vec<Device> {
        self.partitions(|entry| {
            let own = entry.guid.as_deref();
            own.is_some_and(|own| own.eq_ignore_ascii_case(guid))
        })
    }

    fn by_label(&self, label: &str) -> Vec<Device> {
        self.by_content(
            |signature| signature.label.as_deref() == Some(label),
            |volume| volume.label.as_deref() == Some(label),
        )
    }

    fn by_uuid(&self, uuid: &str) -> Vec<Device> {
        let is_it = |own: &Option<String>| {
            own.as_deref()
                .is_some_and(|own| own.eq_ignore_ascii_case(uuid))
        };
        self.by_content(
            |signature| is_it(&signature.uuid),
            |volume| is_it(&volume.uuid),
        )
    }

    /// Devices that hold something that was there before, or a volume of the config.
    fn by_content(
        &self,
        is_it: impl Fn(&Signature) -> bool,
        is_volume: impl Fn(&Luks) -> bool,
    ) -> Vec<Device> {
        let mut found = Vec::new();
        for planned in &self.disks {
            let path = &planned.disk.path;
            let numbers = planned.entries.iter().map(|entry| entry.number);
            let partitions = numbers.map(|number| Device::Partition {
                disk: path.clone(),
                number,
            });
            for device in std::iter::once(Device::Disk(path.clone())).chain(partitions) {
                if self.signatures(&device).into_iter().any(&is_it) {
                    found.push(device);
                }
            }
        }
        for (volume, device) in &self.volumes {
            if is_volume(volume)
                && let Some(device) = device
                && !found.contains(device)
            {
                found.push(device.clone());
            }
        }
        found
    }

    fn list_disks(&self) -> String {
        let paths: Vec<&str> = self
            .disks
            .iter()
            .map(|planned| planned.disk.path.as_str())
            .collect();
        if paths.is_empty() {
            "there are no disks".to_owned()
        } else {
            format!("there are {}", paths.join(", "))
        }
    }

    /// Everything that could have been meant.
    fn list(&self) -> String {
        let mut all: Vec<String> = Vec::new();
        for planned in &self.disks {
            all.push(planned.disk.path.clone());
            all.extend(planned.entries.iter().map(|entry| planned.show(entry)));
        }
        all.extend(self.arrays.iter().map(|name| format!("/dev/md/{name}")));
        let volumes = self.volumes.iter();
        all.extend(volumes.map(|(volume, _)| format!("/dev/mapper/{}", volume.name)));
        if all.is_empty() {
            "there are no devices".to_owned()
        } else {
            format!("there are {}", all.join(", "))
        }
    }

    fn unknown_array(&self, name: &str) -> String {
        let known = self.arrays.join(", ");
        match known.as_str() {
            "" => format!("{name} is not there: `storage.raid` makes no array before this"),
            known => format!("{name} is not there: the arrays made before this are {known}"),
        }
    }

    fn unknown_volume(&self, name: &str) -> String {
        let known: Vec<&str> = self
            .volumes
            .iter()
            .map(|(volume, _)| volume.name.as_str())
            .collect();
        match known.join(", ").as_str() {
            "" => format!("{name} is not there: `storage.luks` opens no volume before this"),
            known => format!("{name} is not there: the volumes opened before this are {known}"),
        }
    }
}

impl PlannedDisk<'_> {
    fn is(&self, path: &str) -> bool {
        self.disk.path == path || self.disk.aliases.iter().any(|alias| alias == path)
    }

    /// The number, where `path` names a partition of this disk, whether it is there or not.
    fn partition_of(&self, path: &str) -> Option<u32> {
        let number = |digits: &str| {
            let is_plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain)
        };
        if let Some(rest) = path.strip_prefix(self.disk.path.as_str()) {
            let ends_in_digit = self.disk.path.ends_with(|c: char| c.is_ascii_digit());
            let digits = match ends_in_digit {
                true => rest.strip_prefix('p')?,
                false => rest,
            };
            return number(digits);
        }
        let aliases = self.disk.aliases.iter();
        let mut rests = aliases.filter_map(|alias| path.strip_prefix(alias.as_str()));
        rests.find_map(|rest| number(rest.strip_prefix("-part")?))
    }

    fn offset(&self, number: u32) -> Option<u64> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.number == number)?;
        entry.start.checked_mul(u64::from(self.disk.sector_size))
    }

    fn list_partitions(&self) -> String {
        let path = &self.disk.path;
        if self.entries.is_empty() {
            return match self.disk.table {
                Table::Mbr => {
                    format!("{path} has an MBR table, whose partitions are not known here")
                }
                Table::Damaged => format!("the partition table of {path} is damaged"),
                Table::None | Table::Gpt { .. } => format!("{path} has no partitions"),
            };
        }
        let all: Vec<String> = self.entries.iter().map(|entry| self.show(entry)).collect();
        format!("{path} has {}", all.join(", "))
    }

    fn show(&self, entry: &TableEntry) -> String {
        let device = Device::Partition {
            disk: self.disk.path.clone(),
            number: entry.number,
        };
        match entry.label.as_str() {
            "" => device.to_string(),
            label => format!("{device} (`{label}`)"),
        }
    }
}

fn only_one(
    name: &str,
    mut found: Vec<Device>,
    list: impl Fn() -> String,
) -> Result<Device, String> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(format!("{name} is not there: {}", list())),
        (Some(device), true) => Ok(device),
        (Some(device), false) => {
            found.push(device);
            let all: Vec<String> = found.iter().map(ToString::to_string).collect();
            Err(format!(
                "{name} could be any of {}: name one of them",
                all.join(", ")
            ))
        }
    }
}
