//! The two filesystems that an operator fills: CONFIG (FAT) by mtools, DATA (ext4) by mke2fs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::disk::Extent;

/// Bytes of all files below a folder.
pub fn content(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("listing {}", folder.display()))?
            .path();
        let data = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?;
        sum += if data.is_dir() {
            content(&path)?
        } else {
            data.len()
        };
    }
    Ok(sum)
}

/// Makes a FAT filesystem of `length` bytes with what is in `folder`.
pub fn make_fat(file: &Path, length: u64, folder: &Path) -> anyhow::Result<()> {
    File::create(file)
        .and_then(|created| created.set_len(length))
        .with_context(|| format!("making {}", file.display()))?;
    spawn(
        tool("mkfs.vfat")
            .args(["-F", "16", "-n", "CONFIG"])
            .arg(file),
    )?;
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("listing {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("listing {}", folder.display()))?;
    entries.sort();
    spawn(
        tool("mcopy")
            .args(["-s", "-Q", "-i"])
            .arg(file)
            .args(entries)
            .arg("::/"),
    )
    .context("filling CONFIG")
}

/// Makes an ext4 filesystem with what is in `folder`, at its place on the disk.
pub fn make_ext4(disk: &Path, place: &Extent, folder: &Path) -> anyhow::Result<()> {
    // Few files, and large ones: one inode for 64 KiB is plenty. The disk is zero there already, so
    // that nothing is left to be initialised when it is mounted.
    let options = format!(
        "offset={},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard",
        place.start
    );
    spawn(
        tool("mke2fs")
            .args([
                "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "65536", "-m", "0",
            ])
            .args(["-J", "size=16", "-L", "DATA", "-E", &options, "-d"])
            .arg(folder)
            .arg(disk)
            .arg(format!("{}k", place.length / 1024)),
    )
    .context("filling DATA")
}

/// A tool of the system's administration: distributions keep some where a user's PATH does not look.
fn tool(name: &str) -> Command {
    let folders = ["/usr/sbin", "/sbin"].map(Path::new);
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| name.into()))
}

fn spawn(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        // mtools looks for a FAT's geometry in vain, and would refuse it.
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name} (is it installed?)"))?;
    if !output.status.success() {
        bail!(
            "{name} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}
