//! The disk under installation. Its first MiB and its end are withheld in memory, so that nothing
//! boots from it before [`TargetDisk::commit`], whenever the power goes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use hardway_model::receipt::{self, Receipt};
use hardway_userspace::partitions;

/// Withheld at the beginning, and at first at the end, too.
pub const WITHHELD: u64 = 1 << 20;
/// Dirty pages are sent to the device in stretches of this length, so that a slow disk never has
/// the whole memory to write.
const STRETCH: u64 = 16 << 20;

/// Where bytes go: a block device, or a recorder in tests.
pub trait Device {
    /// Bytes.
    fn size(&self) -> u64;
    /// Logical sector size in bytes.
    fn sector_size(&self) -> u32;
    /// Fills `bytes` from `offset`.
    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes `bytes` at `offset`.
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes `length` bytes from `offset` zero.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()>;
    /// Returns when everything written is on the medium.
    fn sync(&mut self) -> io::Result<()>;
    /// Has what follows be read from the medium, and not from memory. After [`Device::sync`].
    fn forget(&mut self) -> io::Result<()>;
}

/// A disk with its withheld ends.
pub struct TargetDisk<D> {
    device: D,
    head: Vec<u8>,
    /// What is withheld from `tail_start` to the end of the disk.
    tail: Vec<u8>,
    tail_start: u64,
}

impl<D: Device> TargetDisk<D> {
    /// Takes possession: `receipt` first, so that the disk is known as ours from the first write on,
    /// then zeroes all else in its first and last MiB.
    pub fn claim(mut device: D, receipt: &Receipt) -> Result<Self> {
        let size = device.size();
        if size < 4 * WITHHELD {
            bail!("a disk of {size} bytes is too small for a system");
        }
        let record = receipt.encode().context("encoding the receipt")?;
        let after = receipt::OFFSET + receipt::LENGTH as u64;
        let claim = |device: &mut D| {
            device.write(&record, receipt::OFFSET)?;
            device.sync()?;
            device.zero(0, receipt::OFFSET)?;
            device.zero(after, WITHHELD - after)?;
            device.zero(size - WITHHELD, WITHHELD)?;
            device.sync()
        };
        claim(&mut device).context("clearing the ends of the disk")?;
        Ok(Self {
            device,
            head: vec![0; WITHHELD as usize],
            tail: vec![0; WITHHELD as usize],
            tail_start: size - WITHHELD,
        })
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.device.size()
    }

