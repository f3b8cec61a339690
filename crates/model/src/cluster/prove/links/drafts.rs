//! The links of the file in one form, whichever kind they are of.

use crate::cluster::Addressing;
use crate::cluster::diagnostics::Problems;
use crate::cluster::links::port_number;
use crate::cluster::raw::links::{RawBond, RawBridge, RawLinks, RawPort, RawVlan};
use crate::cluster::raw::read::{Field, Located, Named};
use crate::cluster::raw::values::AddressWithPrefix;
use crate::network::{BondMode, Controller};

/// IFNAMSIZ of linux/if.h is 16 with the final zero.
const LONGEST_NAME: usize = 15;

/// A link of the file.
#[derive(Debug, Clone)]
pub(super) struct Draft<'d> {
    /// Its name, where the file gives it; of a port that is only referred to, the first such place.
    pub name: Located<String>,
    pub kind: DraftKind<'d>,
    pub mtu: Option<&'d Located<u64>>,
    pub address: Option<&'d Located<Addressing>>,
    pub subnet: Option<&'d Located<AddressWithPrefix>>,
}

/// What it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum DraftKind<'d> {
    Port(usize),
    Bond {
        mode: BondMode,
        ports: Option<&'d [Located<String>]>,
    },
    Vlan {
        /// 0 where it was wrong.
        id: u16,
        link: &'d Located<String>,
    },
    Bridge(&'d [Located<String>]),
}

impl<'d> Draft<'d> {
    pub fn name(&self) -> &str {
        &self.name.value
    }

    pub fn is_port(&self) -> bool {
        matches!(self.kind, DraftKind::Port(_))
    }

    pub fn takes_all_ports(&self) -> bool {
        matches!(self.kind, DraftKind::Bond { ports: None, .. })
    }

    /// Whether what it stands on belongs to it alone.
    pub fn has_members(&self) -> bool {
        matches!(self.kind, DraftKind::Bond { .. } | DraftKind::Bridge(_))
    }

    /// The names that it stands on.
    pub fn below(&self) -> &'d [Located<String>] {
        match self.kind {
            DraftKind::Port(_) => &[],
            DraftKind::Bond { ports, .. } => ports.unwrap_or_default(),
            DraftKind::Vlan { link, .. } => std::slice::from_ref(link),
            DraftKind::Bridge(members) => members,
        }
    }

    /// What its members belong to.
    pub fn controller(&self) -> Controller {
        Controller {
            name: self.name.value.clone(),
            is_bond: matches!(self.kind, DraftKind::Bond { .. }),
        }
    }

    /// A port that is not set up by itself.
    pub fn plain_port(name: Located<String>, number: usize) -> Self {
        Self {
            name,
            kind: DraftKind::Port(number),
            mtu: None,
            address: None,
            subnet: None,
        }
    }
}

/// The names that the file gives to bonds, VLANs and bridges.
pub(super) fn names(file: &RawLinks) -> Vec<&str> {
    fn of<T>(field: &Field<Named<T>>) -> impl Iterator<Item = &str> {
        let named = field.value().map_or(&[][..], |named| &named.0);
        named.iter().map(|(name, _)| name.value.as_str())
    }
    let bonds_and_vlans = of(&file.bonds).chain(of(&file.vlans));
    bonds_and_vlans.chain(of(&file.bridges)).collect()
}

/// Every link that can be read. Ports come first, those among them that are only referred to last.
pub(super) fn drafts<'d>(
    raw: &'d Located<RawLinks>,
    problems: &mut Problems<'_>,
) -> Vec<Draft<'d>> {
    let file = &raw.value;
    let mut drafts: Vec<Draft<'d>> = Vec::new();
    for (name, port) in whole(&file.ports) {
        drafts.extend(self::port(name, port, problems));
    }
    let mut links: Vec<Draft<'d>> = Vec::new();
    for (name, bond) in whole(&file.bonds) {
        links.extend(self::bond(name, bond, problems));
    }
    for (name, vlan) in whole(&file.vlans) {
        links.extend(self::vlan(name, vlan, problems));
    }
    for (name, bridge) in whole(&file.bridges) {
        links.extend(self::bridge(name, bridge, problems));
    }
    links.retain(|link| is_link_name(&link.name, problems));
    for below in links.iter().flat_map(|link| link.below()) {
        let is_there = drafts.iter().any(|draft| draft.name() == below.value);
        let number = port_number(&below.value).filter(|_| !is_there);
        drafts.extend(number.map(|number| Draft::plain_port(below.clone(), number)));
    }
    for link in links {
        match drafts.iter().find(|other| other.name() == link.name()) {
            None => drafts.push(link),
            Some(other) => {
                let message = format!("`{}` stands twice", link.name());
                let help = format!(
                    "first on line {}; give it another name",
                    other.name.place.line
                );
                link.name.complain(problems, message, help);
            }
        }
    }
    drafts
}

