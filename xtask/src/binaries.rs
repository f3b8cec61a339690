//! This workspace's programs, built statically and put into `out/bin`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{process, progress, workspace};

/// A program that images and labs are made with.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// `hardway`: the appliance's PID 1, its services and the command line.
    Hardway,
    /// `hardway-agent`: PID 1 of a machine that is being installed.
    Agent,
    /// The same with `hardway-agent replay`, for benches: in no image.
    ReplayingAgent,
    /// `hardway-fetch`: what the agent runs to fetch over TLS.
    Fetch,
    /// `hardway-lab`: the lab and its scenarios.
    Lab,
    /// `hardway-bench`: the services measured beside their peers.
    Bench,
    /// `hardway-blackbox`: PID 1 of the guest that conformance cases are played in.
    Blackbox,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Hardway => "hardway",
            Program::Agent | Program::ReplayingAgent => "hardway-agent",
            Program::Fetch => "hardway-fetch",
            Program::Lab => "hardway-lab",
            Program::Bench => "hardway-bench",
            Program::Blackbox => "hardway-blackbox",
        }
    }

    /// As it is called in `out/bin`.
    fn copy(self) -> &'static str {
        match self {
            Program::ReplayingAgent => "hardway-agent-replay",
            other => other.name(),
        }
    }

    /// The package of this workspace that it is built from.
    pub fn package(self) -> &'static str {
        match self {
            Program::Hardway => "hardway-appliance",
            Program::Agent | Program::ReplayingAgent => "hardway-agent",
            Program::Fetch => "hardway-fetch",
            Program::Lab | Program::Blackbox => "hardway-qemu-tests",
            Program::Bench => "hardway-bench",
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Program::Fetch => &["tls"],
            Program::ReplayingAgent => &["replay"],
            Program::Hardway
            | Program::Agent
            | Program::Lab
            | Program::Bench
            | Program::Blackbox => &[],
        }
    }

    fn profile(self) -> &'static str {
        match self {
            Program::Agent | Program::ReplayingAgent | Program::Fetch => "agent",
            Program::Hardway | Program::Lab | Program::Bench | Program::Blackbox => "release",
        }
    }
}

/// Builds a program and returns its copy in `out/bin`, which is touched only when it has changed.
pub fn build(program: Program) -> Result<PathBuf> {
    let name = program.copy();
    let built = cargo_build(program).with_context(|| format!("building {name}"))?;
    let copy = place(program);
    let folder = workspace::out().join("bin");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let data = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(&copy).is_ok_and(|old| old == data) {
        return Ok(copy);
    }
    // A program that runs cannot be written over; one that is renamed into its place can replace it.
    let fresh = folder.join(format!(".{name}.new"));
    fs::copy(&built, &fresh).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, &copy).with_context(|| format!("renaming {} to {name}", fresh.display()))?;
    eprintln!("{name}: {}", progress::size(data.len() as u64));
    Ok(copy)
}

/// Where [`build`] puts a program.
pub fn place(program: Program) -> PathBuf {
    workspace::out().join("bin").join(program.copy())
}

/// Runs cargo, whose progress and diagnostics go to the terminal and whose messages say where the
/// program is.
fn cargo_build(program: Program) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--profile", program.profile()]);
    cargo.args([
        "--package",
        program.package(),
        "--message-format",
        "json-render-diagnostics",
    ]);
    let features = program.features().iter();
    cargo.args(features.flat_map(|feature| ["--features", feature]));
    cargo
        .current_dir(workspace::root())
        .stderr(Stdio::inherit());
    let messages = process::run(&mut cargo)?;
    executable(&messages, program.name())
        .with_context(|| format!("cargo named no program {}", program.name()))
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let parsed = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    parsed
        .filter_map(|message| message.executable)
        .find(|path| path.file_name().is_some_and(|file| file == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/agent/hardway-agent\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            executable(messages, "hardway-agent"),
            Some("/t/agent/hardway-agent".into())
        );
        assert_eq!(executable(messages, "hardway"), None);
    }
}
