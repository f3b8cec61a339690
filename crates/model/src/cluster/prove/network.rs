//! The provisioning network, and those behind relays.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::boot_files;
use crate::boot::BootFiles;
use crate::cluster::diagnostics::{Problems, suggestion};
use crate::cluster::raw::read::Located;
use crate::cluster::raw::values::{Address, AddressRange, AddressWithPrefix, Span};
use crate::cluster::raw::{RawInterface, RawNetwork, RawSubnet, RawTimeServer};
use crate::cluster::{DhcpMode, Interface, Network, Subnet};

const DEFAULT_LEASE: Duration = Duration::from_secs(3600);
/// Below it clients would do nothing but renew.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);
const LONGEST_LEASE: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn network(raw: &Located<RawNetwork>, problems: &mut Problems<'_>) -> Option<Network> {
    let file = &raw.value;
    let address = file
        .address
        .required("address", "10.77.0.1/24", raw, problems);
    let network = address.and_then(|located| own_address(located, problems));
    let dhcp = file.dhcp.value();
    let lease = dhcp
        .and_then(|dhcp| lease(dhcp.lease.given()?, problems))
        .unwrap_or(DEFAULT_LEASE);
    let boot_files = boot_files::boot_files(file.boot_files.value(), problems);
    let interface = interface(file, problems);
    let network = network?;
    let mut network = Network {
        interface,
        dhcp: dhcp
            .and_then(|dhcp| dhcp.mode.value().copied())
            .unwrap_or(DhcpMode::Auto),
        lease,
        ntp: time_servers(file, network.address),
        dns_upstream: upstream(file),
        boot_files,
        ..network
    };
    let named_by = "network.address";
    if let Some(gateway) = file.gateway.given()
        && is_inside(gateway, &network.own(), named_by, problems)
    {
        network.gateway = Some(gateway.value.0);
    }
    if let Some(range) = dhcp.and_then(|dhcp| dhcp.pool.given()) {
        let own = Some(network.address);
        network.pool = pool(range, &network.own(), own, named_by, problems);
    }
    for raw in file.subnets.value().into_iter().flatten() {
        let subnet = subnet(raw, &network, problems);
        network.subnets.extend(subnet);
    }
    Some(network)
}

/// A network with nothing but its address.
fn own_address(
    located: &Located<AddressWithPrefix>,
    problems: &mut Problems<'_>,
) -> Option<Network> {
    let AddressWithPrefix((address, prefix)) = located.value;
    if !has_room(prefix, located, problems) {
        return None;
    }
    let network = Network {
        address,
        prefix,
        interface: Interface::Auto,
        dhcp: DhcpMode::Auto,
        pool: None,
        lease: DEFAULT_LEASE,
        gateway: None,
        ntp: Vec::new(),
        dns_upstream: Vec::new(),
        subnets: Vec::new(),
        boot_files: BootFiles::default(),
    };
    if address == network.network_address() || address == network.broadcast() {
        let first = Ipv4Addr::from(u32::from(network.network_address()) + 1);
        let message = format!("{address} is not an address of a host in its /{prefix}");
        located.complain(problems, message, format!("as in {first}/{prefix}"));
        return None;
    }
    Some(network)
}

