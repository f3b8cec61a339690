//! A blank disk for every run: a sparse file behind a loop device (linux/loop.h).
//!
//! The loop device reads and writes its file past the host's page cache (direct I/O), so that a flush
//! reaches the filesystem's disk, and what is read back does not come from this host's memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::errno::Errno;

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const BLKFLSBUF: libc::c_ulong = 0x1261;
/// It goes when the last that has it open closes it: with the bench, whatever ends that.
const AUTOCLEAR: u32 = 4;
/// The kernel reads the partition table when it is asked to.
const PARTITIONS_ARE_SCANNED: u32 = 8;
const DIRECT: u32 = 16;
/// Two processes may be given the same free device.
const ATTEMPTS: u32 = 10;

const PIECE: usize = 1 << 20;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    numbers: [u64; 5],
    number: u32,
    encryption: u32,
    key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// A disk. Dropping it takes it away with its content.
pub struct Disk {
    /// `/dev/loopN`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    device: File,
    file: PathBuf,
}

impl Disk {
    /// A blank one, behind a file that is made anew.
    pub fn blank(file: &Path, size: u64) -> anyhow::Result<Self> {
        let name = file.display();
        let _ = std::fs::remove_file(file);
        let options = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(file);
        let backing = options.with_context(|| format!("making {name}"))?;
        let sized = backing.set_len(size);
        sized.with_context(|| format!("making {name} {size} bytes long"))?;
        for _ in 0..ATTEMPTS {
            let (path, device) = free()?;
            match attach(&device, &backing) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        size,
                        device,
                        file: file.to_owned(),
                    });
                }
                Err(Errno::EBUSY) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("attaching {name} to {path}"));
                }
            }
        }
        anyhow::bail!("others took every free loop device")
    }

    /// Compares its beginning with a file, past the page cache; what lies in `except` may differ.
    ///
    /// # Errors
    /// It differs, or cannot be read.
    pub fn compare(&self, expected: &Path, except: &std::ops::Range<u64>) -> anyhow::Result<()> {
        // SAFETY: the request takes no argument.
        let flushed = unsafe { libc::ioctl(self.device.as_raw_fd(), BLKFLSBUF as _, 0) };
        Errno::result(flushed).with_context(|| format!("flushing {}", self.path))?;
        let name = expected.display();
        let file = File::open(expected).with_context(|| format!("opening {name}"))?;
        let length = file
            .metadata()
            .with_context(|| format!("asking for {name}"))?
            .len();
        let (mut wanted, mut found) = (vec![0; PIECE], vec![0; PIECE]);
        let mut offset = 0;
        while offset < length {
            let now = (length - offset).min(PIECE as u64) as usize;
            let (wanted, found) = (&mut wanted[..now], &mut found[..now]);
            let read = |file: &File, bytes: &mut [u8]| file.read_exact_at(bytes, offset);
            read(&file, wanted).with_context(|| format!("reading {name}"))?;
            read(&self.device, found).with_context(|| format!("reading {}", self.path))?;
            if let Some(at) = difference(wanted, found, offset, except) {
                anyhow::bail!("{} holds something else than the image at {at}", self.path);
            }
            offset += now as u64;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.file) {
            eprintln!("warning: deleting {}: {error}", self.file.display());
        }
    }
}

/// Where two pieces at an offset differ outside of `except`.
fn difference(
    wanted: &[u8],
    found: &[u8],
    offset: u64,
    except: &std::ops::Range<u64>,
) -> Option<u64> {
    if wanted == found {
        return None;
    }
    let pairs = wanted.iter().zip(found).enumerate();
    let differing = pairs.filter(|(_, (wanted, found))| wanted != found);
    differing
        .map(|(at, _)| offset + at as u64)
        .find(|at| !except.contains(at))
}

fn free() -> anyhow::Result<(String, File)> {
    let control = open("/dev/loop-control").context("opening /dev/loop-control")?;
    // SAFETY: the request takes no argument and gives back a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    let number = Errno::result(number).context("asking for a free loop device")?;
    let path = format!("/dev/loop{number}");
    let device = open(&path).with_context(|| format!("opening {path}"))?;
    Ok((path, device))
}

fn attach(device: &File, backing: &File) -> Result<(), Errno> {
    let config = Config {
        file: backing.as_raw_fd() as u32,
        block_size: 512,
        info: Info {
            numbers: [0; 5],
            number: 0,
            encryption: 0,
            key_size: 0,
            flags: AUTOCLEAR | PARTITIONS_ARE_SCANNED | DIRECT,
            file_name: [0; 64],
            crypt_name: [0; 64],
            key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the structure lives over the call, in the layout of linux/loop.h.
    let outcome =
        unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) };
    Errno::result(outcome).map(drop)
}

fn open(path: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_outside_of_what_may_differ() {
        let check = |found: &[u8], except| difference(b"abcd", found, 100, &except);
        assert_eq!(check(b"abcd", 0..0), None);
        assert_eq!(check(b"abxx", 0..0), Some(102));
        assert_eq!(check(b"abxx", 102..103), Some(103));
        assert_eq!(check(b"abxx", 102..104), None);
    }
}
