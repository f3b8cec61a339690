//! The workspace's own commands, as `cargo xtask …`: thin, they spawn tools.
//!
//! - [`setup`]: the host's packages
//!   - [`daemons`]: those of them that may not become the host's services
//! - [`agent`], [`appliance`], [`node`], [`toolbox`]: images from the recipes under `images/`
//!   - [`binaries`]: this workspace's programs; [`apt`], [`mirror`], [`closure`]: Debian's packages
//!   - [`kernel`], [`modules`], [`initramfs`], [`disk`]: what images are put together from
//!   - [`manifest`], [`stamp`]: what they are made of, and whether that has changed
//! - [`lab`], [`test`]: virtual machines
//! - [`conformance`]: the cases of real Ignition and Butane
//! - [`bench`]: the boot services and the installation beside their peers
//! - [`fuzz`]: random input for what strangers' input reaches
//! - [`flash`]: the appliance onto a stick

mod agent;
mod appliance;
mod apt;
mod bench;
mod binaries;
mod closure;
mod conformance;
mod daemons;
mod disk;
mod flash;
mod fuzz;
mod initramfs;
mod kernel;
mod lab;
mod loaders;
mod manifest;
mod mirror;
mod modules;
mod node;
mod process;
mod progress;
mod setup;
mod stamp;
mod test;
mod toolbox;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tries and tests Hardway")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the host packages that are missing
    Setup,
    /// Build an image into out/
    Image {
        /// Which one
        which: Image,
        /// Debian mirror, instead of the one that this machine's apt uses
        #[arg(long)]
        mirror: Option<String>,
    },
    /// Start an appliance and a virtual machine for each declared machine
    Lab(lab::Arguments),
    /// Run the checks and tests: all of them, or one kind
    Test {
        #[command(subcommand)]
        kind: Option<test::Kind>,
    },
    /// Run the cases of real Ignition and Butane
    Conformance(conformance::Arguments),
    /// Measure what the appliance serves, or an installation, beside its peers
    Bench {
        #[command(subcommand)]
        kind: bench::Kind,
    },
    /// Run the fuzz targets, or one of them
    Fuzz(fuzz::Arguments),
    /// Write the appliance image to a stick or disk
    Flash(flash::Arguments),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Image {
    /// The disk that runs every boot service
    Appliance,
    /// Kernel, initramfs and module store of a machine that is being installed
    Agent,
    /// The operating system that labs and tests install
    Node,
    /// Programs that the agent fetches where a machine's plan needs them
    Toolbox,
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
        Command::Setup => setup::run()?,
        Command::Image { which, mirror } => {
            setup::ensure()?;
            let _lock = workspace::lock()?;
            match which {
                Image::Appliance => drop(appliance::build(mirror.as_deref())?),
                Image::Agent => drop(agent::build(mirror.as_deref())?),
                Image::Node => drop(node::build(mirror.as_deref())?),
                Image::Toolbox => drop(toolbox::build(mirror.as_deref())?),
            }
        }
        Command::Lab(arguments) => return lab::run(&arguments),
        Command::Test { kind } => test::run(kind)?,
        Command::Conformance(arguments) => return conformance::run(&arguments),
        Command::Bench { kind } => return bench::run(&kind),
        Command::Fuzz(arguments) => fuzz::run(&arguments)?,
        Command::Flash(arguments) => flash::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
