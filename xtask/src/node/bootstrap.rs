//! The packages, installed into an archive by mmdebstrap.
//!
//! Lists and package files come from the private apt state, so that exactly the packages that were
//! resolved are installed, and a second build needs no network.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::recipe::Recipe;
use crate::apt::Apt;
use crate::{disk, process, progress};

/// Installs what the recipe names and writes the root filesystem to the tar archive `output`.
pub fn install(apt: &Apt, recipe: &Recipe, output: &Path) -> Result<()> {
    let step = progress::spinner("fetching the node's packages");
    process::run(
        Command::new("apt-get")
            .args([
                "-qq",
                "--yes",
                "--download-only",
                "--no-install-recommends",
                "install",
            ])
            .args(recipe.wanted())
            .env("APT_CONFIG", apt.configuration()),
    )
    .context("fetching packages")?;
    step.done("complete");

    let step = progress::spinner("installing the node's packages");
    process::run(&mut command(apt, recipe, output)).context("installing packages")?;
    step.done("complete");
    Ok(())
}

fn command(apt: &Apt, recipe: &Recipe, output: &Path) -> Command {
    let configuration = apt.configuration();
    let state = configuration.parent().unwrap_or(Path::new("."));
    let archives = state.join("cache/archives");
    let lists = state.join("lists");

    let mut command = Command::new("mmdebstrap");
    command
        .env("SOURCE_DATE_EPOCH", disk::EPOCH.to_string())
        // The kernel package makes no initrd: the image gets its own.
        .env("INITRD", "No")
        .args(["--mode=auto", "--variant=apt", "--format=tar"])
        .arg(format!("--include={}", recipe.packages.join(",")))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(
            recipe
                .exclude
                .iter()
                .map(|path| format!("--dpkgopt=path-exclude={path}")),
        )
        .args(
            recipe
                .include
                .iter()
                .map(|path| format!("--dpkgopt=path-include={path}")),
        )
        .arg("--skip=update,download/empty,essential/unlink")
        .arg("--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives \"$1\"/var/lib/apt/lists")
        .arg(sync_in(&archives, "/var/cache/apt/archives/"))
        .arg(sync_in(&lists, "/var/lib/apt/lists/"))
        .arg(&recipe.suite)
        .arg(output)
        .args(apt.sources().lines());
    command
}

/// A hook that runs outside of the namespace, which could not read a user's own folders.
fn sync_in(folder: &Path, to: &str) -> String {
    format!("--setup-hook=sync-in '{}' {to}", folder.display())
}
