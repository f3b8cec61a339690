//! Looks at machines and acts on them, over the API.

use hardway_model::plan::{Arming, Grant};
use hardway_model::view::{GrantRequest, MachineDetail, MachineView};
use serde_json::Value;

use super::client::Appliance;
use crate::clock;
use crate::ui::rows::{self, Disk, Hold, Line, Row};

/// A machine of an appliance.
#[derive(clap::Args)]
pub struct MachineName {
    /// Its name in cluster.yaml, or the hyphenated MAC of an undeclared machine
    pub name: String,
    #[command(flatten)]
    pub appliance: Appliance,
}

/// Looking at machines.
#[derive(clap::Subcommand)]
pub enum MachineCommand {
    /// Every machine in a table
    List(Appliance),
    /// One machine with its hardware and timeline
    Show(MachineName),
}

/// Permissions.
#[derive(clap::Subcommand)]
pub enum GrantCommand {
    /// Let one disk that holds something be written, once
    Wipe {
        #[command(flatten)]
        machine: MachineName,
        /// The disk's id, where several disks wait for a grant
        #[arg(long)]
        disk: Option<String>,
    },
}

/// The appliance as a machine.
#[derive(clap::Subcommand)]
pub enum ApplianceCommand {
    /// Restart it
    Reboot(Appliance),
    /// Switch it off
    Poweroff(Appliance),
}

/// `hardway appliance …`
pub fn appliance(command: &ApplianceCommand) -> anyhow::Result<()> {
    let (appliance, path) = match command {
        ApplianceCommand::Reboot(appliance) => (appliance, "/api/v1/appliance/reboot"),
        ApplianceCommand::Poweroff(appliance) => (appliance, "/api/v1/appliance/poweroff"),
    };
    appliance.post(path, &Value::Null).map(drop)
}

/// `hardway machine …`
pub fn machine(command: &MachineCommand) -> anyhow::Result<()> {
    match command {
        MachineCommand::List(appliance) if appliance.json => {
            print_json(appliance, "/api/v1/machines")
        }
        MachineCommand::List(appliance) => {
            let machines: Vec<MachineView> = appliance.get("/api/v1/machines")?;
            print_table(&table(machines));
            Ok(())
        }
        MachineCommand::Show(machine) if machine.appliance.json => {
            print_json(&machine.appliance, &machine.path(""))
        }
        MachineCommand::Show(machine) => {
            let detail: MachineDetail = machine.appliance.get(&machine.path(""))?;
            show(detail);
            Ok(())
        }
    }
}

/// `hardway grant wipe NAME`
pub fn grant(command: &GrantCommand) -> anyhow::Result<()> {
    let GrantCommand::Wipe { machine, disk } = command;
    let request = GrantRequest { disk: disk.clone() };
    let answer = machine.appliance.post(&machine.path("/grants"), &request)?;
    let grant: Grant = serde_json::from_str(&answer)?;
    println!(
        "disk {} of {} may be written once",
        grant.disk, machine.name
    );
    Ok(())
}

/// `hardway arm NAME`
pub fn arm(machine: &MachineName) -> anyhow::Result<()> {
    let answer = machine
        .appliance
        .post(&machine.path("/arm"), &Value::Null)?;
    let arming: Arming = serde_json::from_str(&answer)?;
    println!(
        "generation {} of {} may be installed on disk {}",
        arming.generation, machine.name, arming.disk
    );
    Ok(())
}

/// `hardway reinstall NAME`
pub fn reinstall(machine: &MachineName) -> anyhow::Result<()> {
    machine
        .appliance
        .post(&machine.path("/reinstall"), &Value::Null)?;
    println!(
        "{} is to be installed again at its next network boot",
        machine.name
    );
    Ok(())
}

/// `hardway export`
pub fn export(appliance: &Appliance) -> anyhow::Result<()> {
    print_json(appliance, "/api/v1/export")
}

impl MachineName {
    /// The path of something of this machine.
    pub fn path(&self, rest: &str) -> String {
        machine_path(&self.name, rest)
    }
}

/// The path of something of a machine.
pub fn machine_path(name: &str, rest: &str) -> String {
    format!("/api/v1/machines/{}{rest}", escaped(name))
}

