//! What arrives, and what has to be done: the words between [`super::Service`] and the sockets.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use hardway_model::boot::BootHistory;
use hardway_model::cluster::Cluster;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::{Event, Severity};

use super::leases::Lease;

/// The port that servers and relays listen on.
pub const SERVER_PORT: u16 = 67;
/// The port that clients listen on.
pub const CLIENT_PORT: u16 = 68;
/// The port that a PXE boot server listens on (PXE 2.1 section 2.2.3).
pub const PROXY_PORT: u16 = 4011;

/// What is desired and known while something is handled.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The cluster. A new cluster.yaml is noticed by its being another one.
    pub cluster: &'a Arc<Cluster>,
    /// The port of the appliance's HTTP service.
    pub http_port: u16,
    /// What came of boot files on machines that are not declared.
    pub strangers: Strangers<'a>,
}

/// What came of boot files on machines that are not declared, by their hardware addresses.
#[derive(Clone, Copy, Default)]
pub struct Strangers<'a>(Option<&'a dyn Fn(MacAddress) -> Option<&'a BootHistory>>);

impl<'a> Strangers<'a> {
    /// As `history` remembers them.
    pub fn new(history: &'a dyn Fn(MacAddress) -> Option<&'a BootHistory>) -> Self {
        Self(Some(history))
    }

    /// What is remembered of the machine with one of these addresses.
    pub fn history(&self, macs: &[MacAddress]) -> Option<&'a BootHistory> {
        let history = self.0?;
        macs.iter().find_map(|mac| history(*mac))
    }
}

impl fmt::Debug for Strangers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.map(|_| "remembered");
        f.debug_tuple("Strangers").field(&known).finish()
    }
}

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub enum Input<'p> {
    /// A datagram on port 67 or 4011 of the appliance.
    Packet {
        /// The DHCP message.
        bytes: &'p [u8],
        /// Who sent it.
        source: SocketAddrV4,
        /// The port that it arrived on: [`SERVER_PORT`] or [`PROXY_PORT`].
        port: u16,
    },
    /// A server's message that was seen on the segment, sent to a client or to the appliance.
    ServerMessage {
        /// The DHCP message.
        bytes: &'p [u8],
        /// Who sent it.
        source: Ipv4Addr,
        /// The station that sent the frame.
        mac: MacAddress,
    },
    /// An ARP packet was seen: the station `mac` says that it has `address` (RFC 826's sender fields;
    /// an ARP probe with an unspecified sender is not one).
    Arp {
        /// The address.
        address: Ipv4Addr,
        /// The station.
        mac: MacAddress,
    },
    /// The moment of [`Service::deadline`] has come.
    Timeout,
}

/// What has to be done, in this order. When storing a lease fails, what follows must not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make the lease durable. Several in a row may share one commit.
    StoreLease(Lease),
    /// Send a datagram.
    Send {
        /// The DHCP message.
        bytes: Vec<u8>,
        /// Where to.
        destination: Destination,
        /// From which port of the appliance: [`SERVER_PORT`] or [`PROXY_PORT`]; [`CLIENT_PORT`] for
        /// the search for other servers.
        from: u16,
    },
    /// Ask by ARP who has this address (RFC 5227 section 2.1.1: from the unspecified address).
    Probe(Ipv4Addr),
    /// Something happened to a machine: its name (declared, or the hyphenated MAC) and what.
    Observed {
        /// The machine.
        name: String,
        /// The event.
        event: Box<Event>,
    },
    /// Something that concerns the appliance or the whole network: another server, an exhausted pool,
    /// the mode that `auto` chose. For the log, the status page and the metrics.
    Notice {
        /// What it is about, as a stable name: `foreign-server`, `pool-exhausted`, `mode`,
        /// `address-conflict`.
        kind: &'static str,
        /// How serious it is.
        severity: Severity,
        /// In an operator's words.
        text: String,
    },
    /// The packet is left unanswered, and nobody's timeline is concerned.
    Ignored(String),
}

/// Where a datagram goes (RFC 2131 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To an address that answers ARP: a relay, or a client that has its address.
    Address(SocketAddrV4),
    /// To everybody on the segment, port 68 (port 67 for the search for other servers).
    Broadcast(u16),
    /// To a client that does not answer ARP for its address yet: a frame to its hardware address.
    /// Where no frame can be sent, a broadcast does.
    Station {
        /// Its hardware address.
        mac: MacAddress,
        /// The address that it is being given, port 68.
        address: Ipv4Addr,
    },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Broadcast(port) => write!(f, "{}:{port}", Ipv4Addr::BROADCAST),
            Self::Station { mac, address } => write!(f, "{address} at {mac}"),
        }
    }
}
