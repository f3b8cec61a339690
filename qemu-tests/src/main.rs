//! `hardway-lab`: the lab and its scenarios, on the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hardway_qemu_tests::scenarios::power_cuts::{self, Side};
use hardway_qemu_tests::scenarios::{self, TestOptions};
use hardway_qemu_tests::up::{self, UpOptions};
use hardway_qemu_tests::vm::{BootOrder, Firmware};
use hardway_qemu_tests::{clients, conformance, interop, interrupt};

/// Virtual machines that prove Hardway: a rack on this computer, without root.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot the appliance and a blank VM for each machine of a cluster file.
    Up {
        /// The cluster file.
        file: PathBuf,
        /// End when every machine runs and passes its checks (status 0), or when time is up (1).
        #[arg(long)]
        once: bool,
        /// How many machines, instead of those that the file declares.
        #[arg(long)]
        nodes: Option<usize>,
        /// Firmware of the machines.
        #[arg(long, value_enum, default_value = "bios")]
        firmware: Firmware,
        /// What the machines boot from first.
        #[arg(long, value_enum, default_value = "network")]
        boot: BootOrder,
        /// Memory of each machine in MiB.
        #[arg(long)]
        memory: Option<u32>,
        /// So many further blank disks for each machine.
        #[arg(long, default_value_t = 0)]
        data_disks: usize,
        /// Put logs and disks there, and keep the disks.
        #[arg(long)]
        keep: Option<PathBuf>,
        /// Write what was measured there, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// The build's output folder.
        #[arg(long, default_value = "out")]
        artifacts: PathBuf,
    },
    /// Play the scenarios: all, or the one that is named.
    Test {
        /// The scenario's name, or a part of it.
        name: Option<String>,
        /// The build's output folder.
        #[arg(long, default_value = "out")]
        artifacts: PathBuf,
        /// The lab's cluster file.
        #[arg(long, default_value = "configs/lab/cluster.yaml")]
        cluster: PathBuf,
    },
    /// Cut the power all over an installation: at every point, or at some of them.
    PowerCuts {
        /// Whose power; both, one after the other, without.
        side: Option<Side>,
        /// The number of the first point.
        #[arg(long, default_value_t = 1)]
        first: usize,
        /// The number of the last point; without, that of all.
        #[arg(long)]
        last: Option<usize>,
        /// The build's output folder.
        #[arg(long, default_value = "out")]
        artifacts: PathBuf,
        /// The lab's cluster file.
        #[arg(long, default_value = "configs/lab/cluster.yaml")]
        cluster: PathBuf,
    },
    /// Run the real programs' own cases.
    Conformance {
        /// The folder that holds them.
        #[arg(long)]
        corpus: PathBuf,
        /// Only this corpus, or CORPUS/PART: only its cases with that part in their name.
        #[arg(long)]
        only: Option<String>,
        /// The build's output folder.
        #[arg(long, default_value = "out")]
        artifacts: PathBuf,
        /// Put the guests' logs there.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Let real clients talk to `hardway serve` in network namespaces.
    Interop {
        /// The case's name, or a part of it; all, without.
        name: Option<String>,
        /// The `hardway` program.
        #[arg(long, default_value = "out/bin/hardway")]
        program: PathBuf,
        /// The folder that holds boot/ and modules/; an empty one, without.
        #[arg(long)]
        payload: Option<PathBuf>,
    },
    /// Record what real DHCP clients send, for the test that replays it.
    CaptureClients {
        /// The client's name, or a part of it; all, without.
        name: Option<String>,
        /// The `hardway` program.
        #[arg(long, default_value = "out/bin/hardway")]
        program: PathBuf,
        /// Where the recordings go, beside their cluster.yaml.
        #[arg(long, default_value = "crates/netboot/tests/clients")]
        folder: PathBuf,
    },
    /// List the scenarios.
    List,
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

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up {
            file,
            once,
            nodes,
            firmware,
            boot,
            memory,
            data_disks,
            keep,
            json,
            artifacts,
        } => up::run(&UpOptions {
            file,
            once,
            nodes,
            firmware,
            boot,
            memory,
            data_disks,
            keep,
            json,
            artifacts,
        }),
        Command::Test {
            name,
            artifacts,
            cluster,
        } => scenarios::run(&TestOptions {
            name,
            artifacts,
            cluster,
        }),
        Command::PowerCuts {
            side,
            first,
            last,
            artifacts,
            cluster,
        } => {
            let options = TestOptions {
                name: None,
                artifacts,
                cluster,
            };
            let sides = side.map_or(vec![Side::Machine, Side::Appliance], |side| vec![side]);
            for side in sides {
                power_cuts::run(&options, side, first, last)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Conformance {
            corpus,
            only,
            artifacts,
            keep,
        } => {
            interrupt::catch()?;
            let all_well = conformance::run(&conformance::Options {
                corpus,
                only,
                artifacts,
                keep,
            })?;
            Ok(if all_well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Interop {
            name,
            program,
            payload,
        } => interop::run(&interop::Options { program, payload }, name.as_deref()),
        Command::CaptureClients {
            name,
            program,
            folder,
        } => {
            let options = interop::Options {
                program,
                payload: None,
            };
            clients::capture(&options, name.as_deref(), &folder)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::List => {
            scenarios::list();
            Ok(ExitCode::SUCCESS)
        }
    }
}
