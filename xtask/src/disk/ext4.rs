//! ext4 filesystems filled from a tar archive, bit for bit the same each time, without root.
//!
//! mke2fs reads an archive since 1.47.1, with libarchive; the host's may be older. So Debian
//! trixie's is unpacked into a folder and run there by its own dynamic loader. An archive keeps
//! owners, modes and device nodes that an unprivileged user could not put into a folder, and its
//! entries have an order, which a folder has not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Guid, run};
use crate::apt::Apt;
use crate::{closure, stamp, workspace};

/// The packages, without what they depend on, that the tools consist of. mke2fs loads libarchive
/// when it is given an archive, and does not depend on it.
const PACKAGES: &[&str] = &["e2fsprogs", "libarchive13t64"];

/// A folder into which mke2fs and its libraries are unpacked.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

/// An ext4 filesystem, before it is written.
#[derive(Debug, Clone)]
pub struct Ext4Image {
    /// Volume label, at most 16 bytes.
    pub label: String,
    /// Filesystem UUID, and the seed of its directory hashes.
    pub uuid: Guid,
    /// Size in bytes, a multiple of 4096.
    pub size: u64,
    /// The tar archive that fills it. Hard links must follow what they link to.
    pub archive: Option<PathBuf>,
}

impl Tools {
    /// Unpacks the suite's tools into the cache, unless they are there.
    pub fn open(apt: &Apt) -> Result<Tools> {
        unpack(apt).context("unpacking mke2fs")
    }

    /// A command for one of the unpacked programs, by its path below the folder.
    fn command(&self, program: &str) -> Command {
        let libraries = self.folder.join("usr/lib/x86_64-linux-gnu");
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(&libraries)
            .args(["--argv0", name])
            .arg(self.folder.join(program))
            .env("MKE2FS_CONFIG", self.folder.join("etc/mke2fs.conf"));
        command
    }
}

fn unpack(apt: &Apt) -> Result<Tools> {
    let packages = closure::resolve(apt, PACKAGES)?;
    let hash = packages
        .iter()
        .fold(stamp::Stamp::new("e2fsprogs"), |stamp, package| {
            stamp.text(&package.name, &package.sha256)
        })
        .finish();
    let folder = workspace::cache().join("e2fsprogs");
    let done = folder.join("stamp");
    if !stamp::is_fresh(&done, &hash, &[]) {
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("emptying {}", folder.display()))?;
        }
        for package in &packages {
            apt.extract(package, &folder)?;
        }
        stamp::write(&done, &hash)?;
    }
    Ok(Tools { folder })
}

/// Writes the filesystem to `output`, over whatever stood there. Fails when the archive does not
/// fit.
pub fn build(tools: &Tools, image: &Ext4Image, output: &Path) -> Result<()> {
    write_image(tools, image, output)
        .with_context(|| format!("building ext4 filesystem {}", output.display()))
}

fn write_image(tools: &Tools, image: &Ext4Image, output: &Path) -> Result<()> {
    File::create(output)?.set_len(image.size)?;
    let mut command = tools.command("usr/sbin/mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256"])
        .args(["-i", "16384", "-m", "1", "-J", "size=16"])
        // The two youngest features are left out: GRUB refuses a filesystem whose features it does
        // not know, and the hosts' GRUB is older than the image's mke2fs.
        .args(["-O", "^metadata_csum_seed,^orphan_file"])
        .arg("-L")
        .arg(&image.label)
        .arg("-U")
        .arg(image.uuid.to_string())
        // The file is zero already, so that inode tables need no initialising on the first boot.
        .arg("-E")
        .arg(format!(
            "hash_seed={},lazy_itable_init=0,lazy_journal_init=0,nodiscard",
            image.uuid
        ));
    if let Some(archive) = &image.archive {
        command.arg("-d").arg(archive);
    }
    run(command.arg(output))
}
