//! A case's disks as they are afterwards, compared with what they should be: tables, what filesystems
//! are recognised, and the nodes that the case lists.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use hardway_userspace::mounts::{self, Flags};
use hardway_userspace::partitions;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::corpus::{Disk, Node, Partition};
use super::guid;
use super::program;
use super::{gpt, loops::Loop};

/// Paths whose third field, a date, depends on the day of the run.
const WITH_A_DATE: [&str; 2] = ["/etc/shadow", "/etc/shadow-"];

/// Everything that differs on one disk.
pub fn disk(expected: &Disk, attached: &Loop, folder: &Path) -> Result<Vec<String>> {
    let device = File::open(&attached.path)?;
    let size = partitions::size(&device, &attached.path)?;
    let mut differences = match gpt::read(&device, size) {
        Ok(found) => table(expected, &found.unwrap_or_default()),
        Err(error) => vec![format!("its table: {error:#}")],
    };
    for partition in expected.partitions.iter().filter(|part| part.exists()) {
        let of = |text: String| format!("partition {}: {text}", partition.number);
        let node = attached.partition(partition.number);
        let filesystem = filesystem(partition, &node, folder)?;
        differences.extend(filesystem.into_iter().map(of));
        let nodes = nodes(partition, &node, folder)?;
        differences.extend(nodes.into_iter().map(of));
    }
    Ok(differences)
}

fn table(expected: &Disk, found: &[gpt::Entry]) -> Vec<String> {
    let mut differences = Vec::new();
    let wanted: Vec<&Partition> = expected
        .partitions
        .iter()
        .filter(|part| part.exists())
        .collect();
    for partition in &wanted {
        let number = partition.number;
        let Some(entry) = found.iter().find(|entry| entry.number == number) else {
            differences.push(format!("partition {number} is missing"));
            continue;
        };
        let sectors = match (partition.size_sectors_aligned, expected.alignment_sectors) {
            (0, alignment) => partition.size_sectors.next_multiple_of(alignment.max(1)),
            (aligned, _) => aligned,
        };
        let mut differs = |what: &str, wanted: &str, found: &str| {
            differences.push(format!("partition {number}: {what} {found}, not {wanted}"));
        };
        if !partition.type_guid.is_empty() && !guid::same(&partition.type_guid, &entry.type_guid) {
            differs("type", &partition.type_guid, &entry.type_guid);
        }
        if !partition.guid.is_empty() && !guid::same(&partition.guid, &entry.guid) {
            differs("GUID", &partition.guid, &entry.guid);
        }
        if partition.label != entry.label {
            differs("label", &partition.label, &entry.label);
        }
        if sectors != entry.sectors {
            differs("sectors", &sectors.to_string(), &entry.sectors.to_string());
        }
    }
    for entry in found {
        if !wanted
            .iter()
            .any(|partition| partition.number == entry.number)
        {
            differences.push(format!("partition {} should not be there", entry.number));
        }
    }
    differences
}

fn filesystem(partition: &Partition, node: &str, folder: &Path) -> Result<Vec<String>> {
    let wanted = [
        ("TYPE", &partition.fs_type),
        ("LABEL", &partition.fs_label),
        ("UUID", &partition.fs_uuid),
    ];
    if !partition.is_formatted() || partition.fs_type == "image" {
        return Ok(Vec::new());
    }
    let mut command = Command::new("blkid");
    command.args(["-p", "-o", "export"]);
    if partition.ambivalent_fs {
        command.args(["-n", &partition.fs_type]);
    }
    let finished = program::run(command.arg(node), program::TOOL_LIMIT, folder)?;
    Ok(wanted
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(key, value)| {
            let found = exported(&finished.output, key).unwrap_or_default();
            let is_same = match key {
                "UUID" => guid::same(&found, value),
                _ => found == *value,
            };
            (!is_same).then(|| format!("filesystem {key} {found:?}, not {value:?}"))
        })
        .collect())
}

/// One value of `blkid -o export`, whose text escapes blanks and the like by a backslash.
fn exported(output: &str, key: &str) -> Option<String> {
    let mut lines = output.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.replace('\\', ""))
}

