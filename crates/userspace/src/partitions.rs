//! Block devices: their size, and partitions that the kernel is told of by ioctl (linux/blkpg.h).
//!
//! While an installation is under way the disk's own table is still withheld, so partitions are
//! announced one by one.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// Why a block device did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[error("{action} on {disk}")]
pub struct BlockError {
    /// What was asked, as `adding partition 3`.
    pub action: String,
    /// Of which device.
    pub disk: String,
    /// Why not.
    pub source: Errno,
}

const BLKPG: libc::c_ulong = 0x1269;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKDISCARD: libc::c_ulong = 0x1277;
const BLKZEROOUT: libc::c_ulong = 0x127f;
const ADD_PARTITION: libc::c_int = 1;
const DELETE_PARTITION: libc::c_int = 2;

#[repr(C)]
struct BlkpgArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut BlkpgPartition,
}

#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device: [u8; 64],
    volume: [u8; 64],
}

/// Tells the kernel that partition `number` of `disk` covers `length` bytes from byte `start`.
/// `name` is the disk's own, for errors.
pub fn add(
    disk: &File,
    name: &str,
    number: u32,
    start: u64,
    length: u64,
) -> Result<(), BlockError> {
    blkpg(disk, ADD_PARTITION, number, start, length)
        .map_err(|source| BlockError::new(format!("adding partition {number}"), name, source))
}

/// Lets the kernel forget partition `number`; fails while it is mounted.
pub fn delete(disk: &File, name: &str, number: u32) -> Result<(), BlockError> {
    blkpg(disk, DELETE_PARTITION, number, 0, 0)
        .map_err(|source| BlockError::new(format!("deleting partition {number}"), name, source))
}

/// Bytes of a block device, or of the regular file that stands in for one.
pub fn size(disk: &File, name: &str) -> Result<u64, BlockError> {
    let mut bytes = 0u64;
    // SAFETY: BLKGETSIZE64 writes one u64 to the address given.
    let outcome = unsafe { libc::ioctl(disk.as_raw_fd(), BLKGETSIZE64 as _, &raw mut bytes) };
    match Errno::result(outcome) {
        Ok(_) => Ok(bytes),
        Err(Errno::ENOTTY) => disk
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|_| BlockError::new("reading the size", name, Errno::last())),
        Err(source) => Err(BlockError::new("reading the size", name, source)),
    }
}

/// Logical sector size in bytes; 512 for a regular file.
pub fn sector_size(disk: &File, name: &str) -> Result<u32, BlockError> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int to the address given.
    let outcome = unsafe { libc::ioctl(disk.as_raw_fd(), BLKSSZGET as _, &raw mut bytes) };
    match Errno::result(outcome) {
        Ok(_) => Ok(bytes as u32),
        Err(Errno::ENOTTY) => Ok(512),
        Err(source) => Err(BlockError::new("reading the sector size", name, source)),
    }
}

/// Lets the device drop `length` bytes from `start`. What is read there afterwards is undefined.
pub fn discard(disk: &File, name: &str, start: u64, length: u64) -> Result<(), BlockError> {
    range(disk, BLKDISCARD, start, length)
        .map_err(|source| BlockError::new("discarding", name, source))
}

/// Zeroes `length` bytes from `start` through the device, bypassing the page cache.
pub fn zero_out(disk: &File, name: &str, start: u64, length: u64) -> Result<(), BlockError> {
    range(disk, BLKZEROOUT, start, length)
        .map_err(|source| BlockError::new("zeroing", name, source))
}

impl BlockError {
    fn new(action: impl Into<String>, disk: &str, source: Errno) -> Self {
        Self {
            action: action.into(),
            disk: disk.to_owned(),
            source,
        }
    }
}

fn range(disk: &File, request: libc::c_ulong, start: u64, length: u64) -> Result<(), Errno> {
    let range = [start, length];
    // SAFETY: both requests read two u64 from the address given.
    let outcome = unsafe { libc::ioctl(disk.as_raw_fd(), request as _, range.as_ptr()) };
    Errno::result(outcome).map(drop)
}

fn blkpg(
    disk: &File,
    operation: libc::c_int,
    number: u32,
    start: u64,
    length: u64,
) -> Result<(), Errno> {
    let mut partition = BlkpgPartition {
        start: start as libc::c_longlong,
        length: length as libc::c_longlong,
        number: number as libc::c_int,
        device: [0; 64],
        volume: [0; 64],
    };
    let mut argument = BlkpgArgument {
        operation,
        flags: 0,
        length: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: the argument and the partition that it points to live over the call, in the layout
    // of linux/blkpg.h.
    let outcome = unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG as _, &raw mut argument) };
    Errno::result(outcome).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_stands_in_for_a_disk() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5 << 20).unwrap();
        assert_eq!(size(&file, "disk").unwrap(), 5 << 20);
        assert_eq!(sector_size(&file, "disk").unwrap(), 512);
        let error = add(&file, "disk", 3, 1 << 20, 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "adding partition 3 on disk");
    }
}
