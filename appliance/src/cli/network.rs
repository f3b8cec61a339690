//! Who holds which address, and what a machine said while it booted.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use hardway_model::view::{LeaseView, Status};

use super::client::Appliance;
use super::operator::{MachineName, print_json, print_table};
use crate::clock;

/// Which recording, and where to.
#[derive(clap::Args)]
pub struct Pcap {
    #[command(flatten)]
    machine: MachineName,
    /// Where it is written, `-` for the standard output; without it, MACHINE.pcap
    file: Option<PathBuf>,
}

/// `hardway pcap NAME [FILE]`
pub fn pcap(arguments: &Pcap) -> anyhow::Result<()> {
    let Pcap { machine, file } = arguments;
    let recording = machine.appliance.get_bytes(&machine.path("/boot.pcap"))?;
    let file = file
        .clone()
        .unwrap_or_else(|| format!("{}.pcap", machine.name).into());
    if file.as_os_str() == "-" {
        let written = std::io::stdout().write_all(&recording);
        return written.context("writing to the standard output");
    }
    std::fs::write(&file, &recording).with_context(|| format!("writing {}", file.display()))?;
    println!("{} bytes in {}", recording.len(), file.display());
    Ok(())
}

/// `hardway leases`
pub fn leases(appliance: &Appliance) -> anyhow::Result<()> {
    if appliance.json {
        return print_json(appliance, "/api/v1/leases");
    }
    let leases: Vec<LeaseView> = appliance.get("/api/v1/leases")?;
    print_table(&table(leases));
    let status: Status = appliance.get("/api/v1/status")?;
    for (index, notice) in status.notices.iter().enumerate() {
        if index == 0 {
            println!("\nNoticed of the network");
        }
        let words = [
            clock::utc(notice.time),
            notice.kind.clone(),
            notice.text.clone(),
        ];
        print_table(&[words.to_vec()]);
    }
    Ok(())
}

fn table(leases: Vec<LeaseView>) -> Vec<Vec<String>> {
    let heading = [
        "ADDRESS",
        "HARDWARE ADDRESS",
        "MACHINE",
        "HOST NAME",
        "UNTIL",
    ];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for lease in leases {
        let holder = match (lease.mac, &lease.host_name) {
            (Some(mac), _) => mac.to_string(),
            (None, Some(_)) => String::new(),
            (None, None) => "used by somebody else".to_owned(),
        };
        lines.push(vec![
            lease.address.to_string(),
            holder,
            lease.machine.unwrap_or_default(),
            lease.host_name.unwrap_or_default(),
            clock::utc(lease.expires),
        ]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_one_line() {
        let lease = |mac: Option<&str>, machine: Option<&str>| LeaseView {
            address: "10.77.0.11".parse().unwrap(),
            mac: mac.map(|mac| mac.parse().unwrap()),
            machine: machine.map(str::to_owned),
            host_name: None,
            expires: 1_700_000_000_000,
        };
        let lines = table(vec![
            lease(Some("52:54:00:00:00:01"), Some("node1")),
            lease(None, None),
        ]);
        let until = clock::utc(1_700_000_000_000);
        assert_eq!(
            lines[1],
            ["10.77.0.11", "52:54:00:00:00:01", "node1", "", &until]
        );
        assert_eq!(
            lines[2],
            ["10.77.0.11", "used by somebody else", "", "", &until]
        );
    }
}
