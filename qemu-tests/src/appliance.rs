//! The appliance in the lab: its disk composed with the operator's own command, its CONFIG partition
//! edited as a laptop would.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts::Artifacts;
use crate::disk;
use crate::tools::run;
use crate::working_copy::WorkingCopy;

/// What the appliance has to run in.
pub const MEMORY_MIB: u32 = 256;
/// A small stick. Sparse on the host.
const DISK_SIZE: u64 = 4 << 30;

/// Makes a flashable disk with the working copy on it, by `hardway media compose`.
pub fn compose(
    artifacts: &Artifacts,
    copy: &WorkingCopy,
    admin_token: &str,
    images_are_exchanged: bool,
    output: &Path,
) -> Result<()> {
    let token_file = output.with_extension("admin-token");
    fs::write(&token_file, admin_token)
        .with_context(|| format!("writing {}", token_file.display()))?;
    let mut command = Command::new(artifacts.hardway());
    command
        .args(["media", "compose", "--image"])
        .arg(artifacts.appliance_image())
        .arg("--config")
        .arg(&copy.file)
        .arg("--images-dir")
        .arg(&copy.images)
        .arg("--admin-token")
        .arg(&token_file)
        .arg("--size")
        .arg(DISK_SIZE.to_string())
        .arg("--output")
        .arg(output);
    if images_are_exchanged {
        command.arg("--no-verify-images");
    }
    run(&mut command)
        .context("composing the appliance's disk")
        .map(drop)
}

/// Replaces cluster.yaml on the CONFIG partition of an appliance's disk that is switched off.
pub fn replace_config(appliance_disk: &Path, cluster_file: &Path) -> Result<()> {
    let offset = disk::partition_offset(appliance_disk, "CONFIG")?;
    let mut command = Command::new("mcopy");
    command
        .args(["-o", "-i"])
        .arg(format!("{}@@{offset}", appliance_disk.display()))
        .arg(cluster_file)
        .arg("::cluster.yaml");
    run(&mut command)
        .context("replacing cluster.yaml on the CONFIG partition")
        .map(drop)
}
