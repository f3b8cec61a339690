//! FAT filesystems, by mkfs.vfat and mtools: what they write passes `fsck.vfat`, and both take
//! their time stamps from `SOURCE_DATE_EPOCH`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::run;
use crate::process;

/// A FAT filesystem, before it is written.
#[derive(Debug, Clone)]
pub struct FatImage {
    /// Volume label, at most 11 characters.
    pub label: String,
    /// Volume serial number.
    pub volume_id: u32,
    /// FAT16 or FAT32. Always said: firmware that guesses by size has been seen to guess wrong.
    pub kind: FatKind,
    /// Size in bytes: FAT16 at least 16 MiB, FAT32 at least 34 MiB.
    pub size: u64,
    /// Files as (path inside, from `/`, and what it holds). Folders are made as needed.
    pub files: Vec<(String, FatFile)>,
}

/// Width of the allocation table's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FatKind {
    /// FAT16, up to 2 GiB.
    Fat16,
    /// FAT32.
    Fat32,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum FatFile {
    /// A file on the host.
    Path(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

/// Writes the filesystem to `output`, over whatever stood there.
pub fn build(image: &FatImage, output: &Path) -> Result<()> {
    write_image(image, output)
        .with_context(|| format!("building FAT filesystem {}", output.display()))
}

fn write_image(image: &FatImage, output: &Path) -> Result<()> {
    File::create(output)?.set_len(image.size)?;
    let width = match image.kind {
        FatKind::Fat16 => "16",
        FatKind::Fat32 => "32",
    };
    run(process::system_tool("mkfs.vfat")
        .args(["--invariant", "-F", width, "-n", &image.label, "-i"])
        .arg(format!("{:08x}", image.volume_id))
        .arg(output))?;

    let folders = folders_of(image.files.iter().map(|(path, _)| path.as_str()));
    if !folders.is_empty() {
        let folders = folders.iter().map(|folder| format!("::{folder}"));
        run(Command::new("mmd").arg("-i").arg(output).args(folders))?;
    }
    let staging = tempfile::tempdir().context("making a temporary folder")?;
    for (path, file) in &image.files {
        let source = match file {
            FatFile::Path(source) => source.clone(),
            FatFile::Bytes(bytes) => {
                let source = staging.path().join("file");
                fs::write(&source, bytes)?;
                source
            }
        };
        run(Command::new("mcopy")
            .arg("-i")
            .arg(output)
            .arg(source)
            .arg(format!("::{path}")))
        .with_context(|| format!("copying {path}"))?;
    }
    Ok(())
}

/// Every folder on the way to the paths, a parent before what is in it.
fn folders_of<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    paths
        .flat_map(|path| {
            path.match_indices('/')
                .map(|(index, _)| &path[..index])
                .filter(|folder| !folder.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_and_pass_the_check() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, mebibytes) in [(FatKind::Fat16, 16), (FatKind::Fat32, 40)] {
            let content = FatFile::Bytes(vec![7; 100_000]);
            let image = FatImage {
                label: "CONFIG".into(),
                volume_id: 0x1234_abcd,
                kind,
                size: mebibytes << 20,
                files: vec![("/EFI/BOOT/BOOTX64.EFI".into(), content)],
            };
            let outputs = ["first", "second"].map(|name| folder.path().join(name));
            for output in &outputs {
                build(&image, output).unwrap();
            }
            let [first, second] = outputs.each_ref().map(|output| fs::read(output).unwrap());
            assert!(first == second, "{kind:?}");
            run(process::system_tool("fsck.vfat").arg("-n").arg(&outputs[0])).unwrap();
        }
    }

    #[test]
    fn parents_come_first() {
        let folders =
            folders_of(["/EFI/BOOT/BOOTX64.EFI", "/hardway/boot/vmlinuz", "/a"].into_iter());
        assert_eq!(
            folders.into_iter().collect::<Vec<_>>(),
            ["/EFI", "/EFI/BOOT", "/hardway", "/hardway/boot"]
        );
    }
}