fn nodes(partition: &Partition, node: &str, folder: &Path) -> Result<Vec<String>> {
    if !partition.has_nodes() && partition.removed.is_empty() {
        return Ok(Vec::new());
    }
    let root = folder.join("compared");
    let kind = match partition.fs_type.as_str() {
        "" | "blank" | "image" => {
            let mut command = Command::new("blkid");
            command.args(["-p", "-o", "export", node]);
            let finished = program::run(&mut command, program::TOOL_LIMIT, folder)?;
            exported(&finished.output, "TYPE").unwrap_or_default()
        }
        kind => kind.to_owned(),
    };
    mounts::mount(node, &root, &kind, Flags::MS_RDONLY, "")?;
    let differences = compare_nodes(partition, &root);
    mounts::unmount(&root)?;
    differences
}

fn compare_nodes(partition: &Partition, root: &Path) -> Result<Vec<String>> {
    let tree = Tree(File::open(root)?.into());
    let mut differences = Vec::new();
    let mut note = |node: &Node, outcome: Result<Option<String>>| match outcome {
        Ok(None) => {}
        Ok(Some(difference)) => differences.push(format!("{}: {difference}", node.path)),
        Err(error) => differences.push(format!("{}: {error:#}", node.path)),
    };
    for node in &partition.files {
        note(node, tree.compare_file(node));
    }
    for node in &partition.directories {
        note(node, tree.compare_directory(node));
    }
    for node in &partition.links {
        note(node, tree.compare_link(node));
    }
    for path in &partition.removed {
        if tree.open(path, OFlag::O_NOFOLLOW).is_ok() {
            differences.push(format!("{path}: should be gone"));
        }
    }
    Ok(differences)
}

/// A mounted filesystem, whose links do not lead out of it.
struct Tree(OwnedFd);

impl Tree {
    fn open(&self, path: &str, flags: OFlag) -> Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        openat2(self.0.as_fd(), relative, how).context("looking it up")
    }

    fn compare_file(&self, node: &Node) -> Result<Option<String>> {
        let found = self.open(&node.path, OFlag::empty())?;
        let metadata = metadata(&found)?;
        if !metadata.is_file() {
            return Ok(Some("is no file".to_owned()));
        }
        if !node.contents.is_empty() {
            let mut bytes = Vec::new();
            File::open(through_proc(&found))?.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if masked(&node.path, &text) != masked(&node.path, &node.contents) {
                return Ok(Some(format!("holds {text:?}, not {:?}", node.contents)));
            }
        }
        Ok(compare_owner(node, &metadata))
    }

    fn compare_directory(&self, node: &Node) -> Result<Option<String>> {
        let metadata = metadata(&self.open(&node.path, OFlag::empty())?)?;
        if !metadata.is_dir() {
            return Ok(Some("is no directory".to_owned()));
        }
        Ok(compare_owner(node, &metadata))
    }

    fn compare_link(&self, node: &Node) -> Result<Option<String>> {
        let found = self.open(&node.path, OFlag::O_NOFOLLOW)?;
        let metadata = metadata(&found)?;
        if node.hard {
            // The target may itself be a symbolic link: then that is what has two names.
            let target = self.open(&node.target, OFlag::O_NOFOLLOW)?;
            let is_same = self::metadata(&target)?.ino() == metadata.ino();
            return Ok((!is_same).then(|| format!("is not the same file as {}", node.target)));
        }
        if !metadata.is_symlink() {
            return Ok(Some("is no symbolic link".to_owned()));
        }
        let target = nix::fcntl::readlinkat(found.as_fd(), "")?;
        if target.to_string_lossy() != node.target {
            return Ok(Some(format!("leads to {target:?}, not {:?}", node.target)));
        }
        Ok(compare_owner(
            &Node {
                mode: 0,
                ..node.clone()
            },
            &metadata,
        ))
    }
}

