//! Somebody else's DHCP server (dnsmasq) owns the addresses: `mode: auto` finds it, gives boot files
//! beside it and no address, and a BIOS and a UEFI machine come to their agents all the same.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use super::{TO_AGENT, edit_cluster_file, expect_timeline};
use crate::appliance;
use crate::lab::{Lab, LabOptions};
use crate::neighbour::{Addresses, Neighbour};
use crate::up::default_memory;
use crate::vm::Firmware;

const NEIGHBOUR: Addresses = Addresses {
    own: Ipv4Addr::new(10, 77, 0, 2),
    first: Ipv4Addr::new(10, 77, 0, 220),
    last: Ipv4Addr::new(10, 77, 0, 230),
};
const BIOS: &str = "node1";
const UEFI: &str = "node2";

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.nodes = Some(2);
    options.memory = default_memory(Firmware::Uefi);
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let cluster = edit_cluster_file(lab, "mode: server", "mode: auto")?;
    let disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&disk, &cluster)?;
    let neighbour = Neighbour::start(&lab.segment, NEIGHBOUR, lab.folder())?;

    lab.start_appliance()?;
    lab.machine(UEFI)?.vm.spec.firmware = Firmware::Uefi;
    for name in [BIOS, UEFI] {
        lab.machine(name)?.power_on()?;
    }
    for name in [BIOS, UEFI] {
        // Its own confirmation would need the address that cluster.yaml gives it: the agent is enough.
        let detail = lab
            .api
            .wait_for(name, "known by its agent", TO_AGENT, |detail| {
                detail.inventory.is_some()
            })?;
        let own = detail
            .inventory
            .as_ref()
            .map(|inventory| inventory.firmware);
        ensure!(own.is_some(), "{name} has no firmware");
        expect_timeline(&detail, "proxy")?;
        let given = given_to(&neighbour, lab, name)?;
        let range = NEIGHBOUR.first..=NEIGHBOUR.last;
        ensure!(range.contains(&given), "{name} was given {given}");
    }
    Ok(())
}

/// The address that the neighbour's dnsmasq says it gave to a machine:
/// `… DHCPACK(tap0) 10.77.0.221 52:54:00:00:00:01`.
fn given_to(neighbour: &Neighbour, lab: &mut Lab, name: &str) -> Result<Ipv4Addr> {
    let log = neighbour.log()?;
    let nics = &lab.machine(name)?.vm.spec.nics;
    let mac = nics.first().context("it has no NIC")?.mac.to_string();
    let line = log
        .lines()
        .rfind(|line| line.contains("DHCPACK(") && line.contains(&mac))
        .with_context(|| format!("the neighbour gave nothing to {name} at {mac}"))?;
    let (_, rest) = line.split_once("DHCPACK(").unwrap_or_default();
    let address = rest.split_whitespace().nth(1).unwrap_or_default();
    address.parse().with_context(|| format!("reading {line:?}"))
}
