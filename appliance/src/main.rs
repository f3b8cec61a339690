//! `hardway`: PID 1 of the appliance, its boot services, and the operator's command line.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`init`] | PID 1: mounts, modules, network, the screen; then supervises `serve` |
//! | [`configuration`] | cluster.yaml as it stands on disk, and the watch over it |
//! | [`context`] | what `serve` was started with, and what every loop and request is given |
//! | [`fleet`] | the one owner of desired state and lifecycle: commands in, snapshots out |
//! | [`journal`] | durable state |
//! | [`leases`] | the log of leases, durable before a client hears of its own |
//! | [`doctor`] | looks at machines that boot, and keeps what was noticed of the network |
//! | [`metrics`] | what the services count |
//! | [`images`] | the OS images in the store, hashed in the background |
//! | [`local_folder`] | where Butane finds the files beside it |
//! | [`network_part`] | the installed system's network as a config part |
//! | [`render`] | config parts → one Ignition config for one machine |
//! | [`planning`] | hardware and configuration → what happens to a machine's disks |
//! | [`toolbox`] | programs that the agent fetches where a plan needs them |
//! | [`checks`] | readiness checks of running machines |
//! | [`serve`] | socket loops |
//! | [`token`] | the operator's token, and random ones |
//! | [`api`] | the route table and its JSON |
//! | [`ui`] | pages |
//! | [`cli`] | operator commands |

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod api;
mod checks;
mod cli;
mod clock;
mod configuration;
mod context;
mod doctor;
mod download;
mod fetcher;
#[cfg(test)]
mod fixture;
mod fleet;
mod images;
mod imported;
mod init;
mod journal;
mod leases;
mod local_folder;
mod metrics;
mod network_part;
mod planning;
mod render;
mod seal;
mod serve;
mod signature;
mod token;
mod toolbox;
mod ui;
mod unpack;

#[derive(Parser)]
#[command(
    name = "hardway",
    version,
    about = "Turns a rack of blank machines into a cluster"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be PID 1 of the appliance
    Init,
    /// Run the boot services
    Serve(context::Options),
    /// Judge a cluster.yaml, its config parts and its images
    Check(cli::check::Arguments),
    /// Print the JSON Schema of cluster.yaml
    Schema,
    /// Show what would happen to each disk of a machine, or of all
    Plan(cli::plan::PlanArguments),
    /// Look at machines
    #[command(subcommand)]
    Machine(cli::operator::MachineCommand),
    /// Permit something once
    #[command(subcommand)]
    Grant(cli::operator::GrantCommand),
    /// Let a machine be installed whose profile says `install: when-armed`
    Arm(cli::operator::MachineName),
    /// Install a machine again, as a new generation
    Reinstall(cli::operator::MachineName),
    /// Save what a machine said while it booted, for a packet analyser
    Pcap(cli::network::Pcap),
    /// Every address that is lent, in a table
    Leases(cli::client::Appliance),
    /// The appliance itself
    #[command(subcommand)]
    Appliance(cli::operator::ApplianceCommand),
    /// Print the whole durable state as JSON
    Export(cli::client::Appliance),
    /// Judge, merge and translate Ignition configs
    #[command(subcommand)]
    Ignition(cli::ignition::Command),
    /// The image store
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make media for the appliance
    #[command(subcommand)]
    Media(MediaCommand),
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Bring an OS image into the form that it is installed from
    Import(cli::image::Import),
}

#[derive(Subcommand)]
enum MediaCommand {
    /// Make a flashable disk from the appliance's image, a cluster.yaml and the images it names
    Compose(cli::media::Compose),
}

fn main() -> ExitCode {
    // The kernel hands words of its command line that it does not know to /init as arguments.
    let is_init = std::env::args_os()
        .next()
        .is_some_and(|name| name == "/init");
    if is_init && std::process::id() == 1 {
        init::run();
    }
    let command = Arguments::parse().command;
    if !matches!(command, Command::Init | Command::Serve(_)) {
        end_with_the_reader();
    }
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Lets `hardway schema | head` end quietly. Rust ignores SIGPIPE, and printing would panic.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action is installed, no handler, and nothing runs beside this thread yet.
    if let Err(error) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
        eprintln!("warning: cannot restore SIGPIPE: {error}");
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init if std::process::id() == 1 => init::run(),
        Command::Init => anyhow::bail!("`hardway init` is for PID 1 of the appliance"),
        Command::Serve(options) => serve::run(options),
        Command::Check(arguments) => cli::check::run(&arguments),
        Command::Schema => cli::check::schema().map(|()| ExitCode::SUCCESS),
        Command::Plan(arguments) => cli::plan::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Machine(command) => cli::operator::machine(&command).map(|()| ExitCode::SUCCESS),
        Command::Grant(command) => cli::operator::grant(&command).map(|()| ExitCode::SUCCESS),
        Command::Arm(machine) => cli::operator::arm(&machine).map(|()| ExitCode::SUCCESS),
        Command::Reinstall(machine) => {
            cli::operator::reinstall(&machine).map(|()| ExitCode::SUCCESS)
        }
        Command::Pcap(arguments) => cli::network::pcap(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Leases(appliance) => cli::network::leases(&appliance).map(|()| ExitCode::SUCCESS),
        Command::Appliance(command) => {
            cli::operator::appliance(&command).map(|()| ExitCode::SUCCESS)
        }
        Command::Export(appliance) => cli::operator::export(&appliance).map(|()| ExitCode::SUCCESS),
        Command::Ignition(command) => cli::ignition::run(&command),
        Command::Image(ImageCommand::Import(arguments)) => {
            cli::image::import(&arguments).map(|()| ExitCode::SUCCESS)
        }
        Command::Media(MediaCommand::Compose(arguments)) => {
            cli::media::run(&arguments).map(|()| ExitCode::SUCCESS)
        }
    }
}
