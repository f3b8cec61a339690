//! coreos-installer, built from the registry's crate at a version that is named here.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, setup, workspace};

const VERSION: &str = "0.27.0";
/// What it is linked with, and found by.
const LIBRARIES: &[(&str, &str)] = &[
    ("liblzma-dev", "xz"),
    ("libssl-dev", "TLS"),
    ("libzstd-dev", "zstd"),
    ("pkg-config", "finding them"),
];

/// Builds it, unless it is there, and gives its place.
pub fn ensure() -> Result<PathBuf> {
    let root = workspace::out()
        .join("peers")
        .join(format!("coreos-installer-{VERSION}"));
    let program = root.join("bin/coreos-installer");
    if program.is_file() {
        return Ok(program);
    }
    setup::ensure_these(LIBRARIES)?;
    // Outside of the workspace, whose .cargo/config.toml would have it linked statically.
    let outside = tempfile::tempdir().context("making a temporary folder")?;
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "coreos-installer", "--locked", "--no-track"]);
    cargo.arg("--version").arg(format!("={VERSION}"));
    cargo.arg("--root").arg(&root);
    cargo.current_dir(outside.path());
    eprintln!("bench: {}", process::line(&cargo));
    process::run_visibly(&mut cargo).context("building coreos-installer")?;
    Ok(program)
}