fn whole<T>(field: &Field<Named<T>>) -> impl Iterator<Item = (&Located<String>, &Located<T>)> {
    let named = field.value().map_or(&[][..], |named| &named.0);
    named
        .iter()
        .filter_map(|(name, link)| Some((name, link.as_ref()?)))
}

fn port<'d>(
    name: &Located<String>,
    raw: &'d Located<RawPort>,
    problems: &mut Problems<'_>,
) -> Option<Draft<'d>> {
    let Some(number) = port_number(&name.value) else {
        let message = format!("`{}` is not the name of a port", name.value);
        let help = "port1 is the first address of `match.mac`, port2 the second, and so on";
        name.complain(problems, message, help);
        return None;
    };
    let RawPort {
        mtu,
        address,
        subnet,
    } = &raw.value;
    Some(Draft {
        name: name.clone(),
        kind: DraftKind::Port(number),
        mtu: mtu.given(),
        address: address.given(),
        subnet: subnet.given(),
    })
}

fn bond<'d>(
    name: &Located<String>,
    raw: &'d Located<RawBond>,
    problems: &mut Problems<'_>,
) -> Option<Draft<'d>> {
    let bond = &raw.value;
    let mode = bond.mode.required("mode", "active-backup", raw, problems);
    let ports = bond.ports.given();
    if let Some(ports) = ports.filter(|ports| ports.value.is_empty()) {
        let message = format!("bond `{}` has no ports", name.value);
        ports.complain(problems, message, "name some, or leave the key out for all");
    }
    Some(Draft {
        name: name.clone(),
        kind: DraftKind::Bond {
            mode: mode?.value,
            ports: ports.map(|ports| ports.value.as_slice()),
        },
        mtu: bond.mtu.given(),
        address: bond.address.given(),
        subnet: bond.subnet.given(),
    })
}

fn vlan<'d>(
    name: &Located<String>,
    raw: &'d Located<RawVlan>,
    problems: &mut Problems<'_>,
) -> Option<Draft<'d>> {
    let vlan = &raw.value;
    let id = vlan.id.required("id", "20", raw, problems);
    let link = vlan.link.required("link", "port1", raw, problems)?;
    let id = id?;
    // IEEE 802.1Q: 0 is no VLAN, 4095 is reserved.
    let number = u16::try_from(id.value).ok();
    let number = number.filter(|number| (1..=4094).contains(number));
    if number.is_none() {
        let message = format!("{} is not the number of a VLAN", id.value);
        id.complain(problems, message, "from 1 to 4094");
    }
    Some(Draft {
        name: name.clone(),
        kind: DraftKind::Vlan {
            id: number.unwrap_or_default(),
            link,
        },
        mtu: vlan.mtu.given(),
        address: vlan.address.given(),
        subnet: vlan.subnet.given(),
    })
}

fn bridge<'d>(
    name: &Located<String>,
    raw: &'d Located<RawBridge>,
    problems: &mut Problems<'_>,
) -> Option<Draft<'d>> {
    let bridge = &raw.value;
    let members = bridge.ports.required("ports", "[port1]", raw, problems)?;
    if members.value.is_empty() {
        let message = format!("bridge `{}` has no ports", name.value);
        members.complain(problems, message, "name at least one link");
    }
    Some(Draft {
        name: name.clone(),
        kind: DraftKind::Bridge(&members.value),
        mtu: bridge.mtu.given(),
        address: bridge.address.given(),
        subnet: bridge.subnet.given(),
    })
}

/// What kernel, networkd, NetworkManager and sysctl all take for a name, and no port's.
fn is_link_name(name: &Located<String>, problems: &mut Problems<'_>) -> bool {
    let text = &name.value;
    if port_number(text).is_some() || matches!(text.as_str(), "port" | "lo" | "all" | "default") {
        let message = format!("`{text}` has a meaning of its own");
        name.complain(problems, message, "give it another name, as bond0");
        return false;
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=LONGEST_NAME).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(allowed);
    if !good {
        let message = format!("`{text}` is not a name for a link");
        let help = "at most 15 letters, digits, `-`, `_` and `.`, the first a letter";
        name.complain(problems, message, help);
    }
    good
}
