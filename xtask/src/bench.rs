//! `bench`: the boot services measured beside their peers, by `hardway-bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::binaries::{self, Program};
use crate::{daemons, process, setup, workspace};

/// What the peers come in.
const PEERS: &[(&str, &str)] = &[
    ("dnsmasq-base", "dnsmasq"),
    ("iproute2", "ip, for the network namespaces"),
    ("kea-admin", "perfdhcp"),
    ("kea-dhcp4-server", "kea-dhcp4"),
    ("nginx-light", "nginx"),
    ("tftpd-hpa", "in.tftpd"),
];

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub enum Kind {
    /// DHCP, TFTP, HTTP and a boot storm, each beside its peers
    Services(Services),
}

/// How it is measured.
#[derive(Debug, Args)]
pub struct Services {
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table there, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure only these: dhcp, tftp, http, storm
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each figure is taken
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeats: u32,
    /// Only see that everything runs; no figure means anything then
    #[arg(long)]
    smoke: bool,
}

/// Builds, installs what is missing, and hands over.
pub fn run(kind: &Kind) -> Result<ExitCode> {
    let Kind::Services(services) = kind;
    daemons::ensure(PEERS)?;
    let (bench, hardway) = {
        let _lock = workspace::lock()?;
        (
            binaries::build(Program::Bench)?,
            binaries::build(Program::Hardway)?,
        )
    };
    if !setup::is_root() {
        eprintln!("bench: it makes network namespaces, so it is run by sudo");
    }
    let mut command = setup::as_root(&bench.to_string_lossy())?;
    command.arg("services").arg("--hardway").arg(hardway);
    command.arg("--folder").arg(workspace::out().join("bench"));
    command.args(words(services)?);
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", process::line(&command)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn words(services: &Services) -> Result<Vec<String>> {
    let mut words = vec!["--repeats".to_owned(), services.repeats.to_string()];
    for (option, file) in [
        ("--json", &services.json),
        ("--markdown", &services.markdown),
    ] {
        if let Some(file) = file {
            let path = std::path::absolute(file);
            let path = path.with_context(|| format!("resolving {}", file.display()))?;
            words.extend([option.to_owned(), path.display().to_string()]);
        }
    }
    if !services.only.is_empty() {
        words.extend(["--only".to_owned(), services.only.join(",")]);
    }
    if services.smoke {
        words.push("--smoke".to_owned());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_handed_on() {
        let services = Services {
            json: Some("/rows.json".into()),
            markdown: None,
            only: vec!["dhcp".into(), "storm".into()],
            repeats: 5,
            smoke: true,
        };
        assert_eq!(
            words(&services).unwrap(),
            [
                "--repeats",
                "5",
                "--json",
                "/rows.json",
                "--only",
                "dhcp,storm",
                "--smoke"
            ]
        );
    }
}
