//! Files for systemd-networkd: systemd.netdev(5) and systemd.network(5). Version 252 has nothing to say
//! against them.
//!
//! Ports are matched by their permanent address, as a bond gives all of its ports the same one. The
//! first file that matches a link counts, so the names begin with 10.

use super::sections::{Lines, line, text};
use super::{BondMode, Link, LinkAddress, LinkKind, MachineNetwork, NetworkFile};

/// Where the administrator's files are.
const FOLDER: &str = "/etc/systemd/network";
const MODE: u32 = 0o644;

/// The files that make a machine's network.
pub fn files(network: &MachineNetwork) -> Vec<NetworkFile> {
    let file = |link: &Link, ending: &str, text: String| NetworkFile {
        path: format!("{FOLDER}/10-hardway-{}.{ending}", link.name),
        mode: MODE,
        text,
    };
    let mut files = Vec::new();
    for link in &network.links {
        files.extend(device(link).map(|text| file(link, "netdev", text)));
        files.push(file(link, "network", settings(link, network)));
    }
    files
}

/// How a link that is no port is made. Without its address networkd would make one up from the
/// machine's id, and no DHCP server would know it.
fn device(link: &Link) -> Option<String> {
    let (kind, own): (_, (_, Lines)) = match &link.kind {
        LinkKind::Port => return None,
        LinkKind::Bond(mode) => ("bond", ("Bond", bond(*mode))),
        LinkKind::Vlan { id, .. } => ("vlan", ("VLAN", vec![line("Id", id)])),
        LinkKind::Bridge => ("bridge", ("Bridge", vec![line("STP", "no")])),
    };
    let device = vec![
        line("Name", &link.name),
        line("Kind", kind),
        line("MACAddress", link.mac),
    ];
    Some(text(&[("NetDev", device), own]))
}

fn bond(mode: BondMode) -> Lines {
    let mut lines = vec![
        line("Mode", mode.kernel_name()),
        line("MIIMonitorSec", "100ms"),
    ];
    if mode == BondMode::Lacp {
        // Within 3 s instead of 90 it shows that a partner is gone whose link is still there.
        lines.push(line("LACPTransmitRate", "fast"));
        // layer3+4 would be no 802.3ad: fragments of one packet could overtake each other.
        lines.push(line("TransmitHashPolicy", "layer2+3"));
    }
    lines
}

fn settings(link: &Link, network: &MachineNetwork) -> String {
    let found_by = match link.kind {
        LinkKind::Port => vec![
            line("PermanentMACAddress", link.mac),
            // No VLAN on it: that inherits the permanent address, too.
            line("Kind", "!*"),
        ],
        _ => vec![line("Name", &link.name)],
    };
    let mut properties: Lines = Vec::new();
    properties.extend(link.mtu.map(|mtu| line("MTUBytes", mtu)));
    if link.address == LinkAddress::None {
        // Nobody waits for it: a bond is up without all of its ports.
        properties.push(line("RequiredForOnline", "no"));
    }
    let mut lines: Lines = Vec::new();
    if let Some(controller) = &link.controller {
        let key = if controller.is_bond { "Bond" } else { "Bridge" };
        lines.push(line(key, &controller.name));
    }
    let mut dhcp: Lines = Vec::new();
    match &link.address {
        LinkAddress::None => {
            lines.push(line("LinkLocalAddressing", "no"));
            lines.push(line("IPv6AcceptRA", "no"));
        }
        LinkAddress::Dhcp => {
            lines.push(line("DHCP", "yes"));
            // The same client to a server as the firmware, which has only the hardware address.
            dhcp.push(line("ClientIdentifier", "mac"));
        }
        LinkAddress::Static(fixed) => {
            lines.push(line(
                "Address",
                format!("{}/{}", fixed.address, fixed.prefix),
            ));
            lines.extend(fixed.gateway.map(|gateway| line("Gateway", gateway)));
            lines.extend(fixed.dns.iter().map(|server| line("DNS", server)));
            lines.extend(fixed.domain.iter().map(|domain| line("Domains", domain)));
            lines.extend(fixed.ntp.iter().map(|server| line("NTP", server)));
        }
    }
    let vlans = network.vlans_on(&link.name);
    lines.extend(vlans.map(|vlan| line("VLAN", &vlan.name)));
    text(&[
        ("Match", found_by),
        ("Link", properties),
        ("Network", lines),
        ("DHCPv4", dhcp),
    ])
}
