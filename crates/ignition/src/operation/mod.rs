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

mod content;
pub(crate) mod describe;
pub mod disks;
mod files;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use content::{Compression, Fetching, Resource, Source, Verification};
pub use files::{Directory, File, Group, HardLink, Owner, Symlink, User};

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
        let mut segments: BTreeSet<_> = self
            .operations
            .iter()
            .flat_map(Operation::toolbox)
            .collect();
        let mut resources = self.operations.iter().flat_map(Operation::resources);
        if self.fetching.has_encrypted_proxy() && resources.any(Resource::is_plain_http) {
            segments.insert(Segment::Fetch);
        }
        segments
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
    /// Create a group as `groupadd` does, or change the existing one as `groupmod` does.
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
