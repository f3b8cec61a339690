//! One packet and everything that is known about its sender.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::boot::Diagnosis;
use hardway_model::cluster::{Machine, Network, Subnet};
use hardway_model::lifecycle::{Event, MachineState, Timestamp};

use super::client;
use super::message::{CLIENT_PORT, Destination, Output, PROXY_PORT, SERVER_PORT, World};
use super::options::Content;
use super::packet::{MessageType, Reply, Request, code};
use crate::answer::{Answer, Client, Program, Reason};

/// A packet on its way to an answer.
pub struct Turn<'r, 'w> {
    /// The message.
    pub request: &'r Request,
    /// Who sent the datagram.
    pub source: SocketAddrV4,
    /// The port that it arrived on.
    pub port: u16,
    /// Who asks, and with what program.
    pub client: Client,
    /// The declared machine that asks.
    pub machine: Option<(&'w Machine, &'w MachineState)>,
    /// What is desired.
    pub world: World<'w>,
    /// The network that the client is on.
    pub network: Subnet,
    /// What the oracle says.
    pub answer: Answer,
    /// How this appliance came to answer, for the timeline; empty where that needs no word.
    pub circumstance: String,
    /// When.
    pub now: Timestamp,
}

/// The network that a client is on: by the relay's link selection (RFC 3527), which says it of a relay
/// whose own address lies elsewhere, by the client's subnet selection (RFC 3011), by the relay's
/// address, by the client's own address, else the appliance's own.
///
/// # Errors
/// What is asked for is no network that is served: nobody is answered then.
pub fn network_of(request: &Request, network: &Network) -> Result<Subnet, String> {
    let served = |address: Ipv4Addr, what: &str| {
        let found = network.network_of(address);
        found.ok_or_else(|| format!("{what} {address} is in no network that is served"))
    };
    let relay = request.relay_address;
    if let Some(link) = request.relay_suboption(RELAY_LINK_SELECTION)
        && !relay.is_unspecified()
    {
        return served(link, "the relay's link");
    }
    if let Some(subnet) = request.address_option(code::SUBNET_SELECTION) {
        return served(subnet, "the selected subnet");
    }
    if !relay.is_unspecified() {
        return served(relay, "the relay");
    }
    let own = network.network_of(request.client_address);
    Ok(own.unwrap_or_else(|| network.own()))
}

/// Sub-options of the relay's information: RFC 3527 and RFC 5107.
const RELAY_LINK_SELECTION: u8 = 5;
const RELAY_SERVER_OVERRIDE: u8 = 11;

/// By what address the client knows this server: the appliance's, or the relay's own where it wants to
/// see every packet of its clients (RFC 5107).
pub fn server_identifier(request: &Request, network: &Network) -> Ipv4Addr {
    let relayed = !request.relay_address.is_unspecified();
    let wanted = request.relay_suboption(RELAY_SERVER_OVERRIDE);
    wanted.filter(|_| relayed).unwrap_or(network.address)
}

impl Turn<'_, '_> {
    /// What replies are made from.
    pub fn content(&self) -> Content<'_> {
        Content {
            request: self.request,
            cluster: self.world.cluster,
            network: self.network,
            machine: self.machine.map(|(machine, _)| machine),
            http_port: self.world.http_port,
            answer: &self.answer,
        }
    }

    /// Sends a reply to where RFC 2131 section 4.1 wants it.
    pub fn send(&self, reply: Reply) -> Output {
        Output::Send {
            destination: self.destination(&reply),
            from: if self.port == PROXY_PORT {
                PROXY_PORT
            } else {
                SERVER_PORT
            },
            bytes: reply.encode(self.request),
        }
    }

    /// A relay first; then the address that the client has and keeps; a broadcast for who wants it, has
    /// no address that could be used, or is refused one; else the client's station by its frame. A
    /// boot server answers whoever asked it.
    fn destination(&self, reply: &Reply) -> Destination {
        let request = self.request;
        if self.port == PROXY_PORT && !self.source.ip().is_unspecified() {
            return Destination::Address(self.source);
        }
        if !request.relay_address.is_unspecified() {
            return Destination::Address(SocketAddrV4::new(request.relay_address, SERVER_PORT));
        }
        let has_address = !request.client_address.is_unspecified()
            && (reply.your_address == request.client_address
                || request.kind == MessageType::Inform);
        let address = reply.your_address;
        match (reply.kind, request.mac) {
            (MessageType::Ack, _) if has_address => {
                Destination::Address(SocketAddrV4::new(request.client_address, CLIENT_PORT))
            }
            (MessageType::Offer | MessageType::Ack, Some(mac))
                if !request.broadcast && !address.is_unspecified() =>
            {
                Destination::Station { mac, address }
            }
            _ => Destination::Broadcast(CLIENT_PORT),
        }
    }

    /// Whether the client is one that has a timeline: a declared machine, or one that boots from the
    /// network. Of others there is their lease and no more.
    fn is_followed(&self) -> bool {
        self.machine.is_some() || self.client.program != Program::OperatingSystem
    }

    /// A line of the client's timeline. `address` is the one that it has now.
    pub fn observed(&self, address: Option<Ipv4Addr>, said: &str) -> Option<Output> {
        let mac = self.request.mac.filter(|_| self.is_followed())?;
        let kind = self.request.kind.name();
        self.event(Event::Dhcp {
            mac,
            summary: format!("{kind} from {} → {said}", client::name(self.request)),
            address,
            asker: self.client.program.asker(),
            boot_file: self.boot_file(),
        })
    }

    /// What went wrong for the client.
    pub fn diagnosed(&self, diagnosis: Diagnosis, seen: String) -> Option<Output> {
        self.event(Event::Diagnosed { diagnosis, seen })
    }

    fn event(&self, event: Event) -> Option<Output> {
        let mac = self.request.mac.filter(|_| self.is_followed())?;
        let name = match self.machine {
            Some((machine, _)) => machine.name.clone(),
            None => mac.hyphenated(),
        };
        Some(Output::Observed {
            name,
            event: Box::new(event),
        })
    }

    fn boot_file(&self) -> Option<String> {
        match &self.answer {
            Answer::BootFile(file) | Answer::HttpBootFile(file) => Some(file.clone()),
            _ => None,
        }
    }

    /// What there is to boot, for the timeline.
    pub fn boot_summary(&self) -> String {
        match &self.answer {
            Answer::BootFile(file) => format!(" and {file} by TFTP"),
            Answer::HttpBootFile(file) => format!(" and {file} by HTTP"),
            Answer::ScriptUrl => " and its script".to_owned(),
            Answer::AddressOnly(Reason::NotBooting) | Answer::Script(_) => String::new(),
            Answer::AddressOnly(reason) | Answer::Silence(reason) => {
                format!(" and nothing to boot: {reason}")
            }
        }
    }

    /// Whether the message names this server, or none.
    pub fn is_for_this_server(&self) -> bool {
        let server = self.request.address_option(code::SERVER_IDENTIFIER);
        server.is_none_or(|server| self.is_this_server(server))
    }

    /// Whether a server identifier is this server's.
    pub fn is_this_server(&self, server: Ipv4Addr) -> bool {
        let network = &self.world.cluster.network;
        server == network.address || server == server_identifier(self.request, network)
    }
}
