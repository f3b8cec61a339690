//! Files for NetworkManager: nm-settings-keyfile(5). nmcli 1.42 and 1.52 read all of what they
//! say.

use sha2::{Digest as _, Sha256};

use super::sections::{Lines, line, text};
use super::{BondMode, Link, LinkAddress, LinkKind, MachineNetwork, NetworkFile, StaticAddress};

/// Where the administrator's connections are.
const FOLDER: &str = "/etc/NetworkManager/system-connections";
/// NetworkManager takes no file that others may read.
const MODE: u32 = 0o600;

/// The files that make a machine's network.
pub fn files(network: &MachineNetwork) -> Vec<NetworkFile> {
    let file = |link: &Link| NetworkFile {
        path: format!("{FOLDER}/hardway-{}.nmconnection", link.name),
        mode: MODE,
        text: connection(link, network),
    };
    network.links.iter().map(file).collect()
}

fn connection(link: &Link, network: &MachineNetwork) -> String {
    let (kind, own): (_, (_, Lines)) = match &link.kind {
        LinkKind::Port => ("ethernet", ("ethernet", Vec::new())),
        LinkKind::Bond(mode) => ("bond", ("bond", bond(*mode))),
        LinkKind::Vlan { id, link } => ("vlan", ("vlan", vlan(*id, link, network))),
        LinkKind::Bridge => ("bridge", ("bridge", vec![line("stp", "false")])),
    };
    let mut connection = vec![
        line("id", &link.name),
        line("uuid", uuid(&link.name)),
        line("type", kind),
    ];
    let mut ethernet: Lines = Vec::new();
    if link.kind == LinkKind::Port {
        ethernet.push(line("mac-address", link.mac));
    } else {
        connection.push(line("interface-name", &link.name));
        ethernet.push(line("cloned-mac-address", link.mac));
    }
    ethernet.extend(link.mtu.map(|mtu| line("mtu", mtu)));
    if let Some(controller) = &link.controller {
        // 1.42 does not know `controller` and `port-type`, as which 1.52 takes these.
        connection.push(line("master", &controller.name));
        let kind = if controller.is_bond { "bond" } else { "bridge" };
        connection.push(line("slave-type", kind));
    }
    let mut sections = vec![("connection", connection), own, ("ethernet", ethernet)];
    if link.controller.is_none() {
        let [ipv4, ipv6] = addresses(&link.address);
        sections.push(("ipv4", ipv4));
        sections.push(("ipv6", ipv6));
    }
    text(&sections)
}

fn bond(mode: BondMode) -> Lines {
    let mut lines = vec![line("mode", mode.kernel_name()), line("miimon", 100)];
    if mode == BondMode::Lacp {
        // As for networkd.
        lines.push(line("lacp_rate", "fast"));
        lines.push(line("xmit_hash_policy", "layer2+3"));
    }
    lines
}

/// A port has no name here that NetworkManager would know it by; its connection has.
fn vlan(id: u16, below: &str, network: &MachineNetwork) -> Lines {
    let is_port = network
        .link(below)
        .is_some_and(|link| link.kind == LinkKind::Port);
    let parent = match is_port {
        true => uuid(below),
        false => below.to_owned(),
    };
    vec![line("id", id), line("parent", parent)]
}

fn addresses(address: &LinkAddress) -> [Lines; 2] {
    let method = |method: &str| line("method", method);
    match address {
        LinkAddress::None => [vec![method("disabled")], vec![method("disabled")]],
        LinkAddress::Dhcp => [
            vec![method("auto"), line("dhcp-client-id", "mac")],
            vec![method("auto")],
        ],
        LinkAddress::Static(fixed) => [fixed_address(fixed), vec![method("auto")]],
    }
}

/// Time servers have no place in a connection: what keeps the time there gets them by DHCP alone.
fn fixed_address(fixed: &StaticAddress) -> Lines {
    let mut lines = vec![
        line("method", "manual"),
        line("address1", format!("{}/{}", fixed.address, fixed.prefix)),
    ];
    lines.extend(fixed.gateway.map(|gateway| line("gateway", gateway)));
    let servers = fixed.dns.iter().map(|server| format!("{server};"));
    let servers: String = servers.collect();
    if !servers.is_empty() {
        lines.push(line("dns", servers));
    }
    let domain = fixed.domain.iter();
    lines.extend(domain.map(|domain| line("dns-search", format!("{domain};"))));
    lines
}

/// A connection's UUID: always the same for the same name (RFC 9562, section 5.8: version 8, of a
/// hash).
fn uuid(name: &str) -> String {
    let digest = Sha256::digest(format!("hardway connection {name}"));
    let mut hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.replace_range(12..13, "8");
    hex.replace_range(16..17, "8");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}
