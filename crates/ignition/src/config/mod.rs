//! The config in the newest spec (3.6), as plain types. Every field is named as in the spec; what an
//! absent value means is said by the spec and decided in [`crate::operations`].

mod disks;
mod passwd;
mod storage;

pub use disks::{Cex, Clevis, ClevisCustom, Disk, Filesystem, Luks, Partition, Raid, Tang};
pub use passwd::{Group, Passwd, User};
pub use storage::{Directory, File, Header, Link, NodeOwner, Resource, Storage, Verification};

use serde::{Deserialize, Serialize};

/// The newest spec version, which every config is brought to.
pub const NEWEST_VERSION: &str = "3.6.0";

/// A config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Config {
    pub ignition: Ignition,
    #[serde(skip_serializing_if = "is_default")]
    pub kernel_arguments: KernelArguments,
    #[serde(skip_serializing_if = "is_default")]
    pub passwd: Passwd,
    #[serde(skip_serializing_if = "is_default")]
    pub storage: Storage,
    #[serde(skip_serializing_if = "is_default")]
    pub systemd: Systemd,
}

impl Config {
    /// A config that asks for nothing, in the newest spec.
    pub fn empty() -> Self {
        let mut config = Self::default();
        config.ignition.version = NEWEST_VERSION.to_owned();
        config
    }
}

/// `ignition`: the version, other configs, and how things are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Ignition {
    #[serde(skip_serializing_if = "is_default")]
    pub config: References,
    #[serde(skip_serializing_if = "is_default")]
    pub proxy: Proxy,
    #[serde(skip_serializing_if = "is_default")]
    pub security: Security,
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    pub version: String,
}

/// `ignition.config`: configs to merge in or to be replaced by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct References {
    #[serde(skip_serializing_if = "is_default")]
    pub merge: Vec<Resource>,
    #[serde(skip_serializing_if = "is_default")]
    pub replace: Resource,
}

/// `ignition.proxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Proxy {
    #[serde(skip_serializing_if = "is_default")]
    pub http_proxy: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub https_proxy: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub no_proxy: Vec<String>,
}

/// `ignition.security`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Security {
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Tls,
}

/// `ignition.security.tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Tls {
    #[serde(skip_serializing_if = "is_default")]
    pub certificate_authorities: Vec<Resource>,
}

/// `ignition.timeouts`, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Timeouts {
    #[serde(skip_serializing_if = "is_default")]
    pub http_response_headers: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub http_total: Option<i64>,
}

/// `kernelArguments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct KernelArguments {
    #[serde(skip_serializing_if = "is_default")]
    pub should_exist: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub should_not_exist: Vec<String>,
}

/// `systemd`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Systemd {
    #[serde(skip_serializing_if = "is_default")]
    pub units: Vec<Unit>,
}

/// A unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Unit {
    #[serde(skip_serializing_if = "is_default")]
    pub contents: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub dropins: Vec<Dropin>,
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub mask: Option<bool>,
    pub name: String,
}

/// A unit's drop-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Dropin {
    #[serde(skip_serializing_if = "is_default")]
    pub contents: Option<String>,
    pub name: String,
}

/// Whether a value says nothing and is left out of the JSON.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
