//! The declared machines: known by something, unique in everything.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::network::is_host;
use super::{addresses, is_host_name, profiles};
use crate::cluster::diagnostics::Problems;
use crate::cluster::raw::read::Located;
use crate::cluster::raw::values::Address;
use crate::cluster::raw::{RawBmc, RawCluster, RawMachine, RawMatch};
use crate::cluster::{Bmc, DhcpMode, Machine, Match, Network, Profile};
use crate::identity::MacAddress;

pub(super) fn machines(
    file: &RawCluster,
    network: Option<&Network>,
    profiles: &[Profile],
    problems: &mut Problems<'_>,
) -> Vec<Machine> {
    let surroundings = Surroundings {
        file,
        network,
        profiles,
    };
    let mut machines = Vec::new();
    let mut taken = Taken::default();
    for raw in file.machines.value().into_iter().flatten() {
        machines.extend(machine(raw, surroundings, &mut taken, problems));
    }
    machines
}

/// What a machine is judged by.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    file: &'a RawCluster,
    network: Option<&'a Network>,
    profiles: &'a [Profile],
}

fn machine(
    raw: &Located<RawMachine>,
    surroundings: Surroundings<'_>,
    taken: &mut Taken,
    problems: &mut Problems<'_>,
) -> Option<Machine> {
    let Surroundings { file, network, .. } = surroundings;
    let machine = &raw.value;
    let name = machine.name.required("name", "node1", raw, problems);
    let name = name.filter(|name| is_machine_name(name, problems));
    if let Some(name) = name {
        taken.name.claim(&name.value, name, &name.value, problems);
    }
    let owner = match name {
        Some(name) => name.value.clone(),
        None => raw.path.clone(),
    };
    let example = "{mac: \"52:54:00:00:00:01\"}";
    let matches = machine
        .r#match
        .required("match", example, raw, problems)
        .map(|matches| recognised_by(matches, &owner, taken, problems));
    let profile = machine.profile.required("profile", "NAME", raw, problems);
    let profile = profile.filter(|profile| profiles::is_profile(profile, file, problems));
    let address = machine.address.given();
    match (address, network) {
        (Some(address), Some(network)) => {
            check_address(address, &owner, network, taken, problems);
        }
        (None, Some(network)) if machine.address.is_absent() => {
            check_absent_address(raw, &owner, network, problems);
        }
        _ => {}
    }
    let proven = profile.and_then(|name| {
        let mut proven = surroundings.profiles.iter();
        proven.find(|profile| profile.name == name.value)
    });
    let addresses = proven.zip(network).map(|(profile, network)| {
        let place = addresses::Place {
            raw,
            owner: &owner,
            profile,
            network,
        };
        addresses::addresses(place, matches.as_ref(), taken, problems)
    });
    Some(Machine {
        addresses: addresses.unwrap_or_default(),
        bmc: machine.bmc.given().and_then(|raw| bmc(raw, problems)),
        name: name?.value.clone(),
        matches: matches?,
        profile: profile?.value.clone(),
        address: address.map(|address| address.value.0),
        vars: machine.vars.value().cloned().unwrap_or_default(),
    })
}

fn is_machine_name(name: &Located<String>, problems: &mut Problems<'_>) -> bool {
    if name.value.len() == 17 && name.value.parse::<MacAddress>().is_ok() {
        let message = format!(
            "`{}` is what an undeclared machine would be called",
            name.value
        );
        name.complain(problems, message, "give it a name that is no MAC address");
        return false;
    }
    is_host_name(name, problems)
}

fn recognised_by(
    raw: &Located<RawMatch>,
    owner: &str,
    taken: &mut Taken,
    problems: &mut Problems<'_>,
) -> Match {
    let Located { value: file, .. } = raw;
    let macs = file.mac.value().map_or(&[][..], |macs| &macs.0);
    for mac in macs {
        taken.mac.claim(&mac.value.0, mac, owner, problems);
    }
    if let Some(serial) = file.serial.given() {
        taken.serial.claim(&serial.value, serial, owner, problems);
    }
    let uuid = file.uuid.given().and_then(|uuid| {
        let lower = uuid.value.to_lowercase();
        if !is_uuid(&lower) {
            let message = format!("`{}` tells no machine from another", uuid.value);
            let help = "write 32 hexadecimal digits as 8-4-4-4-12, not all 0 and not all f";
            uuid.complain(problems, message, help);
            return None;
        }
        taken.uuid.claim(&lower, uuid, owner, problems);
        Some(lower)
    });
    if macs.is_empty() && file.mac.is_absent() && file.serial.is_absent() && file.uuid.is_absent() {
        let message = format!("nothing tells which machine is `{owner}`");
        raw.complain(problems, message, "give `mac`, `serial` or `uuid`");
    }
    Match {
        macs: macs.iter().map(|mac| mac.value.0).collect(),
        serial: file.serial.value().cloned(),
        uuid,
    }
}

