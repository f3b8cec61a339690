//! The kernel's random source may not be ready: a machine or VM without a hardware generator, started
//! for the first time. Everything that makes a token would wait, without a word.
//!
//! Interrupts of the disk are what the kernel learns from by its own judgement (drivers/char/random.c:
//! 16 bits for 1024 of them), so the disk is read until that is enough. Nothing is credited here.

use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hardway_userspace::console::Console;

/// How long the disk is read at most; the kernel goes on gathering afterwards, slowly.
const PATIENCE: Duration = Duration::from_secs(60);
/// O_DIRECT wants whole sectors in memory that is aligned alike.
const BLOCK: usize = 4096;

#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// Waits until the kernel has its randomness, and says so if it takes any time.
pub fn gather(console: &Console) {
    if is_ready() {
        return;
    }
    console.line("the kernel has no randomness yet: reading the disk for its interrupts");
    let deadline = Instant::now() + PATIENCE;
    for disk in disks() {
        let Ok(disk) = std::fs::File::options()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(Path::new("/dev").join(disk))
        else {
            continue;
        };
        let mut block = Block([0; BLOCK]);
        while disk.read_exact_at(&mut block.0, 0).is_ok() {
            if is_ready() || Instant::now() >= deadline {
                break;
            }
        }
    }
    let outcome = if is_ready() {
        "ready"
    } else {
        "still not ready"
    };
    console.line(&format!("randomness: {outcome}"));
}

/// getrandom(2) without waiting.
fn is_ready() -> bool {
    let mut byte = 0_u8;
    // SAFETY: one byte is written to the address given.
    let taken = unsafe { libc::getrandom((&raw mut byte).cast(), 1, libc::GRND_NONBLOCK) };
    taken == 1
}

/// Whole disks by name; the kernel's own memory devices make no interrupts.
fn disks() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with("fd") && !name.starts_with("sr"))
        .collect();
    names.sort();
    names
}
