//! A virtual machine from its power-on until its system runs, phase by phase, as the lab tells it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::Tools;
use crate::ours;
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;
use crate::server::last_lines;

/// Firmware of the machine, and how control passes to the installed system.
const WAYS: [(&str, &str); 4] = [
    ("bios", "kexec"),
    ("bios", "reboot"),
    ("uefi", "kexec"),
    ("uefi", "reboot"),
];

/// One machine with nothing but the image; sixty-four zeros stand for "as built" there.
const CLUSTER: &str = "\
version: 1
cluster: {name: bench}
network:
  address: 10.77.0.1/24
  interface: auto
  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.199, lease: 1h}
images:
  node:
    file: node.img.zst
    sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"
    config: agent
profiles:
  node:
    image: node
    disk: {min_size: 4GiB}
    after_install: AFTER_INSTALL
    kernel_arguments: [no_timer_check, console=tty0, \"console=ttyS0\"]
machines:
  - {name: node1, match: {mac: \"52:54:00:00:00:01\"}, profile: node, address: 10.77.0.11}
";

/// What the lab writes of a machine. Times in seconds from power-on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Machine {
    to_agent: Option<f64>,
    to_installed: Option<f64>,
    to_running: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Figures {
    accelerator: String,
    machines: Vec<Machine>,
}

/// Seconds that each phase takes, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Phases {
    to_agent: f64,
    to_installed: f64,
    to_running: f64,
}

/// Measures every way once a repeat, in turns; in a smoke test the first way only.
pub fn measure(bench: &Bench, tools: &Tools) -> anyhow::Result<Vec<Row>> {
    let ways = if bench.settings.smoke {
        &WAYS[..1]
    } else {
        &WAYS[..]
    };
    let mut taken = vec![Vec::new(); ways.len()];
    let mut accelerator = String::new();
    for (repeat, index) in bench.turns(ways.len()) {
        let (firmware, how) = ways[index];
        let figures = play(bench, tools, firmware, how)
            .with_context(|| format!("a machine with {firmware} and {how}"))?;
        let phases = figures.machines.first().and_then(Machine::phases);
        let phases = phases.context("the lab tells no times of its machine")?;
        eprintln!("{repeat} {firmware}, {how}: {phases:?}");
        taken[index].push(phases);
        accelerator = figures.accelerator;
    }
    let rows = ways
        .iter()
        .zip(&taken)
        .flat_map(|((firmware, how), taken)| {
            rows(
                &format!("{firmware}, {how}, {accelerator}"),
                bench.ours.version(),
                taken,
            )
        });
    Ok(rows.collect())
}

fn play(bench: &Bench, tools: &Tools, firmware: &str, how: &str) -> anyhow::Result<Figures> {
    let state = bench.state("lab")?;
    let (cluster, json) = (state.join("cluster.yaml"), state.join("figures.json"));
    ours::write(&cluster, &CLUSTER.replace("AFTER_INSTALL", how))?;
    let log = bench.log(&format!("lab-{firmware}-{how}"));
    let output = fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let mut command = Command::new(&tools.lab);
    command
        .arg("up")
        .arg(&cluster)
        .args(["--once", "--firmware", firmware]);
    command.arg("--artifacts").arg(&tools.artifacts);
    command.arg("--json").arg(&json);
    command.stdin(Stdio::null());
    command
        .stdout(output.try_clone().context("duplicating a log")?)
        .stderr(output);
    let status = command.status().context("starting the lab")?;
    ensure!(
        status.success(),
        "the lab ended with {status}:\n{}",
        last_lines(&log)
    );
    read(&json)
}

fn read(json: &Path) -> anyhow::Result<Figures> {
    let text = fs::read(json).with_context(|| format!("reading {}", json.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", json.display()))
}

impl Machine {
    /// Each phase from the end of the one before; `None` where one did not end.
    fn phases(&self) -> Option<Phases> {
        let (agent, installed, running) = (self.to_agent?, self.to_installed?, self.to_running?);
        Some(Phases {
            to_agent: agent,
            to_installed: installed - agent,
            to_running: running - installed,
        })
    }
}

fn rows(way: &str, version: &str, taken: &[Phases]) -> Vec<Row> {
    type Seconds = fn(&Phases) -> f64;
    let kinds: [(&str, Seconds); 4] = [
        ("power-on to agent", |phases| phases.to_agent),
        ("agent to installed", |phases| phases.to_installed),
        ("installed to running", |phases| phases.to_running),
        ("power-on to running", |phases| {
            phases.to_agent + phases.to_installed + phases.to_running
        }),
    ];
    let row = |(what, seconds): (&str, Seconds)| {
        Row::new(
            format!("Lab, {way}: {what}"),
            "s",
            Better::Lower,
            Figure::new(ours::NAME, version, taken.iter().map(seconds).collect()),
            Vec::new(),
            Target::Known,
        )
    };
    kinds.map(row).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another() {
        let text = r#"{"accelerator": "tcg", "all_ready": 70.0, "machines": [
            {"name": "node1", "to_agent": 20.5, "to_installed": 50.0, "to_running": 70.0}
        ]}"#;
        let figures: Figures = serde_json::from_str(text).unwrap();
        let expected = Phases {
            to_agent: 20.5,
            to_installed: 29.5,
            to_running: 20.0,
        };
        assert_eq!(figures.machines[0].phases(), Some(expected));
        let cut = Machine {
            to_running: None,
            ..figures.machines[0].clone()
        };
        assert_eq!(cut.phases(), None);
        let rows = rows("bios", "1", &[expected]);
        let medians: Vec<f64> = rows.iter().map(|row| row.ours.median).collect();
        assert_eq!(medians, [20.5, 29.5, 20.0, 70.0]);
    }
}
