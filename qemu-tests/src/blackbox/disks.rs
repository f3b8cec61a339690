//! A case's disks as they are before: sparse files with tables, filesystems and what stands in them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hardway_userspace::mounts::{self, Flags};

use super::corpus::{Case, Disk, Node, Partition};
use super::gpt;
use super::loops::Loop;
use super::program;

/// How much of a disk `corrupt_table` covers with noise: both sectors of the table, and the MBR.
const CORRUPTED: usize = 1536;
/// No disk is smaller; upstream's with no partition at all are 1 MiB and a bit.
const SMALLEST: u64 = 1 << 20;

/// Makes the files of all disks, of the larger of the sizes before and after, and attaches them.
pub fn make(case: &Case, folder: &Path) -> Result<Vec<Loop>> {
    let disks = case.before.iter().enumerate();
    disks
        .map(|(index, disk)| {
            let after = case
                .after
                .get(index)
                .map_or(0, |disk| disk.image_size_bytes);
            let size = disk.image_size_bytes.max(after).max(SMALLEST);
            let file = folder.join(format!("disk{index}"));
            make_one(disk, &file, size).with_context(|| format!("making disk {index}"))
        })
        .collect()
}

fn make_one(disk: &Disk, file: &Path, size: u64) -> Result<Loop> {
    let opened = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(file)
        .with_context(|| format!("making {}", file.display()))?;
    opened.set_len(size)?;
    let partitions: Vec<&Partition> = disk
        .partitions
        .iter()
        .filter(|part| part.exists())
        .collect();
    if !partitions.is_empty() {
        let entries: Vec<_> = partitions
            .iter()
            .map(|partition| entry(partition))
            .collect();
        gpt::write(&opened, size, &entries)?;
    }
    let attached = Loop::attach(file)?;
    let folder = file.with_extension("work");
    fs::create_dir_all(&folder)?;
    for partition in partitions {
        let node = attached.await_partition(partition.number)?;
        let what = || format!("filling partition {}", partition.number);
        fill(partition, &node, &folder).with_context(what)?;
    }
    if disk.corrupt_table {
        let mut noise = vec![0; CORRUPTED];
        File::open("/dev/urandom")?.read_exact(&mut noise)?;
        let device = File::options().write(true).open(&attached.path)?;
        (&device).write_all(&noise)?;
        device.sync_all()?;
        attached.reread()?;
    }
    Ok(attached)
}

fn entry(partition: &Partition) -> gpt::Entry {
    let mut entry = gpt::Entry::new(
        partition.number,
        partition.start_sector,
        partition.size_sectors,
    );
    entry.label.clone_from(&partition.label);
    entry.hybrid = partition.hybrid_mbr;
    if !partition.type_guid.is_empty() {
        entry.type_guid.clone_from(&partition.type_guid);
    }
    if !partition.guid.is_empty() {
        entry.guid.clone_from(&partition.guid);
    }
    entry
}

fn fill(partition: &Partition, node: &str, folder: &Path) -> Result<()> {
    if !partition.is_formatted() {
        return Ok(());
    }
    if partition.fs_type == "image" {
        return write_image(&partition.fs_image_bz2_base64, node);
    }
    program::tool(&mut mkfs(partition, node)?, folder)?;
    if !partition.has_nodes() {
        return Ok(());
    }
    let root = folder.join("mounted");
    mounts::mount(node, &root, &partition.fs_type, Flags::empty(), "")?;
    let outcome = populate(partition, &root);
    mounts::unmount(&root)?;
    outcome
}

fn write_image(text: &str, node: &str) -> Result<()> {
    let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let packed = STANDARD
        .decode(packed)
        .context("reading an image's base64")?;
    let mut image = Vec::new();
    bzip2::read::MultiBzDecoder::new(&packed[..])
        .read_to_end(&mut image)
        .context("unpacking an image")?;
    let mut device = File::options().write(true).open(node)?;
    device
        .write_all(&image)
        .with_context(|| format!("writing {node}"))?;
    device.sync_all()?;
    Ok(())
}

