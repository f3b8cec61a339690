//! Which links have addresses: only what belongs to no bond or bridge, and one the machine's own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Controllers;
use super::drafts::Draft;
use crate::cluster::diagnostics::Problems;
use crate::cluster::prove::network::bare_subnet;
use crate::cluster::raw::links::RawLinks;
use crate::cluster::raw::read::Located;
use crate::cluster::{Addressing, Network, Subnet};

/// How a link gets its address, or in which network each machine has one of its own.
type Address = (Addressing, Option<(Ipv4Addr, u8)>);

/// The links' addresses, by name. Where no link says where the machine's own goes, it goes to what
/// port1 belongs to, and port1 is put among the drafts if need be.
pub(super) fn addresses(
    raw: &Located<RawLinks>,
    drafts: &mut Vec<Draft<'_>>,
    controllers: &Controllers,
    network: Option<&Network>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Address> {
    for draft in drafts.iter() {
        check_place(draft, controllers, problems);
    }
    let subnets = subnets(drafts, network, problems);
    let mut addresses: BTreeMap<String, Address> = drafts
        .iter()
        .map(|draft| {
            let subnet = subnets.get(draft.name()).map(|of| (of.network, of.prefix));
            let address = draft.address.map_or(Addressing::None, |said| said.value);
            (draft.name().to_owned(), (address, subnet))
        })
        .collect();
    let somewhere = |draft: &&Draft<'_>| {
        let said = draft.address.map(|said| said.value);
        said.is_some_and(|said| said != Addressing::None)
    };
    let chosen = drafts
        .iter()
        .find(somewhere)
        .map(|draft| draft.name().to_owned());
    let everywhere = raw.value.address.given();
    match (chosen, everywhere) {
        (Some(name), Some(address)) => {
            let message = format!("`{name}` says already where the machine's address goes");
            address.complain(problems, message, "remove one of the two");
        }
        (Some(_), None) => {}
        (None, _) => {
            let main = what_port1_belongs_to(controllers).to_owned();
            let address = everywhere.map_or(Addressing::Dhcp, |address| address.value);
            let draft = drafts.iter().find(|draft| draft.name() == main);
            if draft.is_none() && main == "port1" {
                let name = Located {
                    value: main.clone(),
                    place: raw.place,
                    path: raw.path.clone(),
                };
                drafts.push(Draft::plain_port(name, 1));
            }
            let free = drafts.iter().any(|draft| {
                draft.name() == main && draft.address.is_none() && draft.subnet.is_none()
            });
            if free {
                addresses.insert(main, (address, None));
            }
        }
    }
    addresses
}

/// A member has no address; and of several links one alone has the machine's own.
fn check_place(draft: &Draft<'_>, controllers: &Controllers, problems: &mut Problems<'_>) {
    let address = draft.address.filter(|said| said.value != Addressing::None);
    if let Some(controller) = controllers.get(draft.name()) {
        let message = format!("`{}` belongs to `{}`", draft.name(), controller.name);
        let help = format!("give the address to `{}`", controller.name);
        if let Some(address) = address {
            address.complain(problems, &message, &help);
        }
        if let Some(subnet) = draft.subnet {
            subnet.complain(problems, message, help);
        }
    } else if let Some(address) = address
        && draft.subnet.is_some()
    {
        let message = format!("`{}` has either an `address` or a `subnet`", draft.name());
        address.complain(problems, message, "remove one of them");
    }
}

fn subnets(
    drafts: &[Draft<'_>],
    network: Option<&Network>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Subnet> {
    let mut subnets: BTreeMap<String, Subnet> = BTreeMap::new();
    let mut fixed: Option<&str> = None;
    for draft in drafts {
        let said = draft
            .address
            .filter(|said| said.value == Addressing::Static);
        if let Some(said) = said {
            if let Some(first) = fixed {
                let message = format!("`{first}` has the machine's address already");
                let help = "one link can have it; others take a `subnet`";
                said.complain(problems, message, help);
            }
            fixed = Some(draft.name());
        }
        let Some((located, network)) = draft.subnet.zip(network) else {
            continue;
        };
        let Some(subnet) = bare_subnet(located, network, problems) else {
            continue;
        };
        let overlaps =
            |other: &&Subnet| other.contains(subnet.network) || subnet.contains(other.network);
        if let Some(other) = subnets.values().find(overlaps) {
            let message = format!("{subnet} overlaps {other}");
            let help = "two links of a machine are in different networks";
            located.complain(problems, message, help);
        }
        subnets.insert(draft.name().to_owned(), subnet);
    }
    subnets
}

fn what_port1_belongs_to(controllers: &Controllers) -> &str {
    let mut name = "port1";
    // As many steps as there are: bridges that are in each other have no end.
    for _ in 0..=controllers.len() {
        match controllers.get(name) {
            Some(controller) => name = &controller.name,
            None => break,
        }
    }
    name
}
