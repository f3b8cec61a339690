//! `hardway-agent confirm`, on the installed system: tells the appliance that it runs.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use hardway_model::messages::Running;
use serde::{Deserialize, Serialize};

use crate::http::Appliance;
use crate::patience::{chain, pause};

/// What the agent leaves for it, relative to the installed system's root.
pub const FILE: &str = "/var/lib/hardway/confirm.json";
/// About twenty minutes; the unit starts it again after that.
const ATTEMPTS: u32 = 120;

/// The content of [`FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The appliance, as `http://10.77.0.1`.
    pub url: String,
    /// The machine's name.
    pub machine: String,
    /// The generation of its installation.
    pub generation: u32,
    /// What proves that this is the system that was installed.
    pub key: String,
}

/// Posts [`Running`] until it is accepted.
pub fn run() -> ExitCode {
    match confirm(Path::new(FILE)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hardway-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn confirm(file: &Path) -> Result<()> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let confirmation: Confirmation =
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", file.display()))?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("reading the boot id")?;
    let running = Running {
        machine: confirmation.machine,
        generation: confirmation.generation,
        key: confirmation.key,
        boot_id: boot_id.trim().to_owned(),
    };
    let appliance = Appliance::new(&confirmation.url, "");
    for attempt in 0.. {
        match appliance.post("/agent/v1/running", &running) {
            Ok(_) => break,
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                eprintln!("hardway-agent: {}; trying again", chain(&error));
                std::thread::sleep(pause(attempt));
            }
            Err(error) => return Err(error).context("confirming that this system runs"),
        }
    }
    println!("the appliance knows that {} runs", running.machine);
    Ok(())
}
