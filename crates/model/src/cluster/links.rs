//! What a profile says of its machines' links, and what that comes to on one machine.

use std::net::Ipv4Addr;

use super::{Cluster, Machine};
use crate::identity::MacAddress;
use crate::network::{
    AgentLink, BondMode, Controller, Link, LinkAddress, LinkKind, MachineNetwork, StaticAddress,
};

/// A profile's links: none stands on itself, and none belongs to two others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Each after those that it stands on; ports are among them where they are named.
    pub links: Vec<Declared>,
    /// What the agent uses while it installs; `None`: the port that booted, as it is.
    pub agent: Option<String>,
}

/// One declared link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name; `port1` and so on for a port.
    pub name: String,
    /// What it is, and on what it stands.
    pub kind: DeclaredKind,
    /// Its MTU, as said or by what it stands on.
    pub mtu: Option<u16>,
    /// How it gets an address.
    pub address: Addressing,
    /// A network in which each machine has an address of its own: its lowest address and the length of
    /// its prefix.
    pub subnet: Option<(Ipv4Addr, u8)>,
}

/// What a declared link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredKind {
    /// The machine's n-th hardware address, from 1.
    Port(usize),
    /// A bond.
    Bond {
        /// How it works.
        mode: BondMode,
        /// Its ports; `None`: all of the machine's.
        ports: Option<Vec<String>>,
    },
    /// A VLAN.
    Vlan {
        /// 1 to 4094.
        id: u16,
        /// The link below it.
        link: String,
    },
    /// A bridge and what belongs to it.
    Bridge(Vec<String>),
}

/// How a link gets an address, where it is none of a `subnet`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Addressing {
    /// By DHCP.
    Dhcp,
    /// It is the machine's declared one.
    Static,
    /// It has none.
    #[default]
    None,
}

/// The number in `port1`, from 1.
pub(super) fn port_number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("port")?;
    let is_plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

impl Links {
    /// The declared link of this name.
    pub fn link(&self, name: &str) -> Option<&Declared> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The highest number of a port that is named; at least 1.
    pub fn ports_needed(&self) -> usize {
        let numbers = self.links.iter().map(|link| match link.kind {
            DeclaredKind::Port(number) => number,
            _ => 1,
        });
        numbers.max().unwrap_or(1)
    }

    /// The bond that takes all ports, if there is one.
    fn of_all_ports(&self) -> Option<&Declared> {
        let takes_all =
            |link: &&Declared| matches!(link.kind, DeclaredKind::Bond { ports: None, .. });
        self.links.iter().find(takes_all)
    }
}

impl Cluster {
    /// The network of a machine's installed system; `None` where its profile leaves it to the image.
    pub fn machine_network(&self, machine: &Machine) -> Option<MachineNetwork> {
        let declared = self.profile(&machine.profile)?.network.as_ref()?;
        let mut links = Vec::new();
        if let Some(bond) = declared.of_all_ports() {
            let named = |number: &usize| declared.link(&format!("port{number}")).is_none();
            let more = (1..=machine.matches.macs.len()).filter(named);
            links.extend(more.map(|number| Declared {
                name: format!("port{number}"),
                kind: DeclaredKind::Port(number),
                mtu: bond.mtu,
                address: Addressing::None,
                subnet: None,
            }));
        }
        links.extend(declared.links.iter().cloned());
        let mut network = MachineNetwork::default();
        for link in &links {
            let mac = mac(link, &links, machine)?;
            network.links.push(Link {
                name: link.name.clone(),
                kind: match &link.kind {
                    DeclaredKind::Port(_) => LinkKind::Port,
                    DeclaredKind::Bond { mode, .. } => LinkKind::Bond(*mode),
                    DeclaredKind::Vlan { id, link } => LinkKind::Vlan {
                        id: *id,
                        link: link.clone(),
                    },
                    DeclaredKind::Bridge(_) => LinkKind::Bridge,
                },
                mac,
                mtu: link.mtu,
                controller: controller(link, &links),
                address: self.link_address(link, machine),
            });
        }
        Some(network)
    }

