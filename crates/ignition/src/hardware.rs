//! What the planner has to know of a machine before it can say what happens to its disks.

use crate::operation::disks::TableEntry;
use crate::paths::clean;

/// The machine, as far as configs speak of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Every whole disk.
    pub disks: Vec<Disk>,
    /// Whether there is a TPM 2.0. `None`: nobody looked, and a config that needs one is refused.
    pub tpm2: Option<bool>,
}

/// A whole disk, as it is when the disks stage begins: with its new system on it, where it gets one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's node, as `/dev/vda`.
    pub path: String,
    /// Other names that a config may use, absolute: `/dev/disk/by-id/…`, `/dev/disk/by-path/…`.
    pub aliases: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// Logical sector size in bytes: 512 or 4096.
    pub sector_size: u32,
    /// Its partition table.
    pub table: Table,
    /// What is recognised on the disk itself and in its partitions. Nothing is listed of places that
    /// nobody looked at.
    pub signatures: Vec<Signature>,
    /// The disk itself is mounted or held by an array or a volume.
    pub in_use: bool,
    /// Numbers of partitions that are mounted or held.
    pub active: Vec<u32>,
    /// The disk belongs to this installation as a whole: what earlier uses left in the space of new
    /// partitions is erased, where Ignition itself would find and respect it.
    pub claimed: bool,
}

/// A disk's partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// No table at all.
    None,
    /// A GPT with a header that is right, primary or backup.
    Gpt {
        /// First and last sector that partitions may use, by the header, once its backup stands at
        /// the end of the disk.
        usable: (u64, u64),
        /// Its partitions, by number, with a `guid` each.
        entries: Vec<TableEntry>,
    },
    /// An MBR with partitions of its own, without a GPT.
    Mbr,
    /// Something that looks like a table and cannot be read.
    Damaged,
}

/// Something recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// First byte of the disk or partition that it is of.
    pub offset: u64,
    /// The kind, as blkid says it: `ext4`, `crypto_LUKS`, `linux_raid_member`.
    pub kind: String,
    /// Label.
    pub label: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
}

/// A device's name as configs are judged by: the shortest path, and where udev wrote a character of a
/// link's name as `\xHH`, that character.
pub fn device_name(name: &str) -> String {
    unescape(&clean(name))
}

/// udev writes characters that could not stand in a link's name as `\xHH`.
pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = rest
            .strip_prefix(b"\\x")
            .and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(value) => {
                bytes.push(value);
                rest = &rest[4..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