/// Percent-encodes what could change a path (RFC 3986, section 2.3: unreserved characters stay).
fn escaped(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Prints what the API answers.
pub fn print_json(appliance: &Appliance, path: &str) -> anyhow::Result<()> {
    let value: Value = appliance.get(path)?;
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

fn table(machines: Vec<MachineView>) -> Vec<Vec<String>> {
    let heading = [
        "NAME",
        "PROFILE",
        "STATE",
        "PROGRESS",
        "GENERATION",
        "ADDRESS",
        "CHECKS",
        "LAST SEEN",
    ];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for machine in machines {
        let row = Row::new(machine, clock::now());
        let passed = row.checks.iter().filter(|check| check.ok).count();
        let checks = match row.checks.len() {
            0 => String::new(),
            count => format!("{passed}/{count}"),
        };
        let bytes = row.bar.map_or(row.bytes, |bar| bar.words);
        let progress = format!("{} {bytes}", row.step).trim().to_owned();
        let state = match row.diagnosis {
            Some(diagnosis) => format!("{}, {diagnosis}", row.phase),
            None => row.phase.to_owned(),
        };
        lines.push(vec![
            row.name,
            row.profile,
            state,
            progress,
            row.generation,
            row.address,
            checks,
            row.last_seen,
        ]);
    }
    lines
}

/// Columns as wide as their widest cell, two spaces apart.
pub fn print_table(lines: &[Vec<String>]) {
    for line in aligned(lines) {
        println!("{line}");
    }
}

fn aligned(lines: &[Vec<String>]) -> Vec<String> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            printable(&cells.join("  ")).trim_end().to_owned()
        })
        .collect()
}

fn show(detail: MachineDetail) {
    let mut lines = vec![
        vec!["State".into(), detail.machine.phase.name().to_owned()],
        vec![
            "Profile".into(),
            detail.machine.profile.clone().unwrap_or_default(),
        ],
    ];
    let facts = rows::facts(&detail).into_iter();
    lines.extend(facts.map(|(name, value)| vec![name.to_owned(), value]));
    println!("{}", detail.machine.name);
    print_table(&lines);
    if let Some(hold) = Hold::of(&detail.machine.phase) {
        let hold = format!("{}: {}\n{}", hold.title, hold.cause, hold.remedy);
        println!("\n{}", printable(&hold));
    }
    let disks = detail
        .inventory
        .iter()
        .flat_map(|found| &found.disks)
        .map(Disk::new);
    let disks: Vec<Vec<String>> = disks
        .map(|disk| vec![disk.path, disk.size, disk.id, disk.kind, disk.content])
        .collect();
    if !disks.is_empty() {
        println!("\nDisks");
        print_table(&disks);
    }
    let orders = detail.planned.iter().flat_map(|planned| &planned.disks);
    for (index, line) in orders.enumerate() {
        if index == 0 {
            println!("\nWhat is to happen to its disks");
        }
        println!("{}", printable(line));
    }
    println!("\nTimeline");
    for line in detail.timeline.iter().map(Line::new) {
        let text = printable(&line.text);
        println!("{}  {:7}  {text}", line.time, line.severity);
    }
}

/// A machine's text cannot move the operator's cursor.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() && c != '\n' {
            true => ' ',
            false => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let lines = [["NAME", "STATE"], ["node1", "running"]];
        let lines: Vec<Vec<String>> = lines.map(|line| line.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(aligned(&lines), ["NAME   STATE", "node1  running"]);
    }

    #[test]
    fn a_machines_text_cannot_move_the_cursor() {
        let model = vec!["\u{1b}[2Jdisk".to_owned(), "\u{9b}31m\u{7}".to_owned()];
        assert_eq!(aligned(&[model]), [" [2Jdisk   31m"]);
        assert_eq!(printable("cause\nremedy\r"), "cause\nremedy ");
    }

    #[test]
    fn names_stay_one_path_segment() {
        let machine = "../export?x=1";
        assert_eq!(escaped(machine), "..%2Fexport%3Fx%3D1");
        assert_eq!(escaped("52-54-00-00-00-01"), "52-54-00-00-00-01");
    }
}
