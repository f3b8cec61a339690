//! `storage`, its part for disks: partitions, RAID, LUKS and filesystems.

use serde::{Deserialize, Serialize};

use super::is_default;
use super::storage::Resource;

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Disk {
    pub device: String,
    #[serde(skip_serializing_if = "is_default")]
    pub partitions: Vec<Partition>,
    #[serde(skip_serializing_if = "is_default")]
    pub wipe_table: Option<bool>,
}

/// A partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Partition {
    #[serde(skip_serializing_if = "is_default")]
    pub guid: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub number: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub resize: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub should_exist: Option<bool>,
    #[serde(rename = "sizeMiB", skip_serializing_if = "is_default")]
    pub size_mib: Option<i64>,
    #[serde(rename = "startMiB", skip_serializing_if = "is_default")]
    pub start_mib: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub type_guid: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub wipe_partition_entry: Option<bool>,
}

/// A filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Filesystem {
    pub device: String,
    #[serde(skip_serializing_if = "is_default")]
    pub format: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub mount_options: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub options: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub wipe_filesystem: Option<bool>,
}

/// An mdadm array.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Raid {
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub level: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub options: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub spares: Option<i64>,
}

/// A LUKS2 volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Luks {
    #[serde(skip_serializing_if = "is_default")]
    pub cex: Cex,
    #[serde(skip_serializing_if = "is_default")]
    pub clevis: Clevis,
    #[serde(skip_serializing_if = "is_default")]
    pub device: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub discard: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub key_file: Resource,
    #[serde(skip_serializing_if = "is_default")]
    pub label: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub open_options: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub options: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub wipe_volume: Option<bool>,
}

/// Binding to an IBM Crypto Express card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Cex {
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: Option<bool>,
}

/// What unlocks a volume without a key file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Clevis {
    #[serde(skip_serializing_if = "is_default")]
    pub custom: ClevisCustom,
    #[serde(skip_serializing_if = "is_default")]
    pub tang: Vec<Tang>,
    #[serde(skip_serializing_if = "is_default")]
    pub threshold: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub tpm2: Option<bool>,
}

/// A clevis pin with its own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ClevisCustom {
    #[serde(skip_serializing_if = "is_default")]
    pub config: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub needs_network: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub pin: Option<String>,
}

/// A Tang server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Tang {
    #[serde(skip_serializing_if = "is_default")]
    pub advertisement: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub thumbprint: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub url: String,
}
