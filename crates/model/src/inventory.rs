//! What the agent finds on a machine before anything is decided.
//!
//! Every size is in bytes. Text from firmware or devices is trimmed of padding; what a device does
//! not say is `None`, never an empty string.

use serde::{Deserialize, Serialize};

use crate::boot_variables::Variable;
use crate::identity::{Identity, MacAddress};
use crate::layout::{Layout, PartitionTable};
use crate::receipt::Receipt;

/// One look at a machine's hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// How the machine was started.
    pub firmware: Firmware,
    /// SMBIOS type 1 and 2, from /sys/class/dmi/id.
    pub system: System,
    /// Total memory, from /proc/meminfo.
    pub memory: u64,
    /// Processor model and logical processors, from /proc/cpuinfo.
    pub processor: Processor,
    /// Ethernet interfaces, by name.
    pub nics: Vec<Nic>,
    /// Whole block devices that could hold a system, by path. Removable ones are listed, and marked.
    pub disks: Vec<Disk>,
    /// Devices that no driver of the kernel claimed, as modaliases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub driverless: Vec<String>,
    /// Whether there is a TPM 2.0; `None` where an older agent did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm2: Option<bool>,
    /// The boot variables of UEFI firmware; `None` for BIOS, where they cannot be read, and where an
    /// older agent did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_variables: Option<Vec<Variable>>,
}

impl Inventory {
    /// The identity that this hardware speaks for.
    pub fn identity(&self) -> Identity {
        Identity {
            macs: self.nics.iter().map(|nic| nic.mac).collect(),
            serial: self.system.serial.clone(),
            uuid: self.system.uuid.clone(),
            disks: self
                .disks
                .iter()
                .filter(|disk| !disk.removable)
                .map(Disk::id)
                .collect(),
        }
    }
}

/// The kind of firmware, which decides how an installed system is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// Legacy BIOS: the first disk's MBR is executed.
    Bios,
    /// UEFI (/sys/firmware/efi exists).
    Uefi,
}

/// What the firmware says of the machine (SMBIOS 3, types 1 and 2). Placeholders are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `sys_vendor`.
    pub manufacturer: Option<String>,
    /// `product_name`.
    pub product: Option<String>,
    /// `product_serial`.
    pub serial: Option<String>,
    /// `product_uuid`, lower case.
    pub uuid: Option<String>,
}

/// The machine's processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    /// `model name`.
    pub model: Option<String>,
    /// Logical processors.
    pub count: u32,
}

/// An Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The kernel's name, as `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: MacAddress,
    /// Kernel driver, as `virtio_net`.
    pub driver: Option<String>,
    /// Whether the link has carrier.
    pub carrier: bool,
    /// Link speed in Mbit/s, where the driver knows it.
    pub speed: Option<u32>,
}

/// A whole block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Device node, as `/dev/nvme0n1`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Logical sector size in bytes: 512 or 4096.
    pub sector_size: u32,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World-wide name.
    pub wwn: Option<String>,
    /// Whether it spins.
    pub rotational: bool,
    /// Whether the kernel calls it removable.
    pub removable: bool,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// `nvme`, `virtio`, `sata`, `scsi`, `usb`, `mmc` or whatever the device path names.
    pub transport: Option<String>,
    /// What stands on it now.
    pub content: Content,
    /// The names that udev would link to it, absolute, sorted: `/dev/disk/by-id/…`,
    /// `/dev/disk/by-path/…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Its table and signatures; `None` where it cannot be read, or an older agent did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
}

impl Disk {
    /// The name that binds a plan or a grant to this very disk: wwn, else model and serial, else the
    /// path with the size, which is all that a disk without either has.
    pub fn id(&self) -> String {
        match (&self.wwn, &self.serial) {
            (Some(wwn), _) => wwn.clone(),
            (None, Some(serial)) => match &self.model {
                Some(model) => format!("{model}_{serial}").replace(' ', "_"),
                None => serial.replace(' ', "_"),
            },
            (None, None) => format!("{}:{}", self.path, self.size),
        }
    }

    /// Whether an appliance starts from it: by the names of its partitions, as the appliance knows its
    /// own disk. What was installed here may have partitions of any name.
    pub fn is_an_appliances(&self) -> bool {
        if let Content::Ours { .. } = self.content {
            return false;
        }
        let Some(PartitionTable::Gpt { partitions, .. }) = self.layout.as_ref().map(|l| &l.table)
        else {
            return false;
        };
        let has = |name: &str| partitions.iter().any(|found| found.label == name);
        has("ESP") && has("CONFIG")
    }
}

/// What a disk holds. Only [`Content::Blank`] may be written without a receipt or a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// The first and last MiB are zero, and no known signature was found.
    Blank,
    /// A Hardway receipt stands on it: finished or begun.
    Ours {
        /// The receipt.
        receipt: Box<Receipt>,
    },
    /// Something else. Each line names one thing, as `gpt: 3 partitions (EFI, boot, root)` or
    /// `ext4 "data" at 1 MiB` or `not zero at 0`.
    Foreign {
        /// What was seen, for a person to read.
        signatures: Vec<String>,
    },
    /// It could not be read; never to be written.
    Unreadable {
        /// The read error.
        error: String,
    },
}
