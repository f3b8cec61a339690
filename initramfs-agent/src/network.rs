//! The one interface that the machine booted from: found, brought up, given its address.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_model::identity::MacAddress;
use hardway_userspace::links::{self, Link};

use crate::dhcp;
use crate::drivers::OwnDrivers;
use crate::reports::Reports;

/// How long a card may take to appear after its driver was loaded.
const CARD: Duration = Duration::from_secs(30);
/// How long a link may take: switches with spanning tree need half a minute.
const CARRIER: Duration = Duration::from_secs(60);

/// Brings the network up by the interface with `boot_mac`, or by the first that has carrier where
/// the firmware did not say. Gives back that interface's hardware address.
pub fn bring_up(
    boot_mac: Option<MacAddress>,
    drivers: &mut OwnDrivers,
    reports: &Reports,
) -> Result<MacAddress> {
    // Nothing here needs loopback; a program of the rescue kind might.
    let _ = links::set_address("lo", Ipv4Addr::LOCALHOST, 8).and_then(|()| links::up("lo"));
    let link = find(boot_mac, drivers, reports)?;
    let mac = MacAddress(link.mac);
    let lease = dhcp::acquire(&link.name, mac)?;
    links::set_address(&link.name, lease.address, lease.prefix)?;
    if let Some(gateway) = lease.gateway {
        // An isolated network works without; the appliance is on this very segment.
        if let Err(error) = links::set_default_route(&link.name, gateway) {
            reports.log(&crate::patience::chain(&error));
        }
    }
    write_resolver(&lease.dns);
    reports.log(&format!(
        "{} ({mac}) has address {}/{} from {}",
        link.name, lease.address, lease.prefix, lease.server
    ));
    Ok(mac)
}

fn find(boot_mac: Option<MacAddress>, drivers: &mut OwnDrivers, reports: &Reports) -> Result<Link> {
    let deadline = Instant::now() + CARD;
    let links = loop {
        drivers.coldplug(reports);
        let mut links = links::list(Path::new("/"))?;
        if let Some(mac) = boot_mac {
            links.retain(|link| link.mac == mac.0);
        }
        if !links.is_empty() {
            break links;
        }
        if Instant::now() >= deadline {
            match boot_mac {
                Some(mac) => bail!(
                    "no network card with address {mac}, from which this machine booted, has a driver here"
                ),
                None => bail!("no network card has a driver here"),
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    for link in &links {
        links::up(&link.name)?;
    }
    with_carrier(links).context("waiting for the network link")
}

fn with_carrier(links: Vec<Link>) -> Result<Link> {
    let deadline = Instant::now() + CARRIER;
    loop {
        for link in &links {
            if links::wait_for_carrier(Path::new("/"), &link.name, Duration::from_millis(50)) {
                return Ok(link.clone());
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
