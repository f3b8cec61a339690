//! `storage`: directories, files and links, and the content that they are made of.

use serde::{Deserialize, Serialize};

use super::disks::{Disk, Filesystem, Luks, Raid};
use super::is_default;

/// `storage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Storage {
    #[serde(skip_serializing_if = "is_default")]
    pub directories: Vec<Directory>,
    #[serde(skip_serializing_if = "is_default")]
    pub disks: Vec<Disk>,
    #[serde(skip_serializing_if = "is_default")]
    pub files: Vec<File>,
    #[serde(skip_serializing_if = "is_default")]
    pub filesystems: Vec<Filesystem>,
    #[serde(skip_serializing_if = "is_default")]
    pub links: Vec<Link>,
    #[serde(skip_serializing_if = "is_default")]
    pub luks: Vec<Luks>,
    #[serde(skip_serializing_if = "is_default")]
    pub raid: Vec<Raid>,
}

/// A directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Directory {
    #[serde(skip_serializing_if = "is_default")]
    pub group: NodeOwner,
    #[serde(skip_serializing_if = "is_default")]
    pub overwrite: Option<bool>,
    pub path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub user: NodeOwner,
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Option<i64>,
}

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct File {
    #[serde(skip_serializing_if = "is_default")]
    pub group: NodeOwner,
    #[serde(skip_serializing_if = "is_default")]
    pub overwrite: Option<bool>,
    pub path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub user: NodeOwner,
    #[serde(skip_serializing_if = "is_default")]
    pub append: Vec<Resource>,
    #[serde(skip_serializing_if = "is_default")]
    pub contents: Resource,
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Option<i64>,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Link {
    #[serde(skip_serializing_if = "is_default")]
    pub group: NodeOwner,
    #[serde(skip_serializing_if = "is_default")]
    pub overwrite: Option<bool>,
    pub path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub user: NodeOwner,
    #[serde(skip_serializing_if = "is_default")]
    pub hard: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub target: Option<String>,
}

/// The user or group of a directory, file or link: an id or a name, not both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct NodeOwner {
    #[serde(skip_serializing_if = "is_default")]
    pub id: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
}

/// Content by reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Resource {
    #[serde(skip_serializing_if = "is_default")]
    pub compression: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub http_headers: Vec<Header>,
    #[serde(skip_serializing_if = "is_default")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub verification: Verification,
}

/// An HTTP request header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Header {
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub value: Option<String>,
}

/// What content has to hash to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Verification {
    #[serde(skip_serializing_if = "is_default")]
    pub hash: Option<String>,
}
