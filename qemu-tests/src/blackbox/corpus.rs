//! The cases of `ignition-blackbox.json`: disks before, a config, disks after.
//!
//! Unknown fields are left alone, missing ones have the value that asks for nothing: the corpus may
//! grow without this program.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Corpus {
    /// The cases, in order.
    #[serde(default, deserialize_with = "or_default")]
    pub tests: Vec<Case>,
    /// What the servers serve.
    #[serde(default, deserialize_with = "or_default")]
    pub servers: Servers,
}

/// What is served to the cases that are not offline.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Servers {
    /// The bodies.
    #[serde(default, deserialize_with = "or_default")]
    pub behaviour: Behaviour,
    /// The certificates that configs name, PEM.
    #[serde(default, deserialize_with = "or_default")]
    pub fixtures: Fixtures,
    /// `http` or `https`, by `$testserverN`.
    #[serde(default, deserialize_with = "or_default")]
    pub testservers_scheme: BTreeMap<String, String>,
}

/// The bodies that the HTTP and TFTP servers serve.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Behaviour {
    /// `/config`
    #[serde(default, deserialize_with = "or_default")]
    pub config_body: String,
    /// `/contents`
    #[serde(default, deserialize_with = "or_default")]
    pub contents_body: String,
}

/// The certificates of the upstream tests.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Fixtures {
    /// Both, one after the other.
    #[serde(default, deserialize_with = "or_default")]
    pub ca_bundle_pem: String,
    /// The first: `/certificates`.
    #[serde(default, deserialize_with = "or_default")]
    pub public_key_pem: String,
    /// The second.
    #[serde(default, deserialize_with = "or_default")]
    pub public_key2_pem: String,
}

/// One case.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Case {
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The upstream file that it comes from.
    #[serde(default, deserialize_with = "or_default")]
    pub source_file: String,
    /// The user's config, before substitution. Empty: there is none.
    #[serde(default, deserialize_with = "or_default")]
    pub config: String,
    /// The oldest spec that it is for.
    #[serde(default, deserialize_with = "or_default")]
    pub min_version: String,
    /// Some stage has to refuse.
    #[serde(default, deserialize_with = "or_default")]
    pub must_fail: bool,
    /// Disks before.
    #[serde(default, rename = "in", deserialize_with = "or_default")]
    pub before: Vec<Disk>,
    /// Disks after.
    #[serde(default, rename = "out", deserialize_with = "or_default")]
    pub after: Vec<Disk>,
    /// Text in the config → label of the partition whose device it stands for.
    #[serde(default, deserialize_with = "or_default")]
    pub mnt_devices: BTreeMap<String, String>,
    /// Environment of the upstream program, `NAME=VALUE`.
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Files in the vendor's folder of configs.
    #[serde(default, deserialize_with = "or_default")]
    pub system_files: Vec<Node>,
    /// Files in the local folder.
    #[serde(default, deserialize_with = "or_default")]
    pub system_local_files: Vec<Node>,
    /// Files in the runtime folder.
    #[serde(default, deserialize_with = "or_default")]
    pub system_runtime_files: Vec<Node>,
}

