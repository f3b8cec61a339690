//! What the files stage makes: groups, users, directories, files and links.

use serde::{Deserialize, Serialize};

use super::Resource;

/// A group to create or change, in `/etc/group` and `/etc/gshadow`.
///
/// **Existing group**: `None` leaves what is there, and `system` means nothing. Users whose primary
/// group it is follow its new number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number; else the next free one (see [`Group::system`]). Taken already: a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// For gshadow, as it is to stand there. A new group without one gets `*`: nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Number from `SYS_GID_MIN`–`SYS_GID_MAX` of the target's login.defs (101–999, downwards)
    /// rather than `GID_MIN`–`GID_MAX` (1000–60000, upwards).
    #[serde(default)]
    pub system: bool,
}

/// A user to create or change, in `/etc/passwd`, `/etc/shadow` and the group files.
///
/// **New user**: every `None` takes the value of useradd (the target's `/etc/default/useradd` and
/// `/etc/login.defs`, `/home/NAME`, `/bin/sh` where these are silent). `create_home` makes the home
/// from `/etc/skel` with mode `HOME_MODE` (0755 without one), owned by the user. Without
/// `primary_group`, a group of the user's name is made unless `no_user_group` is set.
///
/// **Existing user**: `None` leaves what is there; `home` moves the old home to the new place;
/// `groups`, when not empty, replaces the supplementary groups; what belonged to an old `uid` or
/// `primary_group` in the home belongs to the new one; `create_home`, `no_user_group`,
/// `system` and `no_log_init` mean nothing.
///
/// A home that is there before its user keeps its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Login name.
    pub name: String,
    /// User number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// For shadow, as it is to stand there: a hash or `*`. `None`: `*` for a new user, unchanged for
    /// an existing one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// The comment field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gecos: Option<String>,
    /// Home directory, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Whether a new user gets a home directory.
    pub create_home: bool,
    /// Primary group, a name or a number in digits. It has to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_group: Option<String>,
    /// Supplementary groups, names or numbers. They have to exist.
    #[serde(default)]
    pub groups: Vec<String>,
    /// A new user gets no group of its own name (its primary group is then useradd's default, 100).
    #[serde(default)]
    pub no_user_group: bool,
    /// Login shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// A new user's number (and its own group's) comes from `SYS_UID_MIN`–`SYS_UID_MAX` (101–999,
    /// downwards). `create_home` is heeded all the same.
    #[serde(default)]
    pub system: bool,
    /// A new user is not entered into lastlog and faillog.
    #[serde(default)]
    pub no_log_init: bool,
}

/// A user or group that owns something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// By number.
    Id(u32),
    /// By name in the target's passwd or group file.
    Name(String),
}

/// A directory.
///
/// Present as a directory: it is kept with its content; `mode`, `user`, `group` are set where given
/// and stay where `None`. With `overwrite`, whatever is there is removed first (recursively).
/// Present as anything else (a link too) without `overwrite`: a failure. Absent: made; `None` then
/// means 0755 and 0:0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Where.
    pub path: String,
    /// Permission bits, setuid, setgid and sticky included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Owner>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Owner>,
    /// Remove what is there first.
    #[serde(default)]
    pub overwrite: bool,
}

/// A file.
///
/// In this order:
/// 1. With `overwrite` (which always comes with `contents`), whatever is at `path` is removed first,
///    recursively. Without it, something other than a regular file there (a link too) is a failure,
///    and so is a regular file when `contents` is given.
/// 2. `contents`, or nothing when absent and the file is missing, is written to a temporary file in
///    the same directory (0644, 0:0), verified, flushed and renamed into place. A file that exists
///    is kept when `contents` is absent.
/// 3. Each of `append` is verified whole, then appended in order.
/// 4. `user` and `group` are set where given; a file that was there keeps its own where `None`.
/// 5. `mode` is set where given; a file that was there keeps its own where `None`, without the set-id
///    bits that chown(2) takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Where.
    pub path: String,
    /// The whole content, if it is to be (re)written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Resource>,
    /// Appended after that, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append: Vec<Resource>,
    /// Permission bits, setuid, setgid and sticky included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Owner>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Owner>,
    /// Remove what is there first.
    #[serde(default)]
    pub overwrite: bool,
}

/// A symbolic link.
///
/// With `overwrite`, whatever is at `path` is removed first (recursively). Without it: a symbolic
/// link with the same target (both compared clean: no `.`, `..` or doubled slashes) is kept as it
/// is, owner included; anything else there is a failure. The owner of a new link is set on the link
/// itself; `None` is that of what it leads to by relative links alone, or 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symlink {
    /// Where.
    pub path: String,
    /// The link's text, as it is: absolute or relative, need not exist.
    pub target: String,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Owner>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Owner>,
    /// Remove what is there first.
    #[serde(default)]
    pub overwrite: bool,
}

/// A hard link.
///
/// `target` is an absolute path in the target root, resolved like every path, and has to exist. With
/// `overwrite`, whatever is at `path` is removed first (recursively). Without it: the same inode at
/// `path` already is kept, anything else there is a failure. Owner and mode are the target's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HardLink {
    /// Where.
    pub path: String,
    /// The file that gets a second name.
    pub target: String,
    /// Remove what is there first.
    #[serde(default)]
    pub overwrite: bool,
}
