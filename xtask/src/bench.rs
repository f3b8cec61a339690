//! `bench`: the boot services and the installation measured beside their peers, by `hardway-bench`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::binaries::{self, Program};
use crate::{daemons, lab, node, process, setup, workspace};

mod coreos_installer;

/// What the peers of the services come in.
const SERVICES: &[(&str, &str)] = &[
    ("dnsmasq-base", "dnsmasq"),
    ("iproute2", "ip, for the network namespaces"),
    ("kea-admin", "perfdhcp"),
    ("kea-dhcp4-server", "kea-dhcp4"),
    ("nginx-light", "nginx"),
    ("tftpd-hpa", "in.tftpd"),
];

/// What an installation's peers run, beside what is set up for every command.
const INSTALLERS: &[(&str, &str)] = &[("udev", "udevadm"), ("util-linux", "lsblk")];

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub enum Kind {
    /// DHCP, TFTP, HTTP and a boot storm, each beside its peers
    Services(Services),
    /// An image written to a disk beside coreos-installer, and a machine's way to its running system
    Install(Install),
}

/// Which services.
#[derive(Debug, Args)]
pub struct Services {
    #[command(flatten)]
    run: Run,
    /// Measure only these: dhcp, tftp, http, storm
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    only: Vec<String>,
}

/// What of an installation.
#[derive(Debug, Args)]
pub struct Install {
    #[command(flatten)]
    run: Run,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often the node image's content stands on the disk that is written
    #[arg(long, value_name = "N", default_value_t = 2)]
    copies: u8,
    /// Debian mirror for the images, instead of the one that this machine's apt uses
    #[arg(long)]
    mirror: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// An image, to a block device
    Write,
    /// A virtual machine, from power-on to its running system
    Lab,
}

/// How it is measured.
#[derive(Debug, Args)]
struct Run {
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table there, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// How often each figure is taken
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeats: u32,
    /// Only see that everything runs; no figure means anything then
    #[arg(long)]
    smoke: bool,
}

/// Builds, installs what is missing, and hands over.
pub fn run(kind: &Kind) -> Result<ExitCode> {
    let command = match kind {
        Kind::Services(services) => services_command(services)?,
        Kind::Install(install) => install_command(install)?,
    };
    finish(command)
}

fn services_command(services: &Services) -> Result<Command> {
    daemons::ensure(SERVICES)?;
    let mut command = bench("services", &services.run)?;
    if !services.only.is_empty() {
        command.args(["--only", &services.only.join(",")]);
    }
    Ok(command)
}

fn install_command(install: &Install) -> Result<Command> {
    setup::ensure()?;
    daemons::ensure(INSTALLERS)?;
    let peer = coreos_installer::ensure()?;
    let mirror = install.mirror.as_deref();
    if install.wants(Part::Lab) {
        lab::build(mirror, true)?;
    }
    let (image, agent) = {
        let _lock = workspace::lock()?;
        (
            node::build(mirror)?.join(lab::NODE_IMAGE),
            binaries::build(Program::ReplayingAgent)?,
        )
    };
    let mut command = bench("install", &install.run)?;
    command.arg("--agent").arg(agent);
    command.arg("--coreos-installer").arg(peer);
    command.arg("--image").arg(image);
    command.arg("--lab").arg(binaries::place(Program::Lab));
    command.arg("--artifacts").arg(workspace::out());
    command.args(install.words());
    Ok(command)
}

/// The bench, and how it is to measure.
fn bench(kind: &str, run: &Run) -> Result<Command> {
    let (bench, hardway) = {
        let _lock = workspace::lock()?;
        (
            binaries::build(Program::Bench)?,
            binaries::build(Program::Hardway)?,
        )
    };
    let mut command = setup::as_root(&bench.to_string_lossy())?;
    command.arg(kind).arg("--hardway").arg(hardway);
    command.arg("--folder").arg(workspace::out().join("bench"));
    command.args(run.words()?);
    Ok(command)
}

fn finish(mut command: Command) -> Result<ExitCode> {
    if !setup::is_root() {
        eprintln!("bench: it makes network namespaces, so it is run by sudo");
    }
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", process::line(&command)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Install {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn words(&self) -> Vec<String> {
        let mut words = vec!["--copies".to_owned(), self.copies.to_string()];
        for part in &self.only {
            let name = match part {
                Part::Write => "write",
                Part::Lab => "lab",
            };
            words.extend(["--only".to_owned(), name.to_owned()]);
        }
        words
    }
}

impl Run {
    fn words(&self) -> Result<Vec<String>> {
        let mut words = vec!["--repeats".to_owned(), self.repeats.to_string()];
        for (option, file) in [("--json", &self.json), ("--markdown", &self.markdown)] {
            if let Some(file) = file {
                let path = std::path::absolute(file);
                let path = path.with_context(|| format!("resolving {}", file.display()))?;
                words.extend([option.to_owned(), path.display().to_string()]);
            }
        }
        if self.smoke {
            words.push("--smoke".to_owned());
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        kind: Kind,
    }

    #[test]
    fn what_was_asked_for_is_handed_on() {
        let words = |line: &str| {
            let words = std::iter::once("bench").chain(line.split(' '));
            match Line::parse_from(words).kind {
                Kind::Services(services) => services.run.words().unwrap(),
                Kind::Install(install) => [install.words(), install.run.words().unwrap()].concat(),
            }
        };
        assert_eq!(
            words("services --json /rows.json --repeats 5 --smoke"),
            ["--repeats", "5", "--json", "/rows.json", "--smoke"]
        );
        assert_eq!(
            words("install --only write,lab --copies 2"),
            [
                "--copies",
                "2",
                "--only",
                "write",
                "--only",
                "lab",
                "--repeats",
                "3"
            ]
        );
    }
}
