//! Leases by `udhcpc`, which takes unicast frames to an address that it does not have yet: durable before
//! the client hears of them, recorded, counted; and a service that no datagram stops.

use std::fs;
use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};

use super::{APPLIANCE, Options, Rack, cluster_file};

const CLUSTER: &str = "  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.149}\n";
const SERVICES: &str = "http,dhcp";
const OWN_MAC: &str = "52:54:00:00:00:77";

/// Plays the case.
pub fn run(options: &Options) -> Result<()> {
    let cluster = cluster_file(CLUSTER);
    let mut rack = Rack::start(options, &cluster, SERVICES)?;
    rack.client
        .run(["ip", "link", "set", "eth0", "address", OWN_MAC])?;
    pester(&rack)?;

    let first = lease(&rack)?;
    rack.cut_power(options, &cluster, SERVICES)?;
    // The acknowledgement came, so the lease is there.
    ensure!(
        fs::read_to_string(rack.folder().join("state/leases.log"))
            .context("reading the log of leases")?
            .lines()
            .any(|line| line.contains(OWN_MAC) && line.contains(&first)),
        "no lease of {first} survived the kill"
    );
    let second = lease(&rack)?;
    ensure!(
        first == second,
        "{first} before the kill, {second} after it"
    );

    let page = rack
        .client
        .run(["curl", "-sf", &format!("http://{APPLIANCE}/metrics")])?;
    for wanted in [
        "hardway_dhcp_messages_total{kind=\"ack\",outcome=\"sent\"} 1",
        "hardway_pool_leased{network=\"10.77.0.0/24\"} 1",
        "hardway_lease_commits_total 1",
    ] {
        ensure!(
            page.lines().any(|line| line == wanted),
            "{wanted} is not in\n{page}"
        );
    }
    Ok(())
}

/// The address that udhcpc says it was given.
fn lease(rack: &Rack) -> Result<String> {
    let mut client = rack.client.command("udhcpc");
    client.args(["-i", "eth0", "-n", "-q", "-f", "-s", "/bin/true"]);
    let output = client.output().context("starting udhcpc")?;
    // It speaks on its error output.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let address = said
        .split("lease of ")
        .nth(1)
        .and_then(|rest| rest.split([',', ' ']).next())
        .with_context(|| format!("no lease in what udhcpc says:\n{said}"))?;
    Ok(address.to_owned())
}

/// Datagrams of every length that are no DHCP, and the beginning of one that is.
fn pester(rack: &Rack) -> Result<()> {
    rack.client.inside(|| -> Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0").context("opening a socket")?;
        let message = [
            &[1, 1, 6, 0][..],
            &[0; 232],
            &[99, 130, 83, 99, 53, 1, 1, 61, 255],
        ]
        .concat();
        for port in [67, 4011] {
            for length in 0..message.len() {
                let sent = socket.send_to(&message[..length], (APPLIANCE, port));
                sent.with_context(|| format!("sending to port {port}"))?;
            }
        }
        Ok(())
    })?
}
