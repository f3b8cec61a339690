//! What an executor obeys: a config as an ordered list, every choice made.
//!
//! [`Stage`] says when: the disks stage works on devices, the mount and files stages in the target
//! root. [`disks`] has the types of the first; those of the files stage are here.
//!
//! The executor carries the list out from first to last and stops at the first failure. It finds
//! everything it needs in the operation itself and in the target root: no defaults to look up, no
//! order to choose.
//!
//! **Paths** are absolute, clean (no `.`, `..`, doubled or trailing slashes) and lie inside the
//! target root. They are resolved *in* that root (`openat2` with `RESOLVE_IN_ROOT`): a symbolic link
//! in any component but the last is followed and cannot lead out; the last component is never
//! followed. Leading directories that are missing are made with mode 0755, owner 0:0.
//!
//! **Owners** ([`Owner`]) given by name are looked up in the target's own `/etc/passwd` and
//! `/etc/group`, after the users and groups of the list have been made. An unknown name is a failure.
//!
//! **Modes** are exact: set by `fchmod` after the owner (a `chown` clears setuid), whatever the umask.

pub(crate) mod describe;
pub mod disks;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use disks::{Array, Device, Filesystem, Mount, Table, Volume};

/// A machine's whole work: what the appliance serves to the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operations {
    /// How content is fetched.
    #[serde(default)]
    pub fetching: Fetching,
    /// What is done, in order.
    pub operations: Vec<Operation>,
}

impl Operations {
    /// The operations of one stage, in order.
    pub fn of(&self, stage: Stage) -> impl Iterator<Item = &Operation> {
        let is_of = move |operation: &&Operation| operation.stage() == stage;
        self.operations.iter().filter(is_of)
    }

    /// The nodes of all disks that the disks stage works on, whole or in part.
    pub fn disks(&self) -> BTreeSet<String> {
        let devices = self.operations.iter().flat_map(Operation::devices);
        devices
            .filter_map(|device| device.disk().map(str::to_owned))
            .collect()
    }

    /// The parts of the toolbox that carrying them out needs.
    pub fn toolbox(&self) -> BTreeSet<Segment> {
        self.operations
            .iter()
            .flat_map(Operation::toolbox)
            .collect()
    }
}

/// How content is fetched (`ignition.timeouts`, `.proxy`, `.security`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetching {
    /// Certificate authorities beside the usual ones, PEM, fetched already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// For `http` URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// For `https` URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    /// Hosts, domains, addresses and networks that are asked directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
    /// Seconds until an answer's headers are there; 0 is no limit.
    pub response_headers: u32,
    /// Seconds for a whole fetch, its repetitions included; 0 is no limit.
    #[serde(default)]
    pub total: u32,
}

impl Default for Fetching {
    fn default() -> Self {
        Self {
            authorities: Vec::new(),
            http_proxy: None,
            https_proxy: None,
            no_proxy: Vec::new(),
            response_headers: 10,
            total: 0,
        }
    }
}

/// When an operation is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// On devices, before the target root is mounted.
    Disks,
    /// In the target root, before anything is written there.
    Mount,
    /// In the target root.
    Files,
}

/// A part of the toolbox: programs that the agent does not carry and fetches where they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segment {
    /// mkfs of every kind, mdadm, cryptsetup, blkid, wipefs.
    Storage,
    /// clevis with what its Tang and TPM2 pins run.
    Clevis,
    /// Fetches over TLS.
    Fetch,
}

impl Segment {
    /// As in the toolbox's index.
    pub fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Clevis => "clevis",
            Self::Fetch => "fetch",
        }
    }
}

