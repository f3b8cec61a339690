//! `hardway-bench`: the boot services and the installation measured beside their peers.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`enclosure`] | namespaces that end with the bench, whatever ends it |
//! | [`network`] | a server side, a client side and the link between them |
//! | [`server`] | a server that is measured: started, watched, ended |
//! | [`ours`], [`peers`] | each server's configuration and command |
//! | [`payload`] | the files that are served |
//! | [`section`] | what the sections share: sizes, repeats in turns |
//! | [`dhcp`], [`tftp`], [`http`], [`storm`] | what is measured of the services |
//! | [`install`] | what is measured of an installation |
//! | [`perfdhcp`], [`tftp_client`], [`http_client`] | who asks |
//! | [`async_tftpd`] | the peer that is a library |
//! | [`report`], [`machine`] | the rows, as a table and as data; what they were measured on |

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod async_tftpd;
mod dhcp;
mod enclosure;
mod http;
mod http_client;
mod install;
mod machine;
mod network;
mod ours;
mod payload;
mod peers;
mod perfdhcp;
mod report;
mod section;
mod server;
mod storm;
mod tftp;
mod tftp_client;

#[derive(Parser)]
#[command(
    name = "hardway-bench",
    version,
    about = "Measures Hardway beside its peers"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// DHCP, TFTP, HTTP and a boot storm
    Services(Services),
    /// An image written to a disk, and a virtual machine from power-on to its running system
    Install(Install),
    /// Serve a folder by async-tftp, as a peer
    #[command(hide = true)]
    AsyncTftpd(async_tftpd::Arguments),
}

/// What is measured of the services.
#[derive(Debug, clap::Args)]
struct Services {
    #[command(flatten)]
    run: Run,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<section::Name>,
}

/// What is measured of an installation.
#[derive(Debug, clap::Args)]
struct Install {
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    tools: install::Tools,
}

/// One run of a bench.
#[derive(Debug, clap::Args)]
struct Run {
    /// The program that is measured
    #[arg(long, value_name = "FILE")]
    hardway: PathBuf,
    /// Folder for state, payload and disks; on a real disk, since leases are made durable there. What
    /// earlier runs left in it is deleted, but for packed images
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Write the rows there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table there, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// How often each figure is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    repeats: u32,
    /// Only see that everything runs: sizes and times so small that no figure means anything
    #[arg(long)]
    smoke: bool,
    /// Set by the bench when it starts itself inside its namespaces
    #[arg(long, hide = true)]
    enclosed: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::AsyncTftpd(arguments) => async_tftpd::run(&arguments),
        Command::Services(Services { run, only }) => enclosed(&run, |bench, report| {
            for (name, measure) in SECTIONS {
                if only.is_empty() || only.contains(&name) {
                    let rows = measure(bench).with_context(|| format!("measuring {name}"))?;
                    report.add(rows);
                }
            }
            Ok(())
        }),
        Command::Install(Install { run, tools }) => enclosed(&run, |bench, report| {
            for (part, measure) in install::PARTS {
                if tools.wants(part) {
                    let rows = measure(bench, &tools);
                    report.add(rows.with_context(|| format!("measuring {part}"))?);
                }
            }
            Ok(())
        }),
    }
}

/// Starts this program again inside the enclosure. In there: measures, prints the table, writes the files.
fn enclosed(
    run: &Run,
    measure: impl FnOnce(&section::Bench, &mut report::Report) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    if !run.enclosed {
        return enclosure::run(&run.folder);
    }
    enclosure::settle()?;
    let bench = section::Bench::prepare(section::Settings {
        hardway: run.hardway.clone(),
        folder: run.folder.clone(),
        repeats: run.repeats,
        smoke: run.smoke,
    })?;
    let mut report = report::Report::new(machine::describe(&run.folder));
    measure(&bench, &mut report)?;
    print!("{}", report::markdown(&report));
    if let Some(path) = &run.markdown {
        write(path, &report::markdown(&report))?;
    }
    if let Some(path) = &run.json {
        let json = serde_json::to_string_pretty(&report).context("writing the rows as JSON")?;
        write(path, &(json + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

type Measure = fn(&section::Bench) -> anyhow::Result<Vec<report::Row>>;

/// In the order in which a machine meets them.
const SECTIONS: [(section::Name, Measure); 4] = [
    (section::Name::Dhcp, dhcp::measure),
    (section::Name::Tftp, tftp::measure),
    (section::Name::Http, http::measure),
    (section::Name::Storm, storm::measure),
];

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
