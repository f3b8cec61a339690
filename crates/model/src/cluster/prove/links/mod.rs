//! A profile's links: every name leads to one, none stands on itself, none belongs to two others.

mod address;
mod drafts;
mod mtu;

use std::collections::BTreeMap;

use self::drafts::{Draft, DraftKind};
use crate::cluster::Network;
use crate::cluster::diagnostics::{Problems, suggestion};
use crate::cluster::links::{Declared, DeclaredKind, Links, port_number};
use crate::cluster::raw::links::RawLinks;
use crate::cluster::raw::read::Located;
use crate::network::Controller;

/// Which bond or bridge each link belongs to.
type Controllers = BTreeMap<String, Controller>;

pub(super) fn links(
    raw: &Located<RawLinks>,
    network: Option<&Network>,
    problems: &mut Problems<'_>,
) -> Option<Links> {
    let mut drafts = drafts::drafts(raw, problems);
    references(&raw.value, &drafts, problems);
    let controllers = controllers(&drafts, problems);
    vlans(&drafts, &controllers, problems);
    let addresses = address::addresses(raw, &mut drafts, &controllers, network, problems);
    let drafts = in_order(drafts, problems)?;
    let mtus = mtu::mtus(&raw.value, &drafts, &controllers, problems);
    let agent = agent(&raw.value, &drafts, problems);
    let declared = |draft: Draft<'_>| {
        let (address, subnet) = addresses.get(draft.name()).copied().unwrap_or_default();
        Declared {
            name: draft.name().to_owned(),
            mtu: mtus.get(draft.name()).copied().flatten(),
            address,
            subnet,
            kind: match draft.kind {
                DraftKind::Port(number) => DeclaredKind::Port(number),
                DraftKind::Bond { mode, ports } => DeclaredKind::Bond {
                    mode,
                    ports: ports.map(names),
                },
                DraftKind::Vlan { id, link } => DeclaredKind::Vlan {
                    id,
                    link: link.value.clone(),
                },
                DraftKind::Bridge(members) => DeclaredKind::Bridge(names(members)),
            },
        }
    };
    Some(Links {
        links: drafts.into_iter().map(declared).collect(),
        agent,
    })
}

fn names(members: &[Located<String>]) -> Vec<String> {
    members.iter().map(|member| member.value.clone()).collect()
}

/// Every name that a link stands on is one, and of the right kind.
fn references(file: &RawLinks, drafts: &[Draft<'_>], problems: &mut Problems<'_>) {
    // What is wrong in itself is known nevertheless.
    let known = drafts::names(file);
    for draft in drafts {
        for below in draft.below() {
            let name = below.value.as_str();
            let is_port = port_number(name).is_some();
            if !is_port && !known.contains(&name) {
                let help = suggestion(name, known.iter().copied().chain(["port1"]));
                below.complain(problems, format!("unknown link `{name}`"), help);
            } else if !is_port && matches!(draft.kind, DraftKind::Bond { .. }) {
                let message = format!("`{name}` cannot be a port of a bond");
                let help = "port1, port2 and so on can, as `match.mac` lists them";
                below.complain(problems, message, help);
            }
        }
    }
}

/// A link belongs to one bond or bridge at most, and once.
fn controllers(drafts: &[Draft<'_>], problems: &mut Problems<'_>) -> Controllers {
    let mut controllers = Controllers::new();
    let mut takes_all = drafts.iter().filter(|draft| draft.takes_all_ports());
    if let Some(bond) = takes_all.next() {
        let ports = drafts.iter().filter(|draft| draft.is_port());
        let ports = ports.map(Draft::name).chain(["port1"]);
        controllers.extend(ports.map(|port| (port.to_owned(), bond.controller())));
        for other in takes_all {
            let message = format!("`{}` has all ports already", bond.name());
            let help = "name the `ports` of both";
            other.name.complain(problems, message, help);
        }
    }
    for draft in drafts.iter().filter(|draft| draft.has_members()) {
        for member in draft.below() {
            let before = controllers.get(&member.value);
            if let Some(before) = before {
                let again = match before.name == draft.name() {
                    true => "twice",
                    false => "already",
                };
                let message = format!("`{}` is in `{}` {again}", member.value, before.name);
                let help = "a link belongs to one bond or bridge; remove it here or there";
                member.complain(problems, message, help);
            } else {
                controllers.insert(member.value.clone(), draft.controller());
            }
        }
    }
    controllers
}

/// A bond's port carries no VLAN of its own, and each number stands once on a link.
fn vlans(drafts: &[Draft<'_>], controllers: &Controllers, problems: &mut Problems<'_>) {
    let mut seen: BTreeMap<(&str, u16), &str> = BTreeMap::new();
    for draft in drafts {
        let DraftKind::Vlan { id, link } = draft.kind else {
            continue;
        };
        let bond = controllers.get(&link.value).filter(|found| found.is_bond);
        if let Some(bond) = bond {
            let message = format!("`{}` is a port of `{}`", link.value, bond.name);
            link.complain(problems, message, format!("write `link: {}`", bond.name));
        }
        let first = seen.insert((&link.value, id), draft.name());
        if let Some(first) = first.filter(|_| id != 0) {
            let message = format!("VLAN {id} of `{}` is `{first}` already", link.value);
            draft
                .name
                .complain(problems, message, "give it another `id`, or remove it");
        }
    }
}

/// Each after those that it stands on. Where they stand on each other there is no order.
fn in_order<'d>(drafts: Vec<Draft<'d>>, problems: &mut Problems<'_>) -> Option<Vec<Draft<'d>>> {
    let mut ordered: Vec<Draft<'d>> = Vec::new();
    let mut left = drafts;
    while !left.is_empty() {
        let waits = |draft: &Draft<'_>| {
            let mut below = draft.below().iter();
            below.any(|below| left.iter().any(|other| other.name() == below.value))
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = left.iter().cloned().partition(waits);
        if ready.is_empty() {
            let names: Vec<String> = waiting.iter().map(|d| format!("`{}`", d.name())).collect();
            let message = match &names[..] {
                [name] => format!("{name} stands on itself"),
                _ => format!("{} stand on each other", names.join(", ")),
            };
            let help = "something has to stand on a port";
            waiting[0].name.complain(problems, message, help);
            return None;
        }
        ordered.extend(ready);
        left = waiting;
    }
    Some(ordered)
}

/// The agent makes a bond of ports, and a VLAN on that or on the port that booted.
fn agent(file: &RawLinks, drafts: &[Draft<'_>], problems: &mut Problems<'_>) -> Option<String> {
    let agent = file.agent.given().filter(|agent| agent.value != "port")?;
    let mut name = agent.value.as_str();
    for depth in 0.. {
        let Some(draft) = drafts.iter().find(|draft| draft.name() == name) else {
            let known = drafts.iter().filter(|draft| !draft.is_port());
            let help = suggestion(name, known.map(Draft::name).chain(["port"]));
            agent.complain(problems, format!("unknown link `{name}`"), help);
            return None;
        };
        match draft.kind {
            DraftKind::Bond { .. } => return Some(agent.value.clone()),
            DraftKind::Port(_) if depth > 0 => return Some(agent.value.clone()),
            DraftKind::Vlan { link, .. } if depth == 0 => name = &link.value,
            _ => break,
        }
    }
    let message = format!("the agent cannot make `{}`", agent.value);
    let help = "`port`, a bond, a VLAN on a port or on a bond";
    agent.complain(problems, message, help);
    None
}
