//! The server's policy (RFC 2131 section 4.3).

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::cluster::{DhcpMode, Machine};
use hardway_model::identity::Identity;
use hardway_model::lifecycle::{Event, MachineState, Timestamp};

use super::client;
use super::leases::{Lease, LeaseTable, PoolExhausted};
use super::options::Content;
use super::packet::{MessageType, Reply, Request, code};
use super::service::{CLIENT_PORT, Destination, Output, SERVER_PORT, World};
use crate::answer::{Answer, Client, Reason, answer};

/// How long an address rests that a client found in use, in milliseconds.
const DECLINED_FOR: u64 = 600_000;

/// The DHCP server. Its only state is who holds which address.
#[derive(Debug, Clone, Default)]
pub struct Server {
    leases: LeaseTable,
}

/// One packet and everything that is known about its sender.
struct Turn<'r, 'w> {
    request: &'r Request,
    client: Client,
    machine: Option<(&'w Machine, &'w MachineState)>,
    world: World<'w>,
    answer: Answer,
    now: Timestamp,
}

/// Whether a client may have the address that it asks for.
enum Verdict {
    Granted,
    Refused(String),
    /// Another server may know the client: no answer.
    Unknown,
}

impl Server {
    /// Starts from durable leases.
    pub fn new(leases: impl IntoIterator<Item = Lease>) -> Self {
        Self {
            leases: LeaseTable::new(leases),
        }
    }