    /// Logical sector size in bytes.
    pub fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    /// The device behind.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Puts bytes where they will stand at last: in memory at the withheld ends, on the device
    /// between them.
    pub fn write(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        if offset + bytes.len() as u64 > self.size() {
            bail!("the image is larger than the disk ({} bytes)", self.size());
        }
        while !bytes.is_empty() {
            let (place, end) = self.place(offset);
            let (now, later) = bytes.split_at(bytes.len().min((end - offset) as usize));
            match place {
                Place::Head => copy(&mut self.head, offset, now),
                Place::Tail => copy(&mut self.tail, offset - self.tail_start, now),
                Place::Device if now.iter().all(|byte| *byte == 0) => self
                    .device
                    .zero(offset, now.len() as u64)
                    .with_context(|| format!("zeroing {} bytes at {offset}", now.len()))?,
                Place::Device => self
                    .device
                    .write(now, offset)
                    .with_context(|| format!("writing {} bytes at {offset}", now.len()))?,
            }
            offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Reads what [`TargetDisk::write`] put there.
    pub fn read(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !bytes.is_empty() {
            let (place, end) = self.place(offset);
            let length = bytes.len().min((end - offset) as usize);
            let (now, later) = bytes.split_at_mut(length);
            match place {
                Place::Head => now.copy_from_slice(&self.head[offset as usize..][..length]),
                Place::Tail => {
                    now.copy_from_slice(&self.tail[(offset - self.tail_start) as usize..][..length])
                }
                Place::Device => self.device.read(now, offset)?,
            }
            offset += length as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Whether nothing of the image stands where the receipt will.
    pub fn has_room_for_receipt(&self) -> bool {
        let at = receipt::OFFSET as usize;
        self.head[at..at + receipt::LENGTH]
            .iter()
            .all(|byte| *byte == 0)
    }

    /// Gives to the device what is withheld before `end`: the last partition reaches there, and
    /// only the copy of the table behind it is still to be kept back.
    pub fn release_tail(&mut self, end: u64) -> Result<()> {
        let Some(length) = end.min(self.size()).checked_sub(self.tail_start) else {
            return Ok(());
        };
        let kept = self.tail.split_off(length as usize);
        let released = std::mem::replace(&mut self.tail, kept);
        self.device
            .write(&released, self.tail_start)
            .context("writing the end of the last partition")?;
        self.tail_start += length;
        Ok(())
    }

    /// Waits until everything between the withheld ends is on the medium.
    pub fn sync(&mut self) -> Result<()> {
        self.device.sync().context("flushing the disk")
    }

    /// Has what follows be read from the medium.
    pub fn forget(&mut self) -> io::Result<()> {
        self.device.forget()
    }

    /// Makes the disk boot: the first MiB with the table's entries, then the receipt, then the table's
    /// header, then the sector that every firmware begins with, then the copy of the table, each on the
    /// medium before the next. A sector is written or not; of several, any may be, when the power goes.
    pub fn commit(&mut self, receipt: &Receipt) -> Result<()> {
        let record = receipt.encode().context("encoding the receipt")?;
        copy(&mut self.head, receipt::OFFSET, &record);
        let sector = self.sector_size() as usize;
        let entries = 2 * sector;
        let start = receipt::OFFSET as usize;
        let end = start + receipt::LENGTH;
        let (device, head) = (&mut self.device, &self.head);
        let mut put = |what: &str, offset: u64, bytes: &[u8]| {
            let written = device.write(bytes, offset).and_then(|()| device.sync());
            written.with_context(|| format!("writing {what}"))
        };
        // That of stage `writing` stays for now.
        put("the first MiB", entries as u64, &head[entries..start])?;
        put("the end of the first MiB", end as u64, &head[end..])?;
        put("the receipt", receipt::OFFSET, &head[start..end])?;
        put("the partition table", sector as u64, &head[sector..entries])?;
        put("the boot sector", 0, &head[..sector])?;
        put(
            "the copy of the partition table",
            self.tail_start,
            &self.tail,
        )
    }

    /// Where a byte goes, and where that stretch ends.
    fn place(&self, offset: u64) -> (Place, u64) {
        if offset < WITHHELD {
            (Place::Head, WITHHELD)
        } else if offset < self.tail_start {
            (Place::Device, self.tail_start)
        } else {
            (Place::Tail, self.size())
        }
    }
}

/// The disk as it is to become, for whoever takes a device.
impl<D: Device> Device for TargetDisk<D> {
    fn size(&self) -> u64 {
        self.size()
    }

    fn sector_size(&self) -> u32 {
        self.sector_size()
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read(bytes, offset)
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset).map_err(io::Error::other)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0; length.min(WITHHELD) as usize];
        let mut done = 0;
        while done < length {
            let now = (length - done).min(WITHHELD);
            self.write(&zeros[..now as usize], offset + done)
                .map_err(io::Error::other)?;
            done += now;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.device.sync()
    }

    fn forget(&mut self) -> io::Result<()> {
        self.device.forget()
    }
}

enum Place {
    Head,
    Device,
    Tail,
}

fn copy(target: &mut [u8], offset: u64, bytes: &[u8]) {
    target[offset as usize..][..bytes.len()].copy_from_slice(bytes);
}

/// A block device of the kernel, or a regular file.
pub struct BlockDevice {
    file: File,
    path: String,
    size: u64,
    sector_size: u32,
    /// From where on written bytes were not yet sent to the device.
    unsent: u64,
    zeroes_by_kernel: bool,
}

impl BlockDevice {
    /// Opens the device for reading and writing.
    pub fn open(path: &str) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("opening {path}"))?;
        Ok(Self {
            size: partitions::size(&file, path)?,
            sector_size: partitions::sector_size(&file, path)?,
            path: path.to_owned(),
            file,
            unsent: 0,
            zeroes_by_kernel: true,
        })
    }

    /// The open file, for ioctls.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The device node.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Starts the writing of all pages since the last stretch, and waits for those before it, which
    /// are then dropped from memory: nobody reads them again.
    fn send(&mut self, end: u64) -> io::Result<()> {
        let (start, before) = (self.unsent, self.unsent.saturating_sub(STRETCH));
        self.sync_range(start, end, libc::SYNC_FILE_RANGE_WRITE)?;
        // A length of 0 would be all of the disk.
        if before < start {
            let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER;
            self.sync_range(before, start, wait)?;
            let length = (start - before) as libc::off_t;
            let (descriptor, before) = (self.file.as_raw_fd(), before as libc::off_t);
            // SAFETY: a plain call on an open descriptor. It is advice.
            unsafe {
                libc::posix_fadvise(descriptor, before, length, libc::POSIX_FADV_DONTNEED);
            }
        }
        self.unsent = end;
        Ok(())
    }

    /// See sync_file_range(2). An error of the device is told here once: the kernel does not tell it again
    /// to the fsync that follows.
    fn sync_range(&self, start: u64, end: u64, flags: libc::c_uint) -> io::Result<()> {
        let (descriptor, length) = (self.file.as_raw_fd(), (end - start) as libc::off64_t);
        // SAFETY: a plain call on an open descriptor.
        let result =
            unsafe { libc::sync_file_range(descriptor, start as libc::off64_t, length, flags) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Device for BlockDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        let end = offset + bytes.len() as u64;
        if offset < self.unsent {
            self.unsent = offset;
        }
        if end - self.unsent >= STRETCH {
            self.send(end)?;
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let sector = u64::from(self.sector_size);
        if self.zeroes_by_kernel && offset.is_multiple_of(sector) && length.is_multiple_of(sector) {
            match partitions::zero_out(&self.file, &self.path, offset, length) {
                Ok(()) => return Ok(()),
                // A regular file, or a driver without it: zeros are then written like any bytes.
                Err(_) => self.zeroes_by_kernel = false,
            }
        }
        let zeros = vec![0; length.min(WITHHELD) as usize];
        let mut done = 0;
        while done < length {
            let now = (length - done).min(WITHHELD) as usize;
            self.write(&zeros[..now], offset + done)?;
            done += now as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsent = 0;
        self.file.sync_all()
    }

    fn forget(&mut self) -> io::Result<()> {
        let advice = libc::POSIX_FADV_DONTNEED;
        // SAFETY: a plain call on an open descriptor; a length of 0 is all of it.
        match unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, advice) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
pub mod tests;