/// A disk.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Disk {
    /// Bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub image_size_bytes: u64,
    /// Sizes are compared after rounding up to this, in sectors of 512 bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub alignment_sectors: u64,
    /// The first 1536 bytes are random.
    #[serde(default, deserialize_with = "or_default")]
    pub corrupt_table: bool,
    /// Its partitions.
    #[serde(default, deserialize_with = "or_default")]
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Partition {
    /// Number, from 1.
    #[serde(default, deserialize_with = "or_default")]
    pub number: u32,
    /// Name.
    #[serde(default, deserialize_with = "or_default")]
    pub label: String,
    /// Type; empty: Linux data before, any after.
    #[serde(default, deserialize_with = "or_default")]
    pub type_guid: String,
    /// Its own GUID; empty: random before, any after.
    #[serde(default, deserialize_with = "or_default")]
    pub guid: String,
    /// First sector of 512 bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub start_sector: u64,
    /// Sectors; 0: it is not made.
    #[serde(default, deserialize_with = "or_default")]
    pub size_sectors: u64,
    /// The same, as it is compared.
    #[serde(default, deserialize_with = "or_default")]
    pub size_sectors_aligned: u64,
    /// A gap: neither made nor compared.
    #[serde(default, deserialize_with = "or_default")]
    pub blank: bool,
    /// Also in the hybrid MBR.
    #[serde(default, deserialize_with = "or_default")]
    pub hybrid_mbr: bool,
    /// Several filesystems are recognised on it.
    #[serde(default, deserialize_with = "or_default")]
    pub ambivalent_fs: bool,
    /// Filesystem; `image`: see `fs_image_bz2_base64`; empty or `blank`: none.
    #[serde(default, deserialize_with = "or_default")]
    pub fs_type: String,
    /// Label of the filesystem.
    #[serde(default, deserialize_with = "or_default")]
    pub fs_label: String,
    /// UUID of the filesystem.
    #[serde(default, deserialize_with = "or_default")]
    pub fs_uuid: String,
    /// Content of the partition: bzip2, base64.
    #[serde(default, deserialize_with = "or_default")]
    pub fs_image_bz2_base64: String,
    /// Files in the filesystem.
    #[serde(default, deserialize_with = "or_default")]
    pub files: Vec<Node>,
    /// Directories.
    #[serde(default, deserialize_with = "or_default")]
    pub directories: Vec<Node>,
    /// Links.
    #[serde(default, deserialize_with = "or_default")]
    pub links: Vec<Node>,
    /// Paths that are gone afterwards.
    #[serde(default, deserialize_with = "or_default")]
    pub removed: Vec<String>,
}

impl Partition {
    /// Whether it stands in the table at all.
    pub fn exists(&self) -> bool {
        !self.blank && self.size_sectors != 0
    }

    /// Whether a filesystem is made in it.
    pub fn is_formatted(&self) -> bool {
        self.exists() && !matches!(self.fs_type.as_str(), "" | "blank")
    }

    /// Whether anything is put into the filesystem, or compared there.
    pub fn has_nodes(&self) -> bool {
        !(self.files.is_empty() && self.directories.is_empty() && self.links.is_empty())
    }
}

/// A file, directory or link. Owners and modes of 0, and empty contents, are not compared.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node {
    /// Absolute path.
    #[serde(default, deserialize_with = "or_default")]
    pub path: String,
    /// Content of a file.
    #[serde(default, deserialize_with = "or_default")]
    pub contents: String,
    /// Target of a link.
    #[serde(default, deserialize_with = "or_default")]
    pub target: String,
    /// A hard link.
    #[serde(default, deserialize_with = "or_default")]
    pub hard: bool,
    /// Owner.
    #[serde(default, deserialize_with = "or_default")]
    pub uid: u32,
    /// Group.
    #[serde(default, deserialize_with = "or_default")]
    pub gid: u32,
    /// Permission bits.
    #[serde(default, deserialize_with = "or_default")]
    pub mode: u32,
}

/// `null` is as good as a missing field.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_unknown_or_null_stops_nothing() {
        let corpus: Corpus = serde_json::from_str(
            r#"{"count": 1, "tests": [{"name": "one", "colour": "red", "in": [{"partitions": null}],
                "out": [{"partitions": [{"number": 3, "size_sectors": 8, "fs_type": "ext4"},
                                        {"blank": true, "size_sectors": 8}]}]}]}"#,
        )
        .unwrap();
        let case = &corpus.tests[0];
        assert!(case.before[0].partitions.is_empty());
        let [made, gap] = &case.after[0].partitions[..] else {
            panic!("{case:?}");
        };
        assert!(made.is_formatted() && !made.has_nodes());
        assert!(!gap.exists());
    }
}