    /// Answers one packet. `find` gives the declared machine of an identity, with its state.
    pub fn handle<'a>(
        &mut self,
        packet: &[u8],
        world: World<'a>,
        find: impl FnOnce(&Identity) -> Option<(&'a Machine, &'a MachineState)>,
        now: Timestamp,
    ) -> Vec<Output> {
        let network = &world.cluster.network;
        if matches!(network.dhcp, DhcpMode::Off | DhcpMode::Proxy) {
            return ignored("cluster.yaml does not let this appliance give addresses");
        }
        let request = match Request::decode(packet) {
            Ok(request) => request,
            Err(error) => return ignored(error.to_string()),
        };
        let relay = request.relay_address;
        if !relay.is_unspecified() && !network.contains(relay) {
            return ignored(format!("relay {relay} serves another network"));
        }
        let client = client::client(&request);
        let machine = find(&client.identity);
        let turn = Turn {
            answer: answer(&client, world.cluster, machine),
            request: &request,
            client,
            machine,
            world,
            now,
        };
        match request.kind {
            MessageType::Discover => self.discover(&turn),
            MessageType::Request => self.request(&turn),
            MessageType::Decline => self.decline(&turn),
            MessageType::Release => self.release(&turn),
            MessageType::Inform => turn.inform(),
            MessageType::Offer | MessageType::Ack | MessageType::Nak => {
                ignored("a server's message in a request")
            }
        }
    }

    fn discover(&mut self, turn: &Turn<'_, '_>) -> Vec<Output> {
        let address = match self.address_for(turn) {
            Ok(address) => address,
            Err(exhausted) => return vec![turn.observed(None, &format!("no offer: {exhausted}"))],
        };
        self.leases.offer(turn.request.mac, address, turn.now);
        let said = format!("offered {address}{}", turn.boot_summary());
        vec![
            turn.send(turn.content().lease(MessageType::Offer, address)),
            turn.observed(Some(address), &said),
        ]
    }

    /// The states are told apart as in RFC 2131 table 4.
    fn request(&mut self, turn: &Turn<'_, '_>) -> Vec<Output> {
        let request = turn.request;
        let wanted = request.address_option(code::REQUESTED_ADDRESS);
        match (request.address_option(code::SERVER_IDENTIFIER), wanted) {
            (Some(server), _) if server != turn.world.cluster.network.address => {
                self.leases.withdraw(request.mac);
                ignored(format!("{} took the offer of {server}", request.mac))
            }
            (Some(_), Some(wanted)) => self.decide(turn, wanted, false),
            (None, Some(wanted)) => self.decide(turn, wanted, true),
            (_, None) if !request.client_address.is_unspecified() => {
                self.decide(turn, request.client_address, false)
            }
            (_, None) => ignored(format!("{} asks for no address", request.mac)),
        }
    }

    fn decide(&mut self, turn: &Turn<'_, '_>, wanted: Ipv4Addr, reboot: bool) -> Vec<Output> {
        match self.verdict(turn, wanted, reboot) {
            Verdict::Granted => self.acknowledge(turn, wanted),
            Verdict::Refused(reason) => {
                self.leases.withdraw(turn.request.mac);
                vec![
                    turn.send(turn.content().refusal(&reason)),
                    turn.observed(None, &format!("refused {wanted}: {reason}")),
                ]
            }
            Verdict::Unknown => ignored(format!(
                "{} is not known to hold {wanted}",
                turn.request.mac
            )),
        }
    }

    fn acknowledge(&mut self, turn: &Turn<'_, '_>, address: Ipv4Addr) -> Vec<Output> {
        let lasts = turn.world.cluster.network.lease.as_millis();
        let lease = Lease {
            address,
            mac: Some(turn.request.mac),
            machine: turn.machine.map(|(machine, _)| machine.name.clone()),
            expires: turn
                .now
                .saturating_add(u64::try_from(lasts).unwrap_or(u64::MAX)),
        };
        self.leases.insert(lease.clone());
        let said = format!("given {address}{}", turn.boot_summary());
        vec![
            Output::StoreLease(lease),
            turn.send(turn.content().lease(MessageType::Ack, address)),
            turn.observed(Some(address), &said),
        ]
    }

    /// RFC 2131 section 4.3.2, for a server that knows every machine of its network.
    fn verdict(&self, turn: &Turn<'_, '_>, wanted: Ipv4Addr, reboot: bool) -> Verdict {
        let network = &turn.world.cluster.network;
        let mac = turn.request.mac;
        if !network.contains(wanted) {
            return Verdict::Refused(format!("{wanted} is in another network"));
        }
        match self.reservation(turn) {
            Some(reserved) if reserved == wanted => return Verdict::Granted,
            Some(reserved) => {
                return Verdict::Refused(format!("this machine's address is {reserved}"));
            }
            None => {}
        }
        if !network.pool_contains(wanted) || turn.is_reserved(wanted) {
            return Verdict::Refused(format!("{wanted} is not in the pool"));
        }
        if !self.leases.is_free_for(mac, wanted, turn.now) {
            return Verdict::Refused(format!("{wanted} belongs to another machine"));
        }
        // A client that returns with an address that nobody recorded may be another server's. One that
        // renews it was given it here: by an appliance that has lost its state since.
        match reboot && !self.leases.was_held_by(mac, wanted) {
            true => Verdict::Unknown,
            false => Verdict::Granted,
        }
    }

    fn address_for(&self, turn: &Turn<'_, '_>) -> Result<Ipv4Addr, PoolExhausted> {
        if let Some(reserved) = self.reservation(turn) {
            return Ok(reserved);
        }
        let wish = turn.request.address_option(code::REQUESTED_ADDRESS);
        let (mac, now) = (turn.request.mac, turn.now);
        let pool = turn.world.cluster.network.pool;
        // Without a pool there is an empty one.
        let pool = pool.unwrap_or((Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED));
        let reserved = |address| turn.is_reserved(address);
        self.leases.choose(mac, wish, pool, reserved, now)
    }

    /// The address that cluster.yaml reserves for the client, unless another NIC of the same machine or
    /// a stranger holds it now. A NIC that the machine no longer has holds nothing.
    fn reservation(&self, turn: &Turn<'_, '_>) -> Option<Ipv4Addr> {
        let (machine, state) = turn.machine?;
        let address = machine.address?;
        if self.leases.is_free_for(turn.request.mac, address, turn.now) {
            return Some(address);
        }
        let lease = self.leases.at(address, turn.now)?;
        let holder = lease.mac?;
        let of_this_machine = lease.machine.as_deref() == Some(machine.name.as_str());
        let still_there =
            machine.matches.macs.contains(&holder) || state.identity.macs.contains(&holder);
        (of_this_machine && !still_there).then_some(address)
    }

    fn decline(&mut self, turn: &Turn<'_, '_>) -> Vec<Output> {
        let mac = turn.request.mac;
        let declined = turn.request.address_option(code::REQUESTED_ADDRESS);
        let held = declined.filter(|address| {
            self.leases.holds(mac, *address, turn.now) || self.leases.is_offered_to(mac, *address)
        });
        let Some(address) = held.filter(|_| turn.is_for_this_server()) else {
            return ignored(format!("{mac} declines an address that it was not given"));
        };
        let rest = Lease {
            address,
            mac: None,
            machine: None,
            expires: turn.now.saturating_add(DECLINED_FOR),
        };
        self.leases.insert(rest.clone());
        let said = format!("{address} rests for ten minutes, since somebody else uses it");
        vec![Output::StoreLease(rest), turn.observed(None, &said)]
    }

    fn release(&mut self, turn: &Turn<'_, '_>) -> Vec<Output> {
        let (mac, address) = (turn.request.mac, turn.request.client_address);
        let lease = self
            .leases
            .at(address, turn.now)
            .filter(|lease| lease.mac == Some(mac));
        let Some(lease) = lease.filter(|_| turn.is_for_this_server()) else {
            return ignored(format!("{mac} releases {address}, which it does not hold"));
        };
        let ended = Lease {
            expires: turn.now,
            ..lease.clone()
        };
        self.leases.insert(ended.clone());
        vec![
            Output::StoreLease(ended),
            turn.observed(None, &format!("{address} is free again")),
        ]
    }
}

