//! `fuzz`: runs the fuzz targets of `fuzz/`, from the seeds kept there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{process, workspace};

/// What cargo-fuzz is installed as, where it is missing.
const CARGO_FUZZ: &str = "^0.13";

/// What is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The target; all, one after another, without one
    target: Option<String>,
    /// How long each is run
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Runs one target or all of them; ends at the first finding.
pub fn run(arguments: &Arguments) -> Result<()> {
    require_nightly()?;
    ensure_cargo_fuzz()?;
    let known = targets()?;
    let chosen = match &arguments.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!(
            "there is no fuzz target `{target}`; there are {}",
            known.join(", ")
        ),
    };
    for target in chosen {
        run_one(&target, arguments.seconds)?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

fn targets() -> Result<Vec<String>> {
    let sources = folder().join("fuzz_targets");
    let entries =
        fs::read_dir(&sources).with_context(|| format!("listing {}", sources.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(name) = path.file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn require_nightly() -> Result<()> {
    let has_nightly = Command::new("cargo")
        .args(["+nightly", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_nightly {
        bail!(
            "fuzzing needs a nightly compiler, for its coverage of branches: `rustup toolchain install nightly`"
        );
    }
    Ok(())
}

fn ensure_cargo_fuzz() -> Result<()> {
    if process::exists("cargo-fuzz") {
        return Ok(());
    }
    eprintln!("fuzz: installing cargo-fuzz");
    let mut install = Command::new("cargo");
    // Elsewhere: the configuration of this workspace is for its own programs.
    install
        .args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ])
        .current_dir(std::env::temp_dir());
    process::run_visibly(&mut install).context("installing cargo-fuzz")
}

/// What is found new goes to `fuzz/corpus`, which git does not keep; a finding to `fuzz/artifacts`.
fn run_one(target: &str, seconds: u64) -> Result<()> {
    let corpus = made(folder().join("corpus").join(target))?;
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "fuzz", "run", target])
        .arg(corpus)
        .arg(made(folder().join("seeds").join(target))?)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg("-print_final_stats=1")
        .current_dir(workspace::root());
    eprintln!("fuzz: {}", process::line(&command));
    process::run_visibly(&mut command).with_context(|| format!("running the fuzz target {target}"))
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
