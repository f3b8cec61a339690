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
    check_fixed(drafts, problems);
    let subnets = subnets(drafts, network, problems);
    let mut addresses: BTreeMap<String, Address> = drafts
        .iter()
        .map(|draft| {
            let subnet = subnets.get(draft.name()).map(|of| (of.network, of.prefix));
            let address = draft.address.map_or(Addressing::None, |said| said.value);
            (draft.name().to_owned(), (address, subnet))
        })
        .collect();
    let everywhere = raw.value.address.given();
    let name = match drafts.iter().find(|draft| says_where(draft)) {
        Some(draft) => draft.name().to_owned(),
        None => {
            let main = main(raw, drafts, controllers);
            let draft = drafts.iter().find(|draft| draft.name() == main);
            if draft.is_some_and(|draft| draft.address.is_none() && draft.subnet.is_none()) {
                let address = everywhere.map_or(Addressing::Dhcp, |address| address.value);
                addresses.insert(main, (address, None));
                return addresses;
            }
            main
        }
    };
    if let Some(address) = everywhere {
        let message = format!("`{name}` says already which address it has");
        address.complain(problems, message, "remove one of the two");
    }
    addresses
}

fn says_where(draft: &Draft<'_>) -> bool {
    let said = draft.address.map(|said| said.value);
    said.is_some_and(|said| said != Addressing::None)
}

/// The name of what port1 belongs to; where that is port1 itself, it is a draft from now on.
fn main(raw: &Located<RawLinks>, drafts: &mut Vec<Draft<'_>>, controllers: &Controllers) -> String {
    let main = what_port1_belongs_to(controllers).to_owned();
    if main == "port1" && !drafts.iter().any(|draft| draft.name() == main) {
        let name = Located {
            value: main.clone(),
            place: raw.place,
            path: raw.path.clone(),
        };
        drafts.push(Draft::plain_port(name, 1));
    }
    main
}

/// A member has no address, and no link has two.
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

/// One link alone has the machine's own address.
fn check_fixed(drafts: &[Draft<'_>], problems: &mut Problems<'_>) {
    let fixed = drafts.iter().filter_map(|draft| {
        let said = draft.address?;
        (said.value == Addressing::Static).then_some((draft.name(), said))
    });
    let mut first = None;
    for (name, said) in fixed {
        let first = *first.get_or_insert(name);
        if first != name {
            let message = format!("`{first}` has the machine's address already");
            let help = "one link can have it; others take a `subnet`";
            said.complain(problems, message, help);
        }
    }
}

fn subnets(
    drafts: &[Draft<'_>],
    network: Option<&Network>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Subnet> {
    let mut subnets: BTreeMap<String, Subnet> = BTreeMap::new();
    for draft in drafts {
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