/// The command that makes a partition's filesystem as upstream's tests make it.
fn mkfs(partition: &Partition, node: &str) -> Result<Command> {
    let (label, uuid) = (&partition.fs_label, &partition.fs_uuid);
    let kind = partition.fs_type.as_str();
    let (program, fixed, label_option, uuid_option): (_, &[&str], _, _) = match kind {
        "vfat" => ("mkfs.vfat", &[], "-n", "-i"),
        "ext2" | "ext3" | "ext4" => (
            "mke2fs",
            &[
                "-q",
                "-F",
                "-t",
                kind,
                "-b",
                "4096",
                "-i",
                "4096",
                "-I",
                "128",
                "-e",
                "remount-ro",
            ],
            "-L",
            "-U",
        ),
        "btrfs" => ("mkfs.btrfs", &["-q"], "--label", "--uuid"),
        "xfs" => ("mkfs.xfs", &["-q"], "-L", "-m"),
        "swap" => ("mkswap", &[], "-L", "-U"),
        other => bail!("nobody here makes the filesystem {other:?}"),
    };
    let mut command = Command::new(program);
    command.args(fixed);
    // mkfs.xfs refuses disks under 300 MB unless it is told that this is a test.
    if kind == "xfs" {
        command.arg("--unsupported");
    }
    if !label.is_empty() {
        command.args([label_option, label]);
    }
    if !uuid.is_empty() {
        let value = match kind {
            "xfs" => format!("uuid={uuid}"),
            "vfat" => uuid.replace('-', ""),
            _ => uuid.clone(),
        };
        command.args([uuid_option.to_owned(), value]);
    }
    command.arg(node);
    Ok(command)
}

/// Puts directories, files and links into a mounted filesystem.
fn populate(partition: &Partition, root: &Path) -> Result<()> {
    for node in &partition.directories {
        let path = place(root, node)?;
        if !path.is_dir() {
            fs::create_dir(&path).with_context(|| format!("making {}", node.path))?;
        }
        own(&path, node)?;
    }
    for node in &partition.files {
        let path = place(root, node)?;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("making {}", node.path))?;
        file.write_all(node.contents.as_bytes())?;
        own(&path, node)?;
    }
    for node in &partition.links {
        let path = place(root, node)?;
        let made = match node.hard {
            true => fs::hard_link(inside(root, &node.target), &path),
            false => symlink(&node.target, &path),
        };
        made.with_context(|| format!("linking {}", node.path))?;
    }
    Ok(())
}

/// Where a node stands; the folders above it are made.
fn place(root: &Path, node: &Node) -> Result<PathBuf> {
    let path = inside(root, &node.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("making what is above {}", node.path))?;
    }
    Ok(path)
}

fn own(path: &Path, node: &Node) -> Result<()> {
    chown(path, Some(node.uid), Some(node.gid))?;
    if node.mode != 0 {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(node.mode & 0o7777);
        fs::set_permissions(path, mode)?;
    }
    Ok(())
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_are_made_with_their_label_and_uuid() {
        let shown = |kind: &str| {
            let partition = Partition {
                fs_type: kind.to_owned(),
                fs_label: "L".to_owned(),
                fs_uuid: "2e24-ec82".to_owned(),
                ..Partition::default()
            };
            let command = mkfs(&partition, "/dev/x").unwrap();
            let words = command
                .get_args()
                .map(|word| word.to_string_lossy().into_owned());
            let words: Vec<String> = words.collect();
            words.join(" ")
        };
        assert_eq!(shown("vfat"), "-n L -i 2e24ec82 /dev/x");
        assert_eq!(
            shown("xfs"),
            "-q --unsupported -L L -m uuid=2e24-ec82 /dev/x"
        );
        assert!(shown("ext4").ends_with("-L L -U 2e24-ec82 /dev/x"));
    }

    #[test]
    fn an_unknown_filesystem_is_named() {
        let partition = Partition {
            fs_type: "reiserfs".to_owned(),
            ..Partition::default()
        };
        let error = mkfs(&partition, "/dev/x").unwrap_err().to_string();
        assert!(error.contains("reiserfs"), "{error}");
    }
}
