//! Runs a segment's programs in a root that has nothing but the toolbox.

use std::process::Command;

use anyhow::{Context, Result};

use crate::initramfs::Archive;
use crate::{process, setup};

/// Where the agent looks for programs.
const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Unpacks the archives over each other and runs each command there.
pub fn run<'a>(layers: impl IntoIterator<Item = &'a Archive>, commands: &[String]) -> Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    let root = tempfile::tempdir().context("making a scratch folder")?;
    for layer in layers {
        layer.unpack(root.path())?;
    }
    let is_root = setup::is_root();
    for command in commands {
        // Without root, in a user namespace, as the node's packages are installed.
        let mut inside = match is_root {
            true => Command::new("chroot"),
            false => Command::new("unshare"),
        };
        match is_root {
            true => inside.arg(root.path()),
            false => inside.args(["--map-root-user", "--root"]).arg(root.path()),
        };
        inside.args(command.split_whitespace());
        process::run(inside.env_clear().env("PATH", SEARCH_PATH))?;
    }
    Ok(())
}