/// One step. In a list they come in this order: tables, arrays, volumes, filesystems; mounts by
/// depth; kernel arguments, groups, users, directories with files and symbolic links by depth of
/// their path, hard links, then unit by unit its drop-ins, its file and its mask, the preset lines,
/// the volumes' keys, the result and the relabelling last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "operation",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Operation {
    /// Write a partition table. See [`Table`].
    WriteTable(Table),
    /// Create an array. See [`Array`].
    CreateArray(Array),
    /// Make, or keep, and open an encrypted volume. See [`Volume`].
    OpenVolume(Volume),
    /// Make or keep a filesystem. See [`Filesystem`].
    MakeFilesystem(Filesystem),
    /// Mount a filesystem in the target root. See [`Mount`].
    Mount(Mount),
    /// Make the kernel command line of every boot entry (GRUB configuration and Boot Loader
    /// Specification entries) contain and not contain arguments. Each string may hold several
    /// arguments separated by spaces; it is matched as a whole. First every occurrence of each of
    /// `should_not_exist` is removed, then each of `should_exist` that is missing is appended.
    KernelArguments {
        /// Appended where missing, in order.
        should_exist: Vec<String>,
        /// Removed wherever they stand.
        should_not_exist: Vec<String>,
    },
    /// Create a group as `groupadd` does. A group of that name that exists already is a failure.
    CreateGroup(Group),
    /// Delete a group as `groupdel` does (also from gshadow). Absent: nothing to do. The primary
    /// group of a remaining user: a failure.
    DeleteGroup {
        /// Its name.
        name: String,
    },
    /// Create a user as `useradd` does, or change the existing one as `usermod` does.
    EnsureUser(User),
    /// Delete a user as `userdel --remove` does: its entries in passwd, shadow and the groups, its
    /// own group if that has no other member, its home directory and its mail. Absent: nothing to do.
    DeleteUser {
        /// Its name.
        name: String,
    },
    /// Write a user's keys, one a line, to `~/.ssh/authorized_keys.d/ignition` (mode 0600),
    /// replacing the file. The home is the one in the target's passwd; `.ssh` and
    /// `authorized_keys.d` are made with mode 0700. What is made belongs to the user and its primary
    /// group; what exists keeps its mode and owner.
    AuthorizeKeys {
        /// The user's name.
        user: String,
        /// The keys, in order, without line ends.
        keys: Vec<String>,
        /// Write `~/.ssh/authorized_keys` itself instead, for a system whose sshd does not read the
        /// fragment's folder.
        #[serde(default)]
        whole_file: bool,
    },
    /// Make a directory, or adopt the one that is there. See [`Directory`].
    Directory(Directory),
    /// Write, append to or adopt a file. See [`File`].
    File(File),
    /// Make a symbolic link. See [`Symlink`].
    Symlink(Symlink),
    /// Make a hard link. See [`HardLink`].
    HardLink(HardLink),
    /// Write a unit or a drop-in with mode 0644 and owner 0:0. A file or link at `path` gives way to
    /// it; a directory there is a failure.
    UnitFile {
        /// `/etc/systemd/system/NAME`, or `…/NAME.d/NAME` for a drop-in.
        path: String,
        /// The whole text.
        contents: String,
    },
    /// Mask a unit: remove whatever stands at `path` (a directory with all it holds; a link itself,
    /// not its target) and put a symbolic link to `/dev/null` there, owner 0:0.
    Mask {
        /// `/etc/systemd/system/NAME`.
        path: String,
    },
    /// Unmask a unit: if `path` is a symbolic link whose text is exactly `/dev/null`, remove it;
    /// anything else, or nothing, stays as it is.
    Unmask {
        /// `/etc/systemd/system/NAME`.
        path: String,
    },
    /// Append `line` and a line end to `/etc/systemd/system-preset/20-ignition.preset`, which is made
    /// with mode 0644 and its directory with 0755 if missing.
    ///
    /// If `only_if_enabled` is not empty, the line is written only when at least one of these units
    /// is enabled now, that is: a symbolic link of that name exists in one of the
    /// `/etc/systemd/system/*.wants`, `*.requires` or `*.upholds` directories, or a link anywhere
    /// directly in `/etc/systemd/system` whose target's file name is the unit. These links are then
    /// removed.
    PresetLine {
        /// `enable NAME` or `disable NAME`, instances after the template's name.
        line: String,
        /// Unit names whose enablement links decide and are removed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only_if_enabled: Vec<String>,
    },
    /// For each opened volume of these names, in order: append its line to `/etc/crypttab` (made with
    /// mode 0600), `NAME UUID=… KEY OPTIONS`. KEY is `/etc/luks/NAME` (0600, its directory 0700), a
    /// copy of the volume's key, or `none` where only clevis opens it; OPTIONS is `luks`, with `_netdev`
    /// where clevis needs the network.
    PersistVolumes {
        /// The volumes, as they were opened.
        volumes: Vec<Volume>,
    },
    /// Write `/etc/.ignition-result.json` (0644): `provisioningBootID`, `provisioningDate` (RFC 3339,
    /// UTC), `userConfigProvided`; one that is there already becomes `previousReport`.
    WriteResult {
        /// Whether the config asked for anything at all.
        user_config_provided: bool,
    },
    /// Give the SELinux label of the target's own policy to those of these paths that are there, and to
    /// what is below them, by the target's own `setfiles`; nothing to do where `/etc/selinux/config` names no policy that is there.
    Relabel {
        /// Absolute paths.
        paths: Vec<String>,
    },
}

impl Operation {
    /// When it is carried out.
    pub fn stage(&self) -> Stage {
        match self {
            Self::WriteTable(_)
            | Self::CreateArray(_)
            | Self::OpenVolume(_)
            | Self::MakeFilesystem(_) => Stage::Disks,
            Self::Mount(_) => Stage::Mount,
            _ => Stage::Files,
        }
    }

