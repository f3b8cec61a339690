//! `hardway ignition`: judge, merge and translate Ignition configs.

use std::process::ExitCode;

/// What is done.
#[derive(clap::Subcommand)]
pub enum Command {}

/// Runs it.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match *command {}
}
