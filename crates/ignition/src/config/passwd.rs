//! `passwd`: users and groups.

use serde::{Deserialize, Serialize};

use super::is_default;

/// `passwd`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Passwd {
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Vec<Group>,
    #[serde(skip_serializing_if = "is_default")]
    pub users: Vec<User>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Group {
    #[serde(skip_serializing_if = "is_default")]
    pub gid: Option<i64>,
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub password_hash: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub should_exist: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub system: Option<bool>,
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct User {
    #[serde(skip_serializing_if = "is_default")]
    pub gecos: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub home_dir: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub no_create_home: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub no_log_init: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub no_user_group: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub password_hash: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub primary_group: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub ssh_authorized_keys: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub shell: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub should_exist: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub system: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub uid: Option<i64>,
}