    /// What the agent makes of a machine's ports; `None`: nothing.
    pub fn agent_link(&self, machine: &Machine) -> Option<AgentLink> {
        let declared = self.profile(&machine.profile)?.network.as_ref()?;
        let mut agent = AgentLink::default();
        let mut name = declared.agent.as_deref();
        while let Some(link) = name.and_then(|name| declared.link(name)) {
            name = None;
            match &link.kind {
                DeclaredKind::Vlan { id, link } => {
                    agent.vlan = Some(*id);
                    name = Some(link);
                }
                DeclaredKind::Bond { mode, ports } => {
                    agent.bond = Some(*mode);
                    let macs = machine.matches.macs.iter().enumerate();
                    let is_member = |number: usize| match ports {
                        Some(ports) => ports.contains(&format!("port{number}")),
                        None => true,
                    };
                    let members = macs.filter(|(index, _)| is_member(index + 1));
                    agent.ports = members.map(|(_, mac)| *mac).collect();
                }
                DeclaredKind::Port(_) | DeclaredKind::Bridge(_) => {}
            }
        }
        (agent != AgentLink::default()).then_some(agent)
    }

    /// What the agent's kernel command line says of a machine beside what every machine's says.
    pub fn agent_arguments(&self, machine: Option<&Machine>) -> Vec<String> {
        let link = machine.and_then(|machine| self.agent_link(machine));
        link.map(|link| format!("hardway.link={link}"))
            .into_iter()
            .collect()
    }

    fn link_address(&self, link: &Declared, machine: &Machine) -> LinkAddress {
        let network = &self.network;
        let fixed = match (link.subnet, link.address) {
            (Some((_, prefix)), _) => {
                let own = machine.addresses.iter().find(|own| own.0 == link.name);
                own.map(|(_, address)| StaticAddress {
                    address: *address,
                    prefix,
                    gateway: None,
                    dns: Vec::new(),
                    domain: None,
                    ntp: Vec::new(),
                })
            }
            (None, Addressing::Static) => machine.address.map(|address| {
                let own = network.network_of(address);
                let own = own.unwrap_or_else(|| network.own());
                StaticAddress {
                    address,
                    prefix: own.prefix,
                    gateway: own.gateway,
                    dns: vec![network.address],
                    domain: Some(self.domain.clone()),
                    ntp: network.ntp.clone(),
                }
            }),
            (None, Addressing::Dhcp) => return LinkAddress::Dhcp,
            (None, Addressing::None) => None,
        };
        fixed.map_or(LinkAddress::None, LinkAddress::Static)
    }
}

/// A link that is no port has the address of the first port below it, as DHCP knows the machine by
/// that; a bridge of nothing but VLANs has that of the port below the first of them.
fn mac(link: &Declared, links: &[Declared], machine: &Machine) -> Option<MacAddress> {
    let below = match &link.kind {
        DeclaredKind::Port(number) => return machine.matches.macs.get(number - 1).copied(),
        DeclaredKind::Bond { ports: None, .. } => return machine.matches.macs.first().copied(),
        DeclaredKind::Vlan { link, .. } => link,
        DeclaredKind::Bond {
            ports: Some(members),
            ..
        }
        | DeclaredKind::Bridge(members) => members.first()?,
    };
    let below = links.iter().find(|other| other.name == *below)?;
    mac(below, links, machine)
}

fn controller(link: &Declared, links: &[Declared]) -> Option<Controller> {
    links.iter().find_map(|other| {
        let (has, is_bond) = match &other.kind {
            DeclaredKind::Bond { ports: None, .. } => {
                (matches!(link.kind, DeclaredKind::Port(_)), true)
            }
            DeclaredKind::Bond {
                ports: Some(ports), ..
            } => (ports.contains(&link.name), true),
            DeclaredKind::Bridge(members) => (members.contains(&link.name), false),
            DeclaredKind::Port(_) | DeclaredKind::Vlan { .. } => (false, false),
        };
        has.then(|| Controller {
            name: other.name.clone(),
            is_bond,
        })
    })
}
