//! Mounting and unmounting.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

pub use nix::mount::MsFlags as Flags;

/// Why something could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mount point could not be made.
    #[error("making mount point {target}")]
    MountPoint {
        /// Where.
        target: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// mount(2) refused.
    #[error("mounting {fstype} from {device} on {target}")]
    Mount {
        /// What was to be mounted.
        device: String,
        /// Where.
        target: PathBuf,
        /// As which filesystem.
        fstype: String,
        /// Why not.
        source: Errno,
    },
    /// umount2(2) refused.
    #[error("unmounting {target}")]
    Unmount {
        /// From where.
        target: PathBuf,
        /// Why not.
        source: Errno,
    },
}

/// The filesystems that every init mounts first: type, mount point, flags, data.
const SYSTEM: [(&str, &str, MsFlags, &str); 7] = [
    ("proc", "/proc", HARDENED, ""),
    ("sysfs", "/sys", HARDENED, ""),
    ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
    ("devpts", "/dev/pts", MsFlags::MS_NOSUID, "mode=0620,gid=5"),
    ("tmpfs", "/run", MsFlags::MS_NOSUID, "mode=0755"),
    ("tmpfs", "/tmp", MsFlags::MS_NOSUID, "mode=1777"),
    ("efivarfs", "/sys/firmware/efi/efivars", HARDENED, ""),
];

const HARDENED: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Mounts proc, sys, dev, devpts, run, tmp and, on UEFI, efivars. What is mounted already stays.
///
/// Gives back what failed; the caller judges what it can do without.
pub fn mount_system() -> Vec<MountError> {
    SYSTEM
        .iter()
        .filter(|(fstype, target, ..)| *fstype != "efivarfs" || Path::new(target).is_dir())
        .filter_map(|(fstype, target, flags, data)| {
            mount(fstype, Path::new(target), fstype, *flags, data).err()
        })
        .filter(|error| !already_mounted(error))
        .collect()
}

fn already_mounted(error: &MountError) -> bool {
    matches!(
        error,
        MountError::Mount {
            source: Errno::EBUSY,
            ..
        }
    )
}

/// Mounts `source` on `target`, making the mount point where it is missing. `data` is the
/// filesystem's own option text; empty for none.
pub fn mount(
    source: &str,
    target: &Path,
    fstype: &str,
    flags: Flags,
    data: &str,
) -> Result<(), MountError> {
    if !target.is_dir() {
        std::fs::create_dir_all(target).map_err(|error| MountError::MountPoint {
            target: target.to_owned(),
            source: error,
        })?;
    }
    let data = (!data.is_empty()).then_some(data);
    nix::mount::mount(Some(source), target, Some(fstype), flags, data).map_err(|error| {
        MountError::Mount {
            device: source.to_owned(),
            target: target.to_owned(),
            fstype: fstype.to_owned(),
            source: error,
        }
    })
}

/// Changes the flags of what is mounted on `target`, as from read-only to writable.
pub fn remount(target: &Path, flags: Flags) -> Result<(), MountError> {
    let none: Option<&str> = None;
    nix::mount::mount(none, target, none, flags | MsFlags::MS_REMOUNT, none).map_err(|error| {
        MountError::Mount {
            device: "what is there".to_owned(),
            target: target.to_owned(),
            fstype: "the same".to_owned(),
            source: error,
        }
    })
}

/// Unmounts `target`; fails while it is in use.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    nix::mount::umount2(target, MntFlags::empty()).map_err(|source| MountError::Unmount {
        target: target.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn errors_name_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        let error = mount("/dev/none", folder.path(), "nofs", Flags::empty(), "").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "mounting nofs from /dev/none on {}",
                folder.path().display()
            )
        );
        assert!(error.source().is_some());
    }
}
