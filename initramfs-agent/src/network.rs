//! The one interface that the machine booted from, or what the appliance says is to be made of its
//! ports: found, brought up, given its address.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_model::identity::MacAddress;
use hardway_model::network::BondMode;
use hardway_userspace::links::{self, Link};
use hardway_userspace::stacked_links::{make_bond, make_vlan};

use crate::arguments::Arguments;
use crate::dhcp;
use crate::drivers::OwnDrivers;
use crate::reports::Reports;

/// The bond's name, here and in no other system.
const BOND: &str = "bond0";
/// How long a card may take to appear after its driver was loaded.
const CARD: Duration = Duration::from_secs(30);
/// How long a link may take: switches with spanning tree need half a minute.
const CARRIER: Duration = Duration::from_secs(60);

/// Brings the network up by the interface that booted, or by the first that has carrier where the
/// firmware did not say; or by what the appliance says is to be made of the ports. Gives back the
/// hardware address by which the machine booted.
pub fn bring_up(
    arguments: &Arguments,
    drivers: &mut OwnDrivers,
    reports: &Reports,
) -> Result<MacAddress> {
    // Nothing here needs loopback; a program of the rescue kind might.
    let _ = links::set_address("lo", Ipv4Addr::LOCALHOST, 8).and_then(|()| links::up("lo"));
    let wanted = &arguments.link;
    let (mut name, mac) = match wanted.bond {
        Some(mode) => bond(mode, arguments, drivers, reports)?,
        None => {
            let found = find(arguments.boot_mac.as_slice(), drivers, reports)?;
            with_carrier(found).context("waiting for the network link")?
        }
    };
    if let Some(id) = wanted.vlan {
        drivers.load("8021q", reports);
        name = make_vlan(&name, id)?;
        links::up(&name)?;
    }
    let lease = dhcp::acquire(&name, mac)?;
    links::set_address(&name, lease.address, lease.prefix)?;
    if let Some(gateway) = lease.gateway {
        // An isolated network works without; the appliance is on this very segment.
        if let Err(error) = links::set_default_route(&name, gateway) {
            reports.log(&crate::patience::chain(&error));
        }
    }
    write_resolver(&lease.dns);
    reports.log(&format!(
        "{name} ({mac}) has address {}/{} from {}",
        lease.address, lease.prefix, lease.server
    ));
    Ok(mac)
}

/// A bond of those of its ports that are there. It has the address of the port that booted, so that it
/// is the same client to a DHCP server as the firmware.
fn bond(
    mode: BondMode,
    arguments: &Arguments,
    drivers: &mut OwnDrivers,
    reports: &Reports,
) -> Result<(String, MacAddress)> {
    let mut ports = find(&arguments.link.ports, drivers, reports)?;
    let is_boot = |link: &Link| Some(MacAddress(link.mac)) == arguments.boot_mac;
    if let Some(boot) = ports.iter().position(is_boot) {
        ports.swap(0, boot);
    }
    drivers.load("bonding", reports);
    let names: Vec<String> = ports.iter().map(|link| link.name.clone()).collect();
    make_bond(Path::new("/"), BOND, mode.kernel_name(), &names)?;
    reports.log(&format!("{BOND} is made of {}", names.join(", ")));
    ports.truncate(1);
    ports[0].name = BOND.to_owned();
    with_carrier(ports).context("waiting for the bond's link")
}

/// The cards with these addresses, or all where none is named. Those that are not there in time are
/// done without, as long as there is one.
fn find(wanted: &[MacAddress], drivers: &mut OwnDrivers, reports: &Reports) -> Result<Vec<Link>> {
    let deadline = Instant::now() + CARD;
    loop {
        drivers.coldplug(reports);
        let mut links = links::list(Path::new("/"))?;
        links.retain(|link| wanted.is_empty() || wanted.contains(&MacAddress(link.mac)));
        let is_late = Instant::now() >= deadline;
        if links.len() >= wanted.len().max(1) || (is_late && !links.is_empty()) {
            return Ok(links);
        }
        if is_late {
            match wanted.is_empty() {
                false => bail!(
                    "no network card with one of the addresses {wanted:?}, by which this machine \
                     boots, has a driver here"
                ),
                true => bail!("no network card has a driver here"),
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Brings them up, and gives the first that has carrier.
fn with_carrier(links: Vec<Link>) -> Result<(String, MacAddress)> {
    for link in &links {
        links::up(&link.name)?;
    }
    let deadline = Instant::now() + CARRIER;
    loop {
        for link in &links {
            if links::wait_for_carrier(Path::new("/"), &link.name, Duration::from_millis(50)) {
                return Ok((link.name.clone(), MacAddress(link.mac)));
            }
        }
        if Instant::now() >= deadline {
            let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            bail!(
                "{} has no carrier: is the cable plugged in?",
                names.join(", ")
            );
        }
    }
}

/// For images and files that cluster.yaml names by host name.
fn write_resolver(servers: &[Ipv4Addr]) {
    let text: String = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    // Without it only names are lost, and whoever needs one says so.
    let _ = std::fs::create_dir_all("/etc").and_then(|()| std::fs::write("/etc/resolv.conf", text));
}
