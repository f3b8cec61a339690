//! A machine's network as its installed system is to have it, resolved from cluster.yaml.
//!
//! | module | what it does |
//! | --- | --- |
//! | `agent_link` | what the agent makes of its ports, as a kernel argument |
//! | [`networkd`] | files for systemd-networkd |
//! | [`keyfiles`] | files for NetworkManager |

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use self::agent_link::{AgentLink, InvalidAgentLink};
use crate::identity::MacAddress;

mod agent_link;
#[cfg(feature = "cluster")]
pub mod keyfiles;
#[cfg(feature = "cluster")]
pub mod networkd;
#[cfg(feature = "cluster")]
mod sections;

/// A machine's links, each after those that it stands on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineNetwork {
    /// At least one.
    pub links: Vec<Link>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's name; for a port only a name in cluster.yaml, `port1`, since kernels name ports
    /// each in its own way.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// By which a port is recognised; what every other link is given.
    pub mac: MacAddress,
    /// Bytes of a packet, without the Ethernet header; `None`: 1500, or what the driver begins with.
    pub mtu: Option<u16>,
    /// The bond or bridge that it belongs to.
    pub controller: Option<Controller>,
    /// Its address.
    pub address: LinkAddress,
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A network card's port.
    Port,
    /// Several ports that act as one.
    Bond(BondMode),
    /// A VLAN (IEEE 802.1Q).
    Vlan {
        /// 1 to 4094.
        id: u16,
        /// The link whose frames it tags.
        link: String,
    },
    /// A switch in software, without spanning tree.
    Bridge,
}

/// The bond or bridge that a link belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Its name.
    pub name: String,
    /// Whether it is a bond; a bridge otherwise.
    pub is_bond: bool,
}

/// How several ports act as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One port carries everything, another takes over when it fails. No switch has to know.
    ActiveBackup,
    /// All ports carry traffic, as they agree with the switch (IEEE 802.1AX; 802.3ad before).
    Lacp,
}

impl BondMode {
    /// As in cluster.yaml.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "lacp",
        }
    }

    /// As the kernel, networkd and NetworkManager write it.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "802.3ad",
        }
    }
}

/// A link's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAddress {
    /// None at all, not even a link-local one.
    None,
    /// By DHCP.
    Dhcp,
    /// One that does not change.
    Static(StaticAddress),
}

/// An address that does not change, and what DHCP would have said with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Default router.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, and the zone in which bare names are looked for.
    pub dns: Vec<Ipv4Addr>,
    /// As above.
    pub domain: Option<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
}

/// A file of the installed system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFile {
    /// Absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it says.
    pub text: String,
}

impl MachineNetwork {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The VLANs that stand on a link.
    pub fn vlans_on<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Link> {
        self.links
            .iter()
            .filter(move |vlan| matches!(&vlan.kind, LinkKind::Vlan { link, .. } if link == name))
    }
}
