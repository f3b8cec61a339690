//! What a lab measured: bytes, seconds, memory, sizes.

use std::collections::BTreeMap;
use std::fmt;

use hardway_model::lifecycle;
use hardway_model::view::{MachineView, Status};
use serde::Serialize;

use crate::lab::LabMachine;

/// The whole report, as `--json` writes it. Sizes in bytes, times in seconds from power-on.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// Seconds from the first power-on until everything ran, when it did.
    pub all_ready: Option<f64>,
    /// One entry for each machine.
    pub machines: Vec<MachineFigures>,
    /// The appliance.
    pub appliance: ApplianceFigures,
    /// Every image and binary.
    pub sizes: BTreeMap<String, u64>,
}

/// One machine.
#[derive(Debug, Serialize)]
pub struct MachineFigures {
    /// Its name.
    pub name: String,
    /// Where it stands at the end.
    pub phase: &'static str,
    /// Whether every check holds.
    pub ready: bool,
    /// Bytes that it fetched before the installation began: boot files, kernel, initramfs, modules.
    pub fetched_before_install: u64,
    /// Bytes of the OS image that it fetched.
    pub fetched_image: u64,
    /// Until the agent's first word.
    pub to_agent: Option<f64>,
    /// Until the disk was complete.
    pub to_installed: Option<f64>,
    /// Until the installed system's first word.
    pub to_running: Option<f64>,
    /// How many installations began.
    pub installs_begun: u32,
}

/// The appliance.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct ApplianceFigures {
    /// From its power-on to its API's first answer.
    pub to_serving: f64,
    /// Memory that its VM has.
    pub memory: u64,
    /// Of this in use, page cache excluded.
    pub used_memory: u64,
    /// Resident memory of `hardway serve`.
    pub resident_memory: u64,
}

impl MachineFigures {
    /// `clock_offset` is what the appliance's clock is ahead of the host's, in milliseconds: its
    /// time stamps are exact where the lab's own polling is not.
    pub fn new(machine: &LabMachine, view: &MachineView, clock_offset: i64) -> Self {
        let since_power_on = |moment: Option<u64>| {
            let start = machine.power_on? as i64;
            Some((moment? as i64 - clock_offset - start) as f64 / 1000.0)
        };
        let figures = &view.figures;
        Self {
            name: view.name.clone(),
            phase: view.phase.name(),
            ready: view.checks.iter().all(|check| check.ok),
            fetched_before_install: figures.fetched_before_install,
            fetched_image: figures.fetched_image,
            to_agent: since_power_on(figures.agent_started),
            to_installed: since_power_on(figures.installed),
            to_running: since_power_on(figures.running),
            installs_begun: view.installs_begun,
        }
    }
}

impl ApplianceFigures {
    /// Adds what the appliance says of itself.
    pub fn observe(&mut self, status: &Status) {
        self.used_memory = self.used_memory.max(status.used_memory);
        self.resident_memory = self.resident_memory.max(status.resident_memory);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:<10} {:>12} {:>12} {:>9} {:>10} {:>9}",
            "machine", "state", "before", "image", "agent", "installed", "running"
        )?;
        for machine in &self.machines {
            writeln!(
                f,
                "{:<12} {:<10} {:>12} {:>12} {:>9} {:>10} {:>9}",
                machine.name,
                machine.phase,
                mebibytes(machine.fetched_before_install),
                mebibytes(machine.fetched_image),
                seconds(machine.to_agent),
                seconds(machine.to_installed),
                seconds(machine.to_running),
            )?;
        }
        let appliance = &self.appliance;
        writeln!(
            f,
            "appliance: serving after {:.1} s; at most {} of {} in use, {} by hardway serve",
            appliance.to_serving,
            mebibytes(appliance.used_memory),
            mebibytes(appliance.memory),
            mebibytes(appliance.resident_memory),
        )?;
        if let Some(all_ready) = self.all_ready {
            writeln!(f, "all ready after {all_ready:.1} s ({})", self.accelerator)?;
        }
        for (name, size) in &self.sizes {
            writeln!(f, "{name:<40} {:>12}", mebibytes(*size))?;
        }
        Ok(())
    }
}

/// Keeps the moments of the installation, which are those before the reboot that follows it.
pub fn carry_over(former: &lifecycle::Figures, now: &mut lifecycle::Figures) {
    now.agent_started = now.agent_started.or(former.agent_started);
    now.installed = now.installed.or(former.installed);
}

/// `12.3 MiB`.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_forgets_no_moment_of_the_installation() {
        let installed = lifecycle::Figures {
            agent_started: Some(10),
            installed: Some(20),
            ..lifecycle::Figures::default()
        };
        let mut rebooted = lifecycle::Figures {
            running: Some(30),
            ..lifecycle::Figures::default()
        };
        carry_over(&installed, &mut rebooted);
        let expected = lifecycle::Figures {
            running: Some(30),
            ..installed
        };
        assert_eq!(rebooted, expected);
    }
}
