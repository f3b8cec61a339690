//! What stands on a disk, exactly: its partition table and everything recognised on it.
//!
//! [`crate::inventory::Content`] says whether a disk may be written; this says what is there, in the
//! terms in which configs speak of it.

use serde::{Deserialize, Serialize};

/// A disk's partition table and signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Its table.
    pub table: PartitionTable,
    /// What is recognised on the whole disk (offset 0) and in its partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
}

/// A partition table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PartitionTable {
    /// No table at all.
    #[default]
    None,
    /// GUID partition table (UEFI 2.10, section 5.3) with a header that is right, primary or backup.
    Gpt {
        /// First sector that partitions may use.
        first_usable: u64,
        /// Last sector that partitions may use once the backup table stands at the end of the disk.
        last_usable: u64,
        /// Its used entries, by number.
        partitions: Vec<Partition>,
    },
    /// Master boot record with partitions of its own, without a GPT.
    Mbr,
    /// Something that looks like a table and cannot be read.
    Damaged,
}

/// An entry of a GPT. Sectors are logical ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Length in sectors.
    pub sectors: u64,
    /// Partition type, upper case.
    pub type_guid: String,
    /// The partition's own GUID, upper case.
    pub guid: String,
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Attribute bits.
    #[serde(default)]
    pub attributes: u64,
}

/// Something recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// First byte of the disk or partition that it is of.
    pub offset: u64,
    /// The kind, as blkid says it: `ext4`, `crypto_LUKS`, `linux_raid_member`.
    pub kind: String,
    /// Label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// UUID, as blkid says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}