/// A network behind a relay.
fn subnet(
    raw: &Located<RawSubnet>,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Option<Subnet> {
    let file = &raw.value;
    let address = file
        .network
        .required("network", "10.78.0.0/24", raw, problems);
    let gateway = file.gateway.required("gateway", "10.78.0.1", raw, problems);
    let lease = file.lease.given().and_then(|span| lease(span, problems));
    let mut subnet = Subnet {
        lease: lease.unwrap_or(network.lease),
        ..bare_subnet(address?, network, problems)?
    };
    let named_by = format!("{}.network", raw.path);
    if let Some(gateway) = gateway
        && is_inside(gateway, &subnet, &named_by, problems)
    {
        subnet.gateway = Some(gateway.value.0);
    }
    if let Some(range) = file.pool.given() {
        subnet.pool = pool(range, &subnet, None, &named_by, problems);
    }
    Some(subnet)
}

/// A subnet with nothing but its address.
pub(super) fn bare_subnet(
    located: &Located<AddressWithPrefix>,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Option<Subnet> {
    let AddressWithPrefix((address, prefix)) = located.value;
    if !has_room(prefix, located, problems) {
        return None;
    }
    let subnet = Subnet {
        network: address,
        prefix,
        pool: None,
        gateway: None,
        lease: network.lease,
    };
    let lowest = Ipv4Addr::from(u32::from(address) & u32::from(subnet.netmask()));
    if lowest != address {
        let message = format!("{subnet} is an address in a network, and not the network itself");
        located.complain(problems, message, format!("write {lowest}/{prefix}"));
        return None;
    }
    let overlaps = |other: &Subnet| other.contains(address) || subnet.contains(other.network);
    if let Some(other) = network.networks().find(overlaps) {
        let message = format!("{subnet} overlaps {other}");
        let help = "every address has to belong to one network alone";
        located.complain(problems, message, help);
        return None;
    }
    Some(subnet)
}

fn has_room(prefix: u8, located: &Located<AddressWithPrefix>, problems: &mut Problems<'_>) -> bool {
    let is_possible = (1..=30).contains(&prefix);
    if !is_possible {
        let message = format!("a prefix of {prefix} leaves no room for machines");
        located.complain(problems, message, "from /1 to /30; /24 is usual");
    }
    is_possible
}

/// Whether a host of the network can have the address; a problem if not. `named_by` is the key that
/// says which network it is.
fn is_inside(
    located: &Located<Address>,
    network: &Subnet,
    named_by: &str,
    problems: &mut Problems<'_>,
) -> bool {
    let Address(address) = located.value;
    if !network.contains(address) {
        let message = format!("address {address} is outside {network}");
        let help = format!("`{named_by}` says which network it is");
        located.complain(problems, message, help);
        return false;
    }
    is_host(located, network, problems)
}

/// Whether a host can have the address, which lies in the network; a problem if not.
pub(super) fn is_host(
    located: &Located<Address>,
    network: &Subnet,
    problems: &mut Problems<'_>,
) -> bool {
    let Address(address) = located.value;
    if !network.has_host(address) {
        let message = format!("{address} is not an address of a host in {network}");
        located.complain(
            problems,
            message,
            "choose one between the first and the last",
        );
        return false;
    }
    true
}

fn lease(lease: &Located<Span>, problems: &mut Problems<'_>) -> Option<Duration> {
    let Span(duration) = lease.value;
    if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&duration) {
        let message = format!("a lease of {} s is out of range", duration.as_secs());
        lease.complain(problems, message, "from 60s to 365d; 1h is usual");
    }
    Some(duration)
}

fn interface(file: &RawNetwork, problems: &mut Problems<'_>) -> Interface {
    let Some(located) = file.interface.given() else {
        return Interface::Auto;
    };
    match &located.value {
        RawInterface::Word(word) if word == "auto" => Interface::Auto,
        RawInterface::Word(name) => {
            // IFNAMSIZ is 16 with the final zero; the kernel refuses slashes and white space.
            let good = (1..16).contains(&name.len())
                && !name.contains(|c: char| c.is_whitespace() || c == '/' || c == ':');
            if !good {
                let message = format!("`{name}` is not a name of an interface");
                located.complain(problems, message, suggestion(name, ["auto", "eth0"]));
            }
            Interface::Name(name.clone())
        }
        RawInterface::By(by) => {
            let parent = Located {
                value: (),
                place: located.place,
                path: located.path.clone(),
            };
            match by
                .mac
                .required("mac", "\"52:54:00:00:00:01\"", &parent, problems)
            {
                Some(mac) => Interface::Mac(mac.value.0),
                None => Interface::Auto,
            }
        }
    }
}

fn time_servers(file: &RawNetwork, own: Ipv4Addr) -> Vec<Ipv4Addr> {
    let Some(servers) = file.ntp.value() else {
        return vec![own];
    };
    let address = |server: &Located<RawTimeServer>| match server.value {
        RawTimeServer::Appliance => own,
        RawTimeServer::Address(Address(address)) => address,
    };
    servers.0.iter().map(address).collect()
}

fn upstream(file: &RawNetwork) -> Vec<Ipv4Addr> {
    let dns = file.dns.value().and_then(|dns| dns.upstream.value());
    let servers = dns.map_or(&[][..], |servers| servers.0.as_slice());
    servers.iter().map(|server| server.value.0).collect()
}

fn pool(
    located: &Located<AddressRange>,
    network: &Subnet,
    appliance: Option<Ipv4Addr>,
    named_by: &str,
    problems: &mut Problems<'_>,
) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let AddressRange((first, last)) = located.value;
    if first > last {
        let message = format!("the pool begins at {first} and ends before it, at {last}");
        located.complain(problems, message, format!("write {last}-{first}"));
        return None;
    }
    for end in [first, last] {
        let end = Located {
            value: Address(end),
            place: located.place,
            path: located.path.clone(),
        };
        if !is_inside(&end, network, named_by, problems) {
            return None;
        }
    }
    let within = |address: &Ipv4Addr| (first..=last).contains(address);
    if let Some(own) = appliance.filter(within) {
        let message = format!("the pool contains the appliance's own address {own}");
        located.complain(problems, message, "begin above it, or end below it");
    } else if let Some(gateway) = network.gateway.filter(within) {
        let message = format!("the pool contains the gateway {gateway}");
        located.complain(problems, message, "begin above it, or end below it");
    }
    Some((first, last))
}
