//! Loop devices: sparse files as disks with partitions (linux/loop.h).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LOOP_CLR_FD: libc::c_ulong = 0x4c01;
const BLKRRPART: libc::c_ulong = 0x125f;
const PARTITIONS_ARE_SCANNED: u32 = 8;
/// Partition nodes appear a moment after the table was read.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

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

/// An attached file. Dropping it detaches it, once nothing holds it any more.
#[derive(Debug)]
pub struct Loop {
    /// `/dev/loopN`.
    pub path: String,
}

impl Loop {
    /// Attaches a file; the kernel reads its partition table.
    pub fn attach(file: &Path) -> Result<Self> {
        let name = file.display();
        let opened = File::options().read(true).write(true).open(file);
        let opened = opened.with_context(|| format!("opening {name}"))?;
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/loop-control");
        let control = control.context("opening /dev/loop-control")?;
        // SAFETY: the request takes no argument and gives back a number.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        let number = Errno::result(number).context("asking for a free loop device")?;
        let path = format!("/dev/loop{number}");
        let device = open(&path)?;
        let config = Config {
            file: opened.as_raw_fd() as u32,
            block_size: 512,
            info: Info {
                numbers: [0; 5],
                number: 0,
                encryption: 0,
                key_size: 0,
                flags: PARTITIONS_ARE_SCANNED,
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
        Errno::result(outcome).with_context(|| format!("attaching {name} to {path}"))?;
        Ok(Self { path })
    }

    /// Lets the kernel read the table again.
    pub fn reread(&self) -> Result<()> {
        let device = open(&self.path)?;
        for attempt in 1.. {
            // SAFETY: the request takes no argument.
            let outcome = unsafe { libc::ioctl(device.as_raw_fd(), BLKRRPART as _) };
            match Errno::result(outcome) {
                Err(Errno::EBUSY) if attempt < ATTEMPTS => thread::sleep(PAUSE),
                outcome => {
                    outcome.with_context(|| format!("reading the table of {} again", self.path))?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The node of a partition.
    pub fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.path)
    }

    /// Waits until the node of a partition is there.
    pub fn await_partition(&self, number: u32) -> Result<String> {
        let node = self.partition(number);
        for _ in 0..ATTEMPTS {
            if Path::new(&node).exists() {
                return Ok(node);
            }
            thread::sleep(PAUSE);
        }
        anyhow::bail!("{node} did not appear")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Ok(device) = open(&self.path) {
            // SAFETY: the request takes no argument. While something holds the device, the kernel
            // detaches it after the last one has let go.
            unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD as _) };
        }
    }
}

fn open(path: &str) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("opening {path}"))
}