fn compare_owner(node: &Node, found: &std::fs::Metadata) -> Option<String> {
    let mode = found.mode() & 0o7777;
    let owners = [
        ("user", node.uid, found.uid()),
        ("group", node.gid, found.gid()),
    ];
    let owner = owners
        .into_iter()
        .find(|(_, wanted, found)| *wanted != 0 && wanted != found)
        .map(|(what, wanted, found)| format!("{what} {found}, not {wanted}"));
    let is_wrong = node.mode != 0 && node.mode & 0o7777 != mode;
    owner.or_else(|| is_wrong.then(|| format!("mode {mode:04o}, not {:04o}", node.mode & 0o7777)))
}

fn metadata(found: &OwnedFd) -> Result<std::fs::Metadata> {
    Ok(File::from(found.try_clone()?).metadata()?)
}

fn through_proc(found: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", found.as_raw_fd())
}

/// Without the day of the last change of password, in shadow files.
fn masked(path: &str, text: &str) -> String {
    if !WITH_A_DATE.contains(&path) {
        return text.to_owned();
    }
    let line = |line: &str| {
        let fields = line.split(':').enumerate();
        let fields: Vec<&str> = fields
            .map(|(index, field)| if index == 2 { "DAY" } else { field })
            .collect();
        fields.join(":")
    };
    let lines: Vec<String> = text.split('\n').map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn tables_are_compared_entry_by_entry() {
        let wanted = |number, sectors| Partition {
            number,
            label: "data".to_owned(),
            size_sectors: sectors,
            ..Partition::default()
        };
        let expected = Disk {
            alignment_sectors: 2048,
            partitions: vec![wanted(1, 2000), wanted(2, 2048), wanted(7, 0)],
            ..Disk::default()
        };
        let found = |number, sectors| gpt::Entry {
            label: "data".to_owned(),
            ..gpt::Entry::new(number, 2048, sectors)
        };
        assert!(table(&expected, &[found(1, 2048), found(2, 2048)]).is_empty());
        assert_eq!(
            table(&expected, &[found(2, 4096), found(3, 8)]),
            [
                "partition 1 is missing",
                "partition 2: sectors 4096, not 2048",
                "partition 3 should not be there"
            ]
        );
    }

    #[test]
    fn nodes_are_compared_within_their_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/a"), "text").unwrap();
        symlink("/etc/a", root.path().join("link")).unwrap();
        let node = |path: &str| Node {
            path: path.to_owned(),
            ..Node::default()
        };
        let partition = Partition {
            files: vec![
                Node {
                    contents: "text".to_owned(),
                    ..node("/link")
                },
                Node {
                    contents: "other".to_owned(),
                    ..node("/etc/a")
                },
                node("/etc/passwd"),
            ],
            directories: vec![node("/etc"), node("/etc/a")],
            links: vec![
                Node {
                    target: "/etc/a".to_owned(),
                    ..node("/link")
                },
                Node {
                    target: "/etc/b".to_owned(),
                    ..node("/link")
                },
            ],
            removed: vec!["/link".to_owned(), "/gone".to_owned()],
            ..Partition::default()
        };
        let found = compare_nodes(&partition, root.path()).unwrap();
        let shown: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            shown,
            [
                "/etc/a: holds \"text\", not \"other\"",
                "/etc/passwd: looking it up: ENOENT: No such file or directory",
                "/etc/a: is no directory",
                "/link: leads to \"/etc/a\", not \"/etc/b\"",
                "/link: should be gone",
            ]
        );
    }

    #[test]
    fn the_day_in_shadow_does_not_count() {
        assert_eq!(
            masked("/etc/shadow", "a:b:1:c\n"),
            masked("/etc/shadow", "a:b:2:c\n")
        );
        assert_ne!(
            masked("/etc/passwd", "a:b:1"),
            masked("/etc/passwd", "a:b:2")
        );
    }

    #[test]
    fn escaped_values_are_read() {
        assert_eq!(
            exported("TYPE=ext4\nLABEL=a\\ b\n", "LABEL").as_deref(),
            Some("a b")
        );
        assert_eq!(exported("UUID_SUB=x\n", "UUID"), None);
    }
}
