//! The toolbox: programs that the agent does not carry. Each segment is fetched, checked, and unpacked
//! into the agent's own tree, which lives in memory.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc;
use hardway_model::identity::Sha256;
use hardway_model::plan::ToolboxSegment;
use sha2::Digest;

use crate::apply::Execution;
use crate::patience::patiently;

/// Types in a cpio entry's mode (cpio(5)).
const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// No link's text is longer (PATH_MAX).
const LONGEST_LINK: u64 = 4096;

/// Fetches the segments one after the other; their programs are there afterwards.
pub fn fetch(segments: &[ToolboxSegment], execution: &mut Execution<'_>) -> Result<String> {
    let root = Path::new("/");
    let mut entries = 0;
    for segment in segments {
        let name = &segment.name;
        let bytes = patiently(execution.reports, || {
            execution.appliance.get(&segment.url, &[])
        })
        .with_context(|| format!("fetching the toolbox's segment {name}"))?;
        check(segment, &bytes)?;
        entries += unpack(&bytes, root)
            .with_context(|| format!("unpacking the toolbox's segment {name}"))?;
    }
    provide_descriptors()?;
    let names: Vec<&str> = segments
        .iter()
        .map(|segment| segment.name.as_str())
        .collect();
    Ok(format!(
        "{}: {entries} files and directories",
        names.join(", ")
    ))
}

fn check(segment: &ToolboxSegment, bytes: &[u8]) -> Result<()> {
    let found = Sha256(sha2::Sha256::digest(bytes).into());
    if found != segment.sha256 || bytes.len() as u64 != segment.size {
        bail!(
            "the toolbox's segment {} has {} bytes with SHA-256 {found}, and {} with {} were expected",
            segment.name,
            bytes.len(),
            segment.size,
            segment.sha256
        );
    }
    Ok(())
}

/// Shell scripts name their open files by /dev/fd, which udev would have made.
fn provide_descriptors() -> Result<()> {
    match symlink("/proc/self/fd", "/dev/fd") {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).context("making /dev/fd")
        }
        _ => Ok(()),
    }
}

/// Unpacks a zstd-compressed archive below `root`, and says how many entries it has.
fn unpack(archive: &[u8], root: &Path) -> Result<usize> {
    let mut stream = zstd::Decoder::new(archive).context("decompressing")?;
    let mut count = 0;
    loop {
        let mut entry = newc::Reader::new(stream).context("reading the archive")?;
        if entry.entry().is_trailer() {
            return Ok(count);
        }
        let name = entry.entry().name().to_owned();
        place(&mut entry, root).with_context(|| format!("unpacking {name}"))?;
        stream = entry.finish().context("reading the archive")?;
        count += 1;
    }
}

fn place<R: Read>(reader: &mut newc::Reader<R>, root: &Path) -> Result<()> {
    let entry = reader.entry();
    let (mode, links, size) = (entry.mode(), entry.nlink(), u64::from(entry.file_size()));
    let Some(path) = inside(root, entry.name())? else {
        return Ok(());
    };
    let permissions = Permissions::from_mode(mode & 0o7777);
    if mode & TYPE == DIRECTORY {
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, permissions)?;
        }
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error).context("taking the place of what is there");
    }
    match mode & TYPE {
        REGULAR if links > 1 => bail!("hard links are not unpacked"),
        REGULAR => {
            let mut file = File::create_new(&path)?;
            io::copy(reader, &mut file)?;
            Ok(file.set_permissions(permissions)?)
        }
        LINK if size <= LONGEST_LINK => {
            let mut text = String::new();
            reader.read_to_string(&mut text)?;
            Ok(symlink(text, &path)?)
        }
        other => bail!("an entry of type {other:o} is not unpacked"),
    }
}

/// Where an entry belongs; `None` for the root itself. Names with `..` are refused.
fn inside(root: &Path, name: &str) -> Result<Option<PathBuf>> {
    let mut path = root.to_owned();
    let mut is_root = true;
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => {
                path.push(part);
                is_root = false;
            }
            Component::CurDir | Component::RootDir => {}
            _ => bail!("the name leads out of the archive"),
        }
    }
    Ok((!is_root).then_some(path))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Name, mode and content of each entry.
    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, mode, content) in entries {
            let builder = newc::Builder::new(name).mode(*mode).nlink(1);
            let mut writer = builder.write(&mut bytes, content.len() as u32);
            writer.write_all(content).unwrap();
            writer.finish().unwrap();
        }
        newc::trailer(&mut bytes).unwrap();
        zstd::encode_all(&bytes[..], 3).unwrap()
    }

    #[test]
    fn directories_files_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("usr")).unwrap();
        let standing = fs::metadata(root.join("usr")).unwrap().permissions().mode();
        let archive = archive(&[
            (".", 0o040_700, b""),
            ("usr", 0o040_700, b""),
            ("./usr/sbin", 0o040_755, b""),
            ("sbin", 0o120_777, b"usr/sbin"),
            ("usr/sbin/mke2fs", 0o100_755, b"program"),
            ("usr/sbin/mkfs.ext4", 0o120_777, b"mke2fs"),
            ("usr/lib/x86/libext2fs.so", 0o100_644, b"library"),
        ]);
        assert_eq!(unpack(&archive, root).unwrap(), 7);
        assert_eq!(fs::read(root.join("sbin/mkfs.ext4")).unwrap(), b"program");
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode();
        assert_eq!(mode("usr"), standing, "kept");
        assert_eq!(mode("usr/sbin/mke2fs") & 0o7777, 0o755);
        assert_eq!(mode("usr/lib/x86/libext2fs.so") & 0o7777, 0o644);
        assert_eq!(
            unpack(&archive, root).unwrap(),
            7,
            "again, for a second try"
        );
    }

    #[test]
    fn what_leads_out_or_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, mode: u32, message: &str| {
            let error = unpack(&archive(&[(name, mode, b"x")]), folder.path()).unwrap_err();
            assert_eq!(format!("{error:#}"), message);
        };
        check(
            "../etc/passwd",
            0o100_644,
            "unpacking ../etc/passwd: the name leads out of the archive",
        );
        check(
            "dev/vda",
            0o060_600,
            "unpacking dev/vda: an entry of type 60000 is not unpacked",
        );
        assert!(unpack(b"no zstd", folder.path()).is_err());
    }

    #[test]
    fn another_segment_than_the_planned_one() {
        let segment = ToolboxSegment {
            name: "storage".into(),
            url: "/toolbox/storage.cpio.zst".into(),
            size: 3,
            sha256: Sha256(sha2::Sha256::digest(b"abc").into()),
        };
        check(&segment, b"abc").unwrap();
        assert!(check(&segment, b"abd").is_err());
        assert!(check(&segment, b"abcd").is_err());
    }
}