impl Turn<'_, '_> {
    fn content(&self) -> Content<'_> {
        Content {
            request: self.request,
            cluster: self.world.cluster,
            machine: self.machine.map(|(machine, _)| machine),
            http_port: self.world.http_port,
            answer: self.answer.clone(),
        }
    }

    fn inform(&self) -> Vec<Output> {
        let address = self.request.client_address;
        if address.is_unspecified() {
            return ignored(format!("{} informs of no address", self.request.mac));
        }
        if !self.world.cluster.network.contains(address) {
            return ignored(format!("{address} is in another network"));
        }
        vec![
            self.send(self.content().information()),
            self.observed(Some(address), &format!("told the options beside {address}")),
        ]
    }

    fn send(&self, reply: Reply) -> Output {
        Output::Send {
            destination: destination(self.request, reply.kind),
            from: SERVER_PORT,
            bytes: reply.encode(self.request),
        }
    }

    fn observed(&self, address: Option<Ipv4Addr>, said: &str) -> Output {
        let mac = self.request.mac;
        let name = match self.machine {
            Some((machine, _)) => machine.name.clone(),
            None => mac.hyphenated(),
        };
        let kind = self.request.kind.name();
        let event = Event::Dhcp {
            mac,
            summary: format!("{kind} from {} → {said}", client::name(self.request)),
            address,
            asker: self.client.program.asker(),
            boot_file: self.boot_file(),
        };
        Output::Observed {
            name,
            event: Box::new(event),
        }
    }

    fn boot_file(&self) -> Option<String> {
        match &self.answer {
            Answer::BootFile(file) | Answer::HttpBootFile(file) => Some(file.clone()),
            _ => None,
        }
    }

    fn boot_summary(&self) -> String {
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

    fn is_for_this_server(&self) -> bool {
        let server = self.request.address_option(code::SERVER_IDENTIFIER);
        server.is_none_or(|server| server == self.world.cluster.network.address)
    }

    /// Whether an address is the appliance's, the gateway's, or somebody's in cluster.yaml.
    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        let cluster = self.world.cluster;
        let network = &cluster.network;
        address == network.address
            || Some(address) == network.gateway
            || address == network.network_address()
            || address == network.broadcast()
            || cluster
                .machines
                .iter()
                .any(|machine| machine.address == Some(address))
    }
}

/// RFC 2131 section 4.1. A client without an address always gets a broadcast: unicast to an address
/// that does not answer ARP yet needs a packet socket, and iPXE, edk2 and Linux take broadcasts
/// whatever the flag they set says.
fn destination(request: &Request, kind: MessageType) -> Destination {
    if !request.relay_address.is_unspecified() {
        Destination::Address(SocketAddrV4::new(request.relay_address, SERVER_PORT))
    } else if kind == MessageType::Ack && !request.client_address.is_unspecified() {
        Destination::Address(SocketAddrV4::new(request.client_address, CLIENT_PORT))
    } else {
        Destination::Broadcast(CLIENT_PORT)
    }
}

fn ignored(reason: impl Into<String>) -> Vec<Output> {
    vec![Output::Ignored(reason.into())]
}