fn is_uuid(text: &str) -> bool {
    let is_form = text.len() == 36
        && text.char_indices().all(|(index, c)| match index {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        });
    let is_only = |digit: char| text.chars().all(|c| c == digit || c == '-');
    is_form && !is_only('0') && !is_only('f')
}

fn check_address(
    located: &Located<Address>,
    owner: &str,
    network: &Network,
    taken: &mut Taken,
    problems: &mut Problems<'_>,
) {
    let Address(address) = located.value;
    let Some(own) = network.network_of(address) else {
        return complain_of_outside(located, network, problems);
    };
    if !is_host(located, &own, problems) {
        return;
    }
    taken.claim_address(located, owner, problems);
    if address == network.address {
        let message = format!("address {address} is the appliance's own");
        located.complain(problems, message, "choose another one");
    } else if own.gateway == Some(address) {
        let message = format!("address {address} is the gateway's");
        located.complain(problems, message, "choose another one");
    } else if own.pool_contains(address) {
        let message = format!("address {address} lies in the pool for undeclared machines");
        let help = match network.pool_contains(address) {
            true => "choose one outside `network.dhcp.pool`".to_owned(),
            false => format!("choose one outside the `pool` of {own}"),
        };
        located.complain(problems, message, help);
    }
}

fn complain_of_outside(located: &Located<Address>, network: &Network, problems: &mut Problems<'_>) {
    let Address(address) = located.value;
    if network.subnets.is_empty() {
        let message = format!("address {address} is outside {}", network.own());
        let help = "`network.address` says which network it is";
        return located.complain(problems, message, help);
    }
    let networks: Vec<String> = network.networks().map(|one| one.to_string()).collect();
    let message = format!("address {address} is in none of {}", networks.join(", "));
    let help = "a network behind a relay is declared in `network.subnets`";
    located.complain(problems, message, help);
}

/// A server that has neither a reserved address nor a pool has nothing to offer.
fn check_absent_address(
    raw: &Located<RawMachine>,
    owner: &str,
    network: &Network,
    problems: &mut Problems<'_>,
) {
    let has_pool = network.networks().any(|network| network.pool.is_some());
    if network.dhcp == DhcpMode::Server && !has_pool {
        let message = format!("there is no address for `{owner}`");
        let help = "give it an `address`, or the network a `dhcp.pool`";
        raw.complain(problems, message, help);
    }
}

fn bmc(raw: &Located<RawBmc>, problems: &mut Problems<'_>) -> Option<Bmc> {
    let bmc = &raw.value;
    let address = bmc.address.required("address", "10.77.1.11", raw, problems);
    let kind = bmc.kind.required("kind", "redfish", raw, problems);
    Some(Bmc {
        address: address?.value.0,
        kind: kind?.value.clone(),
        credentials: bmc.credentials.value().cloned(),
    })
}

/// What no two machines may share.
#[derive(Default)]
pub(super) struct Taken {
    name: Claims<String>,
    mac: Claims<MacAddress>,
    serial: Claims<String>,
    uuid: Claims<String>,
    address: Claims<Ipv4Addr>,
}

impl Taken {
    /// Takes an address for a machine; a problem where another has it.
    pub fn claim_address(
        &mut self,
        located: &Located<Address>,
        owner: &str,
        problems: &mut Problems<'_>,
    ) {
        self.address
            .claim(&located.value.0, located, owner, problems);
    }
}

/// Who has what, and on which line it says so.
struct Claims<T>(BTreeMap<T, (String, usize)>);

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone + std::fmt::Display> Claims<T> {
    fn claim<V>(
        &mut self,
        value: &T,
        located: &Located<V>,
        owner: &str,
        problems: &mut Problems<'_>,
    ) {
        if let Some((first, line)) = self.0.get(value) {
            let message = format!("`{value}` is used twice");
            let help = format!("machine `{first}` has it on line {line}");
            return located.complain(problems, message, help);
        }
        let claim = (owner.to_owned(), located.place.line);
        self.0.insert(value.clone(), claim);
    }
}
