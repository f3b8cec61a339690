//! The mount stage: filesystems mounted in the target root while the files stage runs, and unmounted
//! after it in reverse order.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::disks::{Format, Mount};
use hardway_ignition::operation::{Operation, Operations, Stage};
use hardway_userspace::mounts::{self, Flags};

use super::disks::nodes;
use super::modules::{self, Modules};
use super::root::{Attributes, Kind, TargetRoot};

/// What is mounted in the target root. Dropping it unmounts what still is.
#[derive(Default)]
pub struct Mounts {
    targets: Vec<PathBuf>,
    made: Vec<String>,
}

impl Mounts {
    /// Carries out the mount stage in the tree at `top`, whose root is `root`.
    pub fn add_all(
        &mut self,
        work: &Operations,
        top: &Path,
        root: &TargetRoot,
        modules: &mut Modules<'_>,
    ) -> Result<()> {
        for operation in work.of(Stage::Mount) {
            if let Operation::Mount(mount) = operation {
                self.add(mount, top, root, modules)
                    .with_context(|| format!("mounting {} on {}", mount.device, mount.path))?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        mount: &Mount,
        top: &Path,
        root: &TargetRoot,
        modules: &mut Modules<'_>,
    ) -> Result<()> {
        if matches!(mount.format, Format::Swap | Format::None) {
            return Ok(());
        }
        self.made.extend(make_ready(root, &mount.path)?);
        let device = nodes::of(&mount.device)?;
        modules.load(modules::of_filesystem(mount.format));
        let target = top.join(mount.path.trim_start_matches('/'));
        let (flags, data) = options(&mount.options);
        mounts::mount(&device, &target, mount.format.name(), flags, &data)?;
        self.targets.push(target);
        Ok(())
    }

    /// The directories that were made for mount points, and on the way to them.
    pub fn made(&self) -> &[String] {
        &self.made
    }

    /// Brings everything to the devices and unmounts, the last first. All are tried; the first error
    /// counts.
    pub fn unmount(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(target) = self.targets.pop() {
            outcome = outcome.and(leave(&target));
        }
        outcome
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        while let Some(target) = self.targets.pop() {
            // An error is under way already; whoever uses the device next finds it busy and says so.
            let _ = leave(&target);
        }
    }
}

fn leave(target: &Path) -> Result<()> {
    let tree = File::open(target).with_context(|| format!("opening {}", target.display()))?;
    let written = rustix::fs::syncfs(&tree)
        .with_context(|| format!("bringing what was written below {}", target.display()));
    drop(tree);
    mounts::unmount(target)?;
    written
}

/// Every directory on the way is there, and none of them is a link: the path is then the same inside
/// the root and outside. Gives back those that were made.
fn make_ready(root: &TargetRoot, path: &str) -> Result<Vec<String>> {
    let mut made = Vec::new();
    let mut reached = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        reached = format!("{reached}/{part}");
        match root.kind(&reached)? {
            Some(Kind::Directory) => {}
            Some(_) => bail!("{reached} is not a directory, and {path} is a mount point"),
            None => {
                root.make_directory(&reached, &Attributes::root(0o755))?;
                made.push(reached.clone());
            }
        }
    }
    Ok(made)
}

/// Options as `mount -o` takes them (mount(8)), as flags and the filesystem's own text.
fn options(options: &[String]) -> (Flags, String) {
    let mut flags = Flags::empty();
    let mut own: Vec<&str> = Vec::new();
    for option in options.iter().flat_map(|option| option.split(',')) {
        match option {
            "" => {}
            "defaults" => {
                flags.remove(Flags::MS_RDONLY | HARDENED | Flags::MS_SYNCHRONOUS);
            }
            // Of mount(8) and systemd, not of the kernel.
            "auto" | "noauto" | "nofail" | "_netdev" | "user" | "nouser" | "users" | "owner"
            | "group" => {}
            other if other.starts_with("x-") || other.starts_with("X-") => {}
            other if other.starts_with("comment=") => {}
            other => match flag(other) {
                Some((flag, true)) => flags.insert(flag),
                Some((flag, false)) => flags.remove(flag),
                None => own.push(other),
            },
        }
    }
    (flags, own.join(","))
}

const HARDENED: Flags = Flags::MS_NOSUID
    .union(Flags::MS_NODEV)
    .union(Flags::MS_NOEXEC);

/// The flag that an option sets (`true`) or clears.
fn flag(option: &str) -> Option<(Flags, bool)> {
    Some(match option {
        "ro" => (Flags::MS_RDONLY, true),
        "rw" => (Flags::MS_RDONLY, false),
        "nosuid" => (Flags::MS_NOSUID, true),
        "suid" => (Flags::MS_NOSUID, false),
        "nodev" => (Flags::MS_NODEV, true),
        "dev" => (Flags::MS_NODEV, false),
        "noexec" => (Flags::MS_NOEXEC, true),
        "exec" => (Flags::MS_NOEXEC, false),
        "sync" => (Flags::MS_SYNCHRONOUS, true),
        "async" => (Flags::MS_SYNCHRONOUS, false),
        "dirsync" => (Flags::MS_DIRSYNC, true),
        "noatime" => (Flags::MS_NOATIME, true),
        "atime" => (Flags::MS_NOATIME, false),
        "nodiratime" => (Flags::MS_NODIRATIME, true),
        "diratime" => (Flags::MS_NODIRATIME, false),
        "relatime" => (Flags::MS_RELATIME, true),
        "norelatime" => (Flags::MS_RELATIME, false),
        "strictatime" => (Flags::MS_STRICTATIME, true),
        "nostrictatime" => (Flags::MS_STRICTATIME, false),
        "lazytime" => (Flags::MS_LAZYTIME, true),
        "nolazytime" => (Flags::MS_LAZYTIME, false),
        "silent" => (Flags::MS_SILENT, true),
        "loud" => (Flags::MS_SILENT, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_and_the_filesystems_own() {
        let check = |given: &[&str], flags: Flags, own: &str| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(options(&given), (flags, own.to_owned()), "{given:?}");
        };
        check(&[], Flags::empty(), "");
        check(&["noexec", "subvolid=5"], Flags::MS_NOEXEC, "subvolid=5");
        check(
            &["ro,nodev", "compress=zstd,discard"],
            Flags::MS_RDONLY | Flags::MS_NODEV,
            "compress=zstd,discard",
        );
        check(&["ro", "rw", "noatime"], Flags::MS_NOATIME, "");
        check(&["ro,nosuid", "defaults", "noexec"], Flags::MS_NOEXEC, "");
        check(
            &["nofail", "x-systemd.automount", "_netdev", "noauto"],
            Flags::empty(),
            "",
        );
    }

    #[test]
    fn a_mount_point_is_made_of_directories_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = TargetRoot::open(folder.path()).unwrap();
        let made = make_ready(&root, "/var/lib/data").unwrap();
        assert_eq!(made, ["/var", "/var/lib", "/var/lib/data"]);
        assert!(folder.path().join("var/lib/data").is_dir());
        make_ready(&root, "/var/lib/data").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("tmp0")).unwrap();
        let error = make_ready(&root, "/tmp0").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/tmp0 is not a directory, and /tmp0 is a mount point"
        );
        let error = make_ready(&root, "/tmp0/below").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/tmp0 is not a directory, and /tmp0/below is a mount point"
        );
    }
}
