//! `hardway-agent confirm`, on the installed system: tells the appliance that it runs, and sets the
//! firmware's boot entries back where the appliance says so.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use hardway_model::boot_variables::Variable;
use hardway_model::inventory::Inventory;
use hardway_model::messages::Running;
use serde::{Deserialize, Serialize};

use crate::http::Appliance;
use crate::patience::{chain, pause};
use crate::{boot_variables, inventory};

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
    /// Whether boot variables are written that the appliance names.
    #[serde(default)]
    pub sets_boot_entries: bool,
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
    let mut running = Running {
        machine: confirmation.machine,
        generation: confirmation.generation,
        key: confirmation.key,
        boot_id: boot_id.trim().to_owned(),
        inventory: None,
        written: None,
    };
    if confirmation.sets_boot_entries {
        running.inventory = with_boot_variables();
    }
    let appliance = Appliance::new(&confirmation.url, "");
    let answer = tell(&appliance, &running)?;
    println!("the appliance knows that {} runs", running.machine);
    if answer.is_empty() || running.inventory.is_none() {
        return Ok(());
    }
    // The firmware has reverted its boot entries, or never got them.
    let variables: Vec<Variable> =
        serde_json::from_slice(&answer).context("parsing the answer of the appliance")?;
    let written = boot_variables::write(Path::new(boot_variables::FOLDER), &variables);
    let error = written.err().map(|error| format!("{error:#}"));
    running.written = Some(error.unwrap_or_default());
    running.inventory = with_boot_variables();
    tell(&appliance, &running).map(drop)
}

/// The hardware, where the firmware has boot entries.
fn with_boot_variables() -> Option<Box<Inventory>> {
    if !Path::new(boot_variables::FOLDER).exists() {
        return None;
    }
    let inventory = inventory::take(Path::new("/"));
    inventory
        .boot_variables
        .is_some()
        .then(|| Box::new(inventory))
}

/// Says it until it is heard.
fn tell(appliance: &Appliance, running: &Running) -> Result<Vec<u8>> {
    let mut attempt = 0;
    loop {
        match appliance.post("/agent/v1/running", running) {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                eprintln!("hardway-agent: {}; trying again", chain(&error));
                std::thread::sleep(pause(attempt));
                attempt += 1;
            }
            Err(error) => return Err(error).context("confirming that this system runs"),
        }
    }
}
