//! An initramfs: a cpio archive in the kernel's `newc` format, equal byte for byte for equal input.
//!
//! Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::{process, progress, stamp, workspace};

/// The highest ordinary level of zstd. Levels above (`--ultra`, `--long`) have a larger window, which
/// is memory that the booting machine needs, and which the kernel may refuse.
const LEVEL: &str = "-19";

/// The content of an initramfs, sorted by path.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Directory,
    File { mode: u32, data: Vec<u8> },
    Link { target: String },
    CharacterDevice { major: u32, minor: u32 },
}

impl Archive {
    /// An archive with the folders that both inits mount on, and `/dev/console`, which the kernel
    /// opens before it starts `/init`.
    pub fn for_init(program: Vec<u8>) -> Archive {
        let mut archive = Archive::default();
        for path in ["dev", "proc", "sys", "run", "tmp", "etc", "mnt", "lib"] {
            archive.directory(path);
        }
        archive.entries.insert(
            "dev/console".to_owned(),
            Entry::CharacterDevice { major: 5, minor: 1 },
        );
        archive.file("init", 0o755, program);
        archive
    }

    /// Adds a folder and those above it. Paths are relative to the root.
    pub fn directory(&mut self, path: &str) {
        let ends = path
            .match_indices('/')
            .map(|(end, _)| end)
            .chain([path.len()]);
        for end in ends {
            self.entries
                .entry(path[..end].to_owned())
                .or_insert(Entry::Directory);
        }
    }

    /// Adds a file and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        self.insert(path, Entry::File { mode, data });
    }

    /// Adds a symbolic link and the folders above it.
    pub fn link(&mut self, path: &str, target: &str) {
        let target = target.to_owned();
        self.insert(path, Entry::Link { target });
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.directory(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes its folders, files and links below a folder.
    pub fn unpack(&self, folder: &Path) -> Result<()> {
        for (path, entry) in &self.entries {
            let place = folder.join(path);
            entry
                .put(&place)
                .with_context(|| format!("writing {}", place.display()))?;
        }
        Ok(())
    }

    /// The archive as the kernel reads it, uncompressed.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        // The kernel takes entries with the same inode number for links to one file.
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            output = entry
                .write(path, inode, output)
                .with_context(|| format!("packing /{path}"))?;
        }
        trailer(output).context("ending the archive")
    }

    /// Packs and compresses; `what` is shown while it lasts. What was compressed once is kept under
    /// the hash of its content: this is the slowest step of an image.
    pub fn compress(&self, what: &str) -> Result<Vec<u8>> {
        let folder = workspace::cache().join("compressed");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let packed = tempfile::NamedTempFile::new_in(&folder).context("making a scratch file")?;
        fs::write(&packed, self.pack()?).context("writing the archive")?;
        let kept = folder.join(format!("{}{LEVEL}.zst", stamp::sha256_of(packed.path())?));
        if !kept.exists() {
            let step = progress::spinner(format!("compressing {what}"));
            // Renamed when complete, so that a build which is cut off leaves no half of it.
            let fresh = kept.with_extension("new");
            // The result does not depend on the number of threads.
            process::run(
                Command::new("zstd")
                    .args(["-q", "-f", LEVEL, "-T0", "-o"])
                    .arg(&fresh)
                    .arg(packed.path()),
            )?;
            fs::rename(&fresh, &kept).with_context(|| format!("renaming {}", fresh.display()))?;
            step.done(&progress::size(
                fs::metadata(&kept).map_or(0, |data| data.len()),
            ));
        }
        fs::read(&kept).with_context(|| format!("reading {}", kept.display()))
    }
}

impl Entry {
    fn put(&self, place: &Path) -> io::Result<()> {
        match self {
            Entry::Directory => fs::create_dir_all(place),
            Entry::File { mode, data } => {
                fs::write(place, data)?;
                fs::set_permissions(place, Permissions::from_mode(*mode))
            }
            Entry::Link { target } => symlink(target, place),
            // Only root could.
            Entry::CharacterDevice { .. } => Ok(()),
        }
    }

    fn write(&self, path: &str, inode: u32, output: Vec<u8>) -> Result<Vec<u8>> {
        let builder = Builder::new(path).ino(inode).uid(0).gid(0).mtime(0);
        let (builder, data): (Builder, &[u8]) = match self {
            Entry::Directory => (
                builder
                    .mode(0o755)
                    .set_mode_file_type(ModeFileType::Directory)
                    .nlink(2),
                &[],
            ),
            Entry::File { mode, data } => (
                builder
                    .mode(*mode)
                    .set_mode_file_type(ModeFileType::Regular)
                    .nlink(1),
                data,
            ),
            Entry::Link { target } => (
                builder
                    .mode(0o777)
                    .set_mode_file_type(ModeFileType::Symlink)
                    .nlink(1),
                target.as_bytes(),
            ),
            Entry::CharacterDevice { major, minor } => {
                let builder = builder
                    .mode(0o600)
                    .set_mode_file_type(ModeFileType::Char)
                    .nlink(1);
                (builder.rdev_major(*major).rdev_minor(*minor), &[])
            }
        };
        let size =
            u32::try_from(data.len()).context("a file in an initramfs has less than 4 GiB")?;
        let mut writer = builder.write(output, size);
        writer.write_all(data)?;
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn folders_come_before_their_files_and_everything_is_roots() {
        let mut archive = Archive::for_init(b"program".to_vec());
        archive.file("lib/hardway/modules/index.json", 0o644, b"{}".to_vec());
        archive.link("sbin/mkfs.ext4", "mke2fs");
        let packed = archive.pack().unwrap();
        assert_eq!(packed, archive.pack().unwrap());

        let mut rest = packed.as_slice();
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            seen.push((entry.name().to_owned(), entry.mode()));
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            rest = reader.finish().unwrap();
        }
        let position = |name: &str| seen.iter().position(|(path, _)| path == name).unwrap();
        assert!(position("lib/hardway") < position("lib/hardway/modules"));
        assert!(position("lib/hardway/modules") < position("lib/hardway/modules/index.json"));
        assert_eq!(seen[position("init")].1, 0o100755);
        assert_eq!(seen[position("dev/console")].1, 0o020600);
        assert_eq!(seen[position("sbin/mkfs.ext4")].1, 0o120777);
    }
}
