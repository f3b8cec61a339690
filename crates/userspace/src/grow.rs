//! Growing a mounted filesystem to the size of its device, by the kernel's own means.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Why a filesystem did not grow.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// The mount point cannot be opened.
    #[error("opening {0}")]
    Open(PathBuf, #[source] std::io::Error),
    /// The kernel refused.
    #[error("growing {fstype} on {target} to {bytes} bytes")]
    Refused {
        /// Kind of filesystem.
        fstype: &'static str,
        /// Its mount point.
        target: PathBuf,
        /// The wanted size.
        bytes: u64,
        /// Why not.
        source: Errno,
    },
}

/// `_IOW('f', 16, __u64)` of fs/ext4/ext4.h.
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;
/// `_IOR('X', 100, struct xfs_fsop_geom_v1)` of fs/xfs/libxfs/xfs_fs.h.
const XFS_IOC_FSGEOMETRY_V1: libc::c_ulong = 0x8070_5864;
/// `_IOW('X', 110, struct xfs_growfs_data)`.
const XFS_IOC_FSGROWFSDATA: libc::c_ulong = 0x4010_586e;
/// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)` of linux/btrfs.h.
const BTRFS_IOC_RESIZE: libc::c_ulong = 0x5000_9403;

/// Lets the ext4 mounted on `target` fill a device of `bytes`.
pub fn ext4(target: &Path, bytes: u64) -> Result<(), GrowError> {
    let file = open(target)?;
    let refused = |source| GrowError::Refused {
        fstype: "ext4",
        target: target.to_owned(),
        bytes,
        source,
    };
    let block_size = nix::sys::statvfs::fstatvfs(&file)
        .map_err(refused)?
        .block_size();
    let blocks: u64 = bytes / block_size;
    // SAFETY: the request reads one u64 from the address given.
    let outcome =
        unsafe { libc::ioctl(file.as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw const blocks) };
    Errno::result(outcome).map(drop).map_err(refused)
}

/// Lets the xfs mounted on `target` fill a device of `bytes`.
pub fn xfs(target: &Path, bytes: u64) -> Result<(), GrowError> {
    #[repr(C)]
    struct Growth {
        blocks: u64,
        inode_percent: u32,
    }
    let file = open(target)?;
    let refused = |source| GrowError::Refused {
        fstype: "xfs",
        target: target.to_owned(),
        bytes,
        source,
    };
    // struct xfs_fsop_geom_v1: eight u32, of which the first is the block size and the eighth the
    // share of inodes, then the rest of its 112 bytes.
    let mut geometry = [0u32; 28];
    // SAFETY: the request writes 112 bytes to the address given.
    let outcome = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            XFS_IOC_FSGEOMETRY_V1 as _,
            geometry.as_mut_ptr(),
        )
    };
    Errno::result(outcome).map_err(refused)?;
    let block_size = u64::from(geometry[0].max(1));
    let growth = Growth {
        blocks: bytes / block_size,
        inode_percent: geometry[7],
    };
    // SAFETY: the request reads a struct xfs_growfs_data from the address given.
    let outcome = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            XFS_IOC_FSGROWFSDATA as _,
            &raw const growth,
        )
    };
    Errno::result(outcome).map(drop).map_err(refused)
}

/// Lets the btrfs of one device that is mounted on `target` fill that device of `bytes`.
pub fn btrfs(target: &Path, bytes: u64) -> Result<(), GrowError> {
    let file = open(target)?;
    // struct btrfs_ioctl_vol_args: a descriptor that is not used here, then the name.
    let mut arguments = [0u8; 4096];
    arguments[8..11].copy_from_slice(b"max");
    // SAFETY: the request reads 4096 bytes from the address given.
    let outcome =
        unsafe { libc::ioctl(file.as_raw_fd(), BTRFS_IOC_RESIZE as _, arguments.as_ptr()) };
    Errno::result(outcome)
        .map(drop)
        .map_err(|source| GrowError::Refused {
            fstype: "btrfs",
            target: target.to_owned(),
            bytes,
            source,
        })
}

fn open(target: &Path) -> Result<File, GrowError> {
    File::open(target).map_err(|error| GrowError::Open(target.to_owned(), error))
}