    /// The devices that it works on.
    fn devices(&self) -> Vec<Device> {
        match self {
            Self::WriteTable(table) => vec![Device::Disk(table.disk.clone())],
            Self::CreateArray(array) => array.devices.clone(),
            Self::OpenVolume(volume) => vec![volume.device.clone()],
            Self::MakeFilesystem(filesystem) => vec![filesystem.device.clone()],
            Self::Mount(mount) => vec![mount.device.clone()],
            _ => Vec::new(),
        }
    }

    /// The parts of the toolbox that it runs.
    pub fn toolbox(&self) -> BTreeSet<Segment> {
        let mut segments: BTreeSet<_> = self.resources().filter_map(Resource::toolbox).collect();
        match self {
            Self::WriteTable(table) if !table.erase.is_empty() || table.wipe => {
                segments.insert(Segment::Storage);
            }
            Self::CreateArray(_) | Self::MakeFilesystem(_) | Self::PersistVolumes { .. } => {
                segments.insert(Segment::Storage);
            }
            Self::OpenVolume(volume) => {
                segments.insert(Segment::Storage);
                segments.extend(volume.clevis.as_ref().map(|_| Segment::Clevis));
            }
            _ => {}
        }
        segments
    }

    fn resources(&self) -> impl Iterator<Item = &Resource> {
        let (first, more): (_, &[Resource]) = match self {
            Self::OpenVolume(volume) => (volume.key.as_ref(), &[]),
            Self::File(file) => (file.contents.as_ref(), &file.append),
            _ => (None, &[]),
        };
        first.into_iter().chain(more)
    }

    /// What the operation touches, for logs: a path, a user's or group's name.
    pub fn subject(&self) -> &str {
        match self {
            Self::WriteTable(table) => &table.disk,
            Self::CreateArray(array) => &array.name,
            Self::OpenVolume(volume) => &volume.name,
            Self::MakeFilesystem(filesystem) => filesystem.format.name(),
            Self::Mount(mount) => &mount.path,
            Self::PersistVolumes { .. } => "/etc/crypttab",
            Self::WriteResult { .. } => "/etc/.ignition-result.json",
            Self::Relabel { .. } => "SELinux labels",
            Self::KernelArguments { .. } => "kernel arguments",
            Self::CreateGroup(group) => &group.name,
            Self::DeleteGroup { name } | Self::DeleteUser { name } => name,
            Self::EnsureUser(user) => &user.name,
            Self::AuthorizeKeys { user, .. } => user,
            Self::Directory(directory) => &directory.path,
            Self::File(file) => &file.path,
            Self::Symlink(link) => &link.path,
            Self::HardLink(link) => &link.path,
            Self::UnitFile { path, .. } | Self::Mask { path } | Self::Unmask { path } => path,
            Self::PresetLine { line, .. } => line,
        }
    }
}

/// A group to create, in `/etc/group` and `/etc/gshadow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number; else the next free one (see [`Group::system`]). Taken already: a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// For gshadow, as it is to stand there: a hash, or `*`.
    pub password_hash: String,
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
/// `groups`, when not empty, replaces the supplementary groups; `create_home`, `no_user_group`,
/// `system` and `no_log_init` mean nothing.
///
/// In both cases: the home directory, where it exists, ends with the owner that the user has.
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
/// 5. `mode` is set where given; a file that was there keeps its own where `None`.
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
/// itself; `None` is 0.
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

/// Content: where it comes from, how it is packed, what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Where it comes from.
    pub source: Source,
    /// How the bytes of the source are packed.
    #[serde(default)]
    pub compression: Compression,
    /// What the bytes, **after** decompression, have to hash to. A mismatch is a failure and leaves
    /// nothing at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

impl Resource {
    /// The part of the toolbox that fetching it needs.
    fn toolbox(&self) -> Option<Segment> {
        let is_encrypted = |url: &str| {
            url.split_once(':')
                .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
        };
        match &self.source {
            Source::Url { url, .. } if is_encrypted(url) => Some(Segment::Fetch),
            _ => None,
        }
    }
}

/// Where content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In the operation itself.
    Inline(#[serde(with = "base64_text")] Vec<u8>),
    /// Fetched over HTTP, HTTPS or TFTP, as [`Fetching`] says. A status of 500 and above and a failed
    /// connection are tried again (after 100 ms, doubling up to 5 s); 400 to 499 is final.
    Url {
        /// Absolute, scheme `http`, `https` or `tftp`.
        url: String,
        /// Request headers, in order; dropped when a redirect leads elsewhere.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
}

/// How content is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952); several members one after another are one stream.
    Gzip,
}

/// A hash that content has to have: lower-case hexadecimal of the full length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// SHA-256, 64 digits.
    Sha256(String),
    /// SHA-512, 128 digits.
    Sha512(String),
}

/// Bytes as standard base64 with padding, so that operations travel as JSON.
mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
