//! `lab`: builds what is needed, then hands over to `hardway-lab`, which owns the virtual machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::binaries::{self, Program};
use crate::{agent, appliance, node, process, setup, workspace};

/// The file of the node image that is built here.
pub const NODE_IMAGE: &str = "node.img.zst";

/// What the lab is asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The cluster file: a virtual machine is made for each machine that it declares
    #[arg(default_value_os_t = default_file())]
    file: PathBuf,
    /// End when every machine runs and is ready (status 0), or when time is up (status 1)
    #[arg(long)]
    once: bool,
    /// So many machines, instead of those that the file declares
    #[arg(long)]
    nodes: Option<usize>,
    /// Firmware of the machines
    #[arg(long, value_enum, default_value = "bios")]
    firmware: Firmware,
    /// Memory of each machine in MiB
    #[arg(long)]
    memory: Option<u32>,
    /// So many further blank disks for each machine
    #[arg(long, default_value_t = 0)]
    data_disks: usize,
    /// Put logs and disks there, and keep the disks
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Write what was measured there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Debian mirror for the images, instead of the one that this machine's apt uses
    #[arg(long)]
    mirror: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Firmware {
    Bios,
    Uefi,
}

/// Builds, starts the lab, and ends with its status.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure()?;
    let text = fs::read_to_string(&arguments.file)
        .with_context(|| format!("reading {}", arguments.file.display()))?;
    let program = build(arguments.mirror.as_deref(), text.contains(NODE_IMAGE))?;
    let mut command = Command::new(program);
    command.args(words(arguments));
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", process::line(&command)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds everything that a lab runs on, and returns the lab's own program.
pub fn build(mirror: Option<&str>, with_node: bool) -> Result<PathBuf> {
    let _lock = workspace::lock()?;
    agent::build(mirror)?;
    appliance::build(mirror)?;
    if with_node {
        let folder = node::build(mirror)?;
        node::import(&folder, &binaries::build(Program::Hardway)?)?;
    }
    binaries::build(Program::Lab)
}

/// The file that a lab runs when none is named.
fn default_file() -> PathBuf {
    workspace::root().join("configs/lab/cluster.yaml")
}

fn words(arguments: &Arguments) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string();
    let mut words = vec!["up".to_owned(), shown(&arguments.file)];
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([format!("--{name}"), value]);
        }
    };
    option("artifacts", Some(shown(&workspace::out())));
    option("nodes", arguments.nodes.map(|nodes| nodes.to_string()));
    option("memory", arguments.memory.map(|memory| memory.to_string()));
    option("data-disks", Some(arguments.data_disks.to_string()));
    option("keep", arguments.keep.as_deref().map(shown));
    option("json", arguments.json.as_deref().map(shown));
    let firmware = match arguments.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    option("firmware", Some(firmware.to_owned()));
    if arguments.once {
        words.push("--once".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn what_was_given_is_handed_on() {
        let line = Line::parse_from([
            "lab",
            "a.yaml",
            "--once",
            "--nodes",
            "5",
            "--firmware",
            "uefi",
            "--json",
            "m.json",
        ]);
        let out = workspace::out().display().to_string();
        assert_eq!(
            words(&line.arguments),
            [
                "up",
                "a.yaml",
                "--artifacts",
                &out,
                "--nodes",
                "5",
                "--data-disks",
                "0",
                "--json",
                "m.json",
                "--firmware",
                "uefi",
                "--once"
            ]
        );
    }
}
