//! The addresses of a declared machine's links, and the ports that its profile wants.

use std::net::Ipv4Addr;

use super::machines::Taken;
use super::network::is_host;
use crate::cluster::diagnostics::{Problems, suggestion};
use crate::cluster::links::{Addressing, Links};
use crate::cluster::raw::RawMachine;
use crate::cluster::raw::read::Located;
use crate::cluster::raw::values::Address;
use crate::cluster::{Match, Network, Profile, Subnet};

/// A machine in the file, and what it is judged by.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub raw: &'a Located<RawMachine>,
    /// What it is called in problems.
    pub owner: &'a str,
    pub profile: &'a Profile,
    pub network: &'a Network,
}

/// What `addresses:` says, by the link's name. `matches` is what the machine is recognised by.
pub(super) fn addresses(
    place: Place<'_>,
    matches: Option<&Match>,
    taken: &mut Taken,
    problems: &mut Problems<'_>,
) -> Vec<(String, Ipv4Addr)> {
    let Place {
        raw,
        owner,
        profile,
        network,
    } = place;
    if let Some(links) = &profile.network {
        check_ports(place, links, matches, problems);
        check_static(place, links, problems);
    }
    let links = profile.network.iter().flat_map(|links| &links.links);
    let subnets: Vec<(&str, Subnet)> = links
        .filter_map(|link| Some((link.name.as_str(), subnet(link.subnet?, network))))
        .collect();
    let mut addresses = Vec::new();
    let given = raw
        .value
        .addresses
        .value()
        .map_or(&[][..], |given| &given.0);
    for (name, address) in given {
        let Some((_, subnet)) = subnets.iter().find(|(link, _)| *link == name.value) else {
            let link = &name.value;
            let message = format!("`{link}` of profile `{}` has no `subnet`", profile.name);
            let help = suggestion(link, subnets.iter().map(|(link, _)| *link));
            name.complain(problems, message, help);
            continue;
        };
        let Some(located) = address else { continue };
        if is_inside(located, &name.value, subnet, problems) {
            taken.claim_address(located, owner, problems);
            addresses.push((name.value.clone(), located.value.0));
        }
    }
    let is_given = |link: &str| given.iter().any(|(name, _)| name.value == link);
    for (link, subnet) in subnets.iter().filter(|(link, _)| !is_given(link)) {
        let message = format!("there is no address for `{link}` of `{owner}`");
        let help = format!("add `addresses: {{{link}: …}}`, one of {subnet}");
        raw.complain(problems, message, help);
    }
    addresses
}

fn is_inside(
    located: &Located<Address>,
    link: &str,
    subnet: &Subnet,
    problems: &mut Problems<'_>,
) -> bool {
    let Address(address) = located.value;
    if !subnet.contains(address) {
        let message = format!("address {address} is outside {subnet}");
        let help = format!("the `subnet` of `{link}` says which network it is");
        located.complain(problems, message, help);
        return false;
    }
    is_host(located, subnet, problems)
}

fn subnet((address, prefix): (Ipv4Addr, u8), network: &Network) -> Subnet {
    Subnet {
        network: address,
        prefix,
        pool: None,
        gateway: None,
        lease: network.lease,
    }
}

fn check_ports(
    place: Place<'_>,
    links: &Links,
    matches: Option<&Match>,
    problems: &mut Problems<'_>,
) {
    let Place {
        raw,
        owner,
        profile,
        ..
    } = place;
    let needed = links.ports_needed();
    // Nobody can tell where `match` itself is wrong.
    let count = matches.map_or(needed, |matches| matches.macs.len());
    if count >= needed {
        return;
    }
    let message = format!(
        "profile `{}` uses port{needed}, and `{owner}` has {}",
        profile.name,
        match count {
            0 => "no hardware address".to_owned(),
            1 => "one hardware address".to_owned(),
            _ => format!("{count} hardware addresses"),
        }
    );
    let help = "list those of all its ports under `match.mac`, in their order";
    raw.complain(problems, message, help);
}

fn check_static(place: Place<'_>, links: &Links, problems: &mut Problems<'_>) {
    let Place { raw, owner, .. } = place;
    let mut fixed = links.links.iter();
    let fixed = fixed.find(|link| link.address == Addressing::Static);
    if let Some(link) = fixed.filter(|_| raw.value.address.is_absent()) {
        let message = format!("there is no address for `{}` of `{owner}`", link.name);
        raw.complain(
            problems,
            message,
            "give the machine an `address`: its link is `static`",
        );
    }
}
