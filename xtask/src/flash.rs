//! `flash`: the appliance onto a stick or disk, which has to be the right one.

mod device;
mod write;

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::binaries::{self, Program};
use crate::{appliance, process, progress, setup, workspace};
use device::Facts;

/// What is written, and where to.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The stick or disk, such as /dev/sdb. Everything on it is lost
    device: PathBuf,
    /// Put this cluster.yaml, its config parts and the images that it names onto it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the OS images are, that the cluster.yaml names
    #[arg(long, value_name = "DIR", requires = "config", default_value_os_t = workspace::out().join("node"))]
    images_dir: PathBuf,
    /// Another image than the one that is built here
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Judges the device, makes the image, asks, writes, and reads it back.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure()?;
    // Judged before the build as well: what will be refused need not be built for.
    let facts = Facts::read(&arguments.device, &device::System::here())?;
    refuse(&arguments.device, &facts, 0)?;
    let composed = Composed(workspace::out().join("flash.img"));
    let image = image(arguments, &composed.0)?;
    let length = fs::metadata(&image)
        .with_context(|| format!("reading {}", image.display()))?
        .len();
    refuse(&arguments.device, &facts, length)?;
    if !arguments.yes && !confirmed(&arguments.device, &facts)? {
        bail!("nothing was written");
    }
    write::write(&image, &arguments.device)?;
    eprintln!(
        "flash: {} is ready; it can be removed",
        arguments.device.display()
    );
    Ok(())
}

fn refuse(device: &Path, facts: &Facts, length: u64) -> Result<()> {
    facts
        .judge(length)
        .with_context(|| format!("refusing to write to {}", device.display()))
}

/// The image as it is built, or a copy with the operator's cluster.yaml in it.
fn image(arguments: &Arguments, composed: &Path) -> Result<PathBuf> {
    let _lock = workspace::lock()?;
    let base = match &arguments.image {
        Some(image) => image.clone(),
        None => appliance::build(None)?,
    };
    let Some(config) = &arguments.config else {
        return Ok(base);
    };
    let hardway = binaries::build(Program::Hardway)?;
    let mut command = Command::new(hardway);
    command
        .args(["media", "compose", "--image"])
        .arg(&base)
        .arg("--config")
        .arg(config);
    command
        .arg("--images-dir")
        .arg(&arguments.images_dir)
        .arg("--output")
        .arg(composed);
    process::run_visibly(&mut command)?;
    Ok(composed.to_path_buf())
}

fn confirmed(device: &Path, facts: &Facts) -> Result<bool> {
    let device = device.display();
    eprint!(
        "Everything on {device} ({}, {}) will be lost. Write {device} to go on: ",
        facts.model,
        progress::size(facts.size)
    );
    io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    ensure!(!answer.is_empty(), "there is nobody to ask: say --yes");
    Ok(answer.trim() == device.to_string())
}

/// The image with the operator's configuration, which may hold secrets: it goes when this ends.
struct Composed(PathBuf);

impl Drop for Composed {
    fn drop(&mut self) {
        // It is not there when no configuration was given.
        let _ = fs::remove_file(&self.0);
    }
}
