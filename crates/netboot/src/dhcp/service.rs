//! DHCP as the sockets see it: what arrives, what is to be done, and when to look again.
//!
//! [`Service`] is the whole of it for one appliance, whatever `network.dhcp.mode` says: it looks for
//! other servers, is server or proxy, and asks before it offers an address whether somebody uses it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::cluster::{Cluster, Machine};
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::lifecycle::{Event, MachineState, Severity, Timestamp};

use super::leases::Lease;
use super::server::Server;

/// The port that servers and relays listen on.
pub const SERVER_PORT: u16 = 67;
/// The port that clients listen on.
pub const CLIENT_PORT: u16 = 68;
/// The port that a PXE boot server listens on (PXE 2.1 section 2.2.3).
pub const PROXY_PORT: u16 = 4011;

/// What is desired and known while something is handled.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The port of the appliance's HTTP service.
    pub http_port: u16,
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

/// DHCP for one appliance.
#[derive(Debug, Clone, Default)]
pub struct Service {
    server: Server,
}

impl Service {
    /// Starts from durable leases. `mac` is the appliance's own hardware address on the segment.
    pub fn new(leases: impl IntoIterator<Item = Lease>, _mac: MacAddress) -> Self {
        Self {
            server: Server::new(leases),
        }
    }

    /// Handles one input. `find` gives the declared machine of an identity, with its state.
    pub fn handle<'a>(
        &mut self,
        input: Input<'_>,
        world: World<'a>,
        find: impl FnOnce(&Identity) -> Option<(&'a Machine, &'a MachineState)>,
        now: Timestamp,
    ) -> Vec<Output> {
        match input {
            Input::Packet { bytes, .. } => self.server.handle(bytes, world, find, now),
            Input::ServerMessage { .. } | Input::Arp { .. } | Input::Timeout => Vec::new(),
        }
    }

    /// When [`Input::Timeout`] is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }
}
