//! SELinux labels of what was written, by the target's own policy and its own setfiles.

use std::ffi::CString;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::programs;
use super::root::TargetRoot;

const CONFIG: &str = "/etc/selinux/config";
const SETFILES: &str = "/usr/sbin/setfiles";

/// Labels these paths and what is below them. A target without a policy has no labels.
pub fn run(root: &TargetRoot, paths: &[String]) -> Result<()> {
    let Some(contexts) = contexts(root)? else {
        return Ok(());
    };
    let names = rustix::fs::memfd_create("paths", rustix::fs::MemfdFlags::CLOEXEC);
    let mut list = std::fs::File::from(names.context("making a list of paths")?);
    for path in paths {
        // setfiles fails where nothing is.
        if path == "/" || root.stat(path)?.is_some() {
            list.write_all(&[path.as_bytes(), b"\0"].concat())?;
        }
    }
    list.seek(SeekFrom::Start(0))?;
    let mut command = Command::new(SETFILES);
    command
        .args(["-F", "-0", "-f", "-", &contexts])
        .stdin(Stdio::from(list));
    in_root(&mut command, root)?;
    programs::finish("setfiles", command)?
        .succeeded("setfiles")
        .map(drop)
}

/// The file that says which path has which label; `None` where there is no policy, or an empty one.
fn contexts(root: &TargetRoot) -> Result<Option<String>> {
    let config = root.read(CONFIG)?.unwrap_or_default();
    let config = String::from_utf8_lossy(&config);
    let policy = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("SELINUXTYPE="))
        .map(str::trim)
        .next_back();
    let Some(policy) = policy.filter(|policy| !policy.is_empty()) else {
        return Ok(None);
    };
    let path = format!("/etc/selinux/{policy}/contexts/files/file_contexts");
    let has_rules = root.read(&path)?.is_some_and(|rules| !rules.is_empty());
    Ok(has_rules.then_some(path))
}

/// Lets the program see the target as its whole tree.
fn in_root(command: &mut Command, root: &TargetRoot) -> Result<()> {
    let folder = root
        .as_fd()
        .try_clone_to_owned()
        .context("opening the target")?;
    let here = CString::from(c".");
    let enter = move || {
        // SAFETY: both calls take an open descriptor or a string that live as long as this closure.
        let failed =
            unsafe { libc::fchdir(folder.as_raw_fd()) != 0 || libc::chroot(here.as_ptr()) != 0 };
        if failed {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_the_target_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = TargetRoot::open(folder.path()).unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(contexts(&root).unwrap(), None);
        run(&root, &["/etc".into()]).unwrap();
        write(
            "etc/selinux/config",
            "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
        );
        assert_eq!(contexts(&root).unwrap(), None, "no such policy");
        let path = "etc/selinux/targeted/contexts/files/file_contexts";
        write(path, "");
        assert_eq!(contexts(&root).unwrap(), None, "no rules");
        write(path, "/.* system_u:object_r:default_t:s0\n");
        assert_eq!(contexts(&root).unwrap(), Some(format!("/{path}")));
        let error = run(&root, &["/etc".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "starting setfiles",
            "this target has none"
        );
    }
}
