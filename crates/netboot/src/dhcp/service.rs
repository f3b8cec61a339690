//! DHCP as the sockets see it: what arrives, what is to be done, and when to look again.
//!
//! [`Service`] is the whole of it for one appliance, whatever `network.dhcp.mode` says: it looks for
//! other servers, is server or proxy, and asks before it offers an address whether somebody uses it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use hardway_model::boot::Diagnosis;
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::lifecycle::{Event, MachineState, Severity, Timestamp};

use super::addresses::{Addresses, Use};
use super::client;
use super::leases::Lease;
use super::message::{Input, Output, PROXY_PORT, SERVER_PORT, World};
use super::packet::{MessageType, Request};
use super::server::{self, Discovered, ignored};
use super::server_message::ServerMessage;
use super::turn::{Turn, network_of};
use super::waiting::{Waiter, Waiting};
use super::watch::{Role, Watch};
use crate::answer::{Client, Program, answer_with};

/// DHCP for one appliance.
#[derive(Debug, Clone)]
pub struct Service {
    mac: MacAddress,
    /// What `addresses` and `watch` were arranged for.
    cluster: Option<Arc<Cluster>>,
    addresses: Addresses,
    watch: Watch,
    waiting: Waiting,
    /// When it was told of each network's pool that it has no address left.
    told_exhausted: BTreeMap<Ipv4Addr, Timestamp>,
    /// When it was told that somebody uses the appliance's own address.
    told_own_address: Option<Timestamp>,
    last: Timestamp,
}

/// A clock that goes back by more than this, in milliseconds, was set.
const CLOCK_SET: u64 = 5_000;
/// How long nothing is said again of what goes on and on, in milliseconds.
const SAID_FOR: u64 = 600_000;

impl Default for Service {
    fn default() -> Self {
        Self::new([], MacAddress([0; 6]))
    }
}

impl Service {
    /// Starts from durable leases. `mac` is the appliance's own hardware address on the segment.
    pub fn new(leases: impl IntoIterator<Item = Lease>, mac: MacAddress) -> Self {
        Self {
            mac,
            cluster: None,
            addresses: Addresses::new(leases),
            watch: Watch::new(mac),
            waiting: Waiting::default(),
            told_exhausted: BTreeMap::new(),
            told_own_address: None,
            last: 0,
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
        self.settle(world, now);
        match input {
            Input::Packet {
                bytes,
                source,
                port,
            } => self.packet(bytes, source, port, world, find, now),
            Input::ServerMessage { bytes, source, mac } => {
                self.server_message(bytes, (source, mac), world, find, now)
            }
            Input::Arp { address, mac } => self.arp(address, mac, world, find, now),
            Input::Timeout => self.timeout(now),
        }
    }

    /// When [`Input::Timeout`] is due: at once where it lies in the past.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.cluster.is_none() {
            return Some(0);
        }
        let batch = match self.watch.role() {
            Role::Server => self.addresses.next_batch(),
            _ => None,
        };
        let moments = [self.watch.due(), batch, self.waiting.due()];
        moments.into_iter().flatten().min()
    }

    /// What this appliance does on the network now.
    pub fn role(&self) -> Role {
        self.watch.role()
    }

    /// Takes over a new cluster.yaml and a clock that was set, and ends what has lasted long enough.
    fn settle(&mut self, world: World<'_>, now: Timestamp) {
        if now.saturating_add(CLOCK_SET) < self.last {
            self.addresses.restart_clock(now);
            self.watch.restart_clock(now);
            self.waiting = Waiting::default();
            self.told_exhausted.clear();
            self.told_own_address = None;
        }
        self.last = now;
        let known = self.cluster.as_ref();
        if known.is_none_or(|known| !Arc::ptr_eq(known, world.cluster)) {
            self.cluster = Some(Arc::clone(world.cluster));
            self.addresses.arrange(world.cluster, now);
            self.watch.arrange(world.cluster.network.dhcp, now);
        }
        self.addresses.settle(now);
    }

    fn packet<'a>(
        &mut self,
        bytes: &[u8],
        source: SocketAddrV4,
        port: u16,
        world: World<'a>,
        find: impl FnOnce(&Identity) -> Option<(&'a Machine, &'a MachineState)>,
        now: Timestamp,
    ) -> Vec<Output> {
        let role = self.watch.role();
        match role {
            Role::Off => return ignored("DHCP is off in cluster.yaml"),
            Role::Undecided => return ignored("other DHCP servers are being looked for"),
            Role::Server | Role::Proxy => {}
        }
        let request = match Request::decode(bytes) {
            Ok(request) => request,
            Err(error) => return ignored(error.to_string()),
        };
        if self.watch.is_own(request.mac) {
            return ignored("the appliance's own question");
        }
        let network = match network_of(&request, &world.cluster.network) {
            Ok(network) => network,
            Err(reason) => return ignored(reason),
        };
        let mut client = client::client(&request);
        self.recall(&request, &mut client, world, now);
        let machine = find(&client.identity);
        let history = match machine {
            Some((_, state)) => Some(&state.boot),
            None => world.strangers.history(&client.identity.macs),
        };
        let turn = Turn {
            answer: answer_with(&client, world.cluster, machine, history),
            circumstance: match request.kind {
                MessageType::Discover => self.watch.circumstance(),
                _ => String::new(),
            },
            request: &request,
            source,
            port,
            client,
            machine,
            world,
            network,
            now,
        };
        match (port, role) {
            (PROXY_PORT, _) => server::boot_server(&turn),
            (_, Role::Proxy) => server::propose(&turn),
            _ => self.serve(&turn, bytes),
        }
    }

    /// The system on a machine tells less of it than the firmware did: what the lease remembers is put
    /// in its place.
    fn recall(&self, request: &Request, client: &mut Client, world: World<'_>, now: Timestamp) {
        let own = &mut client.identity;
        if client.program != Program::OperatingSystem || own.uuid.is_some() {
            return;
        }
        let remembered = self.addresses.remembered(&request.holder, now);
        let Some(machine) = remembered.and_then(|index| world.cluster.machines.get(index)) else {
            return;
        };
        own.macs.extend(&machine.matches.macs);
        own.serial.clone_from(&machine.matches.serial);
        own.uuid.clone_from(&machine.matches.uuid);
    }

    fn serve(&mut self, turn: &Turn<'_, '_>, packet: &[u8]) -> Vec<Output> {
        match turn.request.kind {
            MessageType::Discover => self.discover(turn, packet),
            MessageType::Request => server::request(turn, &mut self.addresses, &mut self.watch),
            MessageType::Decline => server::decline(turn, &mut self.addresses),
            MessageType::Release => server::release(turn, &mut self.addresses),
            MessageType::Inform => server::inform(turn),
            MessageType::Offer | MessageType::Ack | MessageType::Nak => {
                ignored("a server's message in a request")
            }
        }
    }

    fn discover(&mut self, turn: &Turn<'_, '_>, packet: &[u8]) -> Vec<Output> {
        let (pick, outputs) = match server::discover(turn, &mut self.addresses) {
            Discovered::Now(outputs) => return self.without_repeating(outputs, turn),
            Discovered::Later(pick, outputs) => (pick, outputs),
        };
        let holder = turn.request.holder.clone();
        let waiter = Waiter {
            holder: holder.clone(),
            packet: packet.to_vec(),
            source: turn.source,
            outputs,
        };
        if !self.waiting.add(pick.address, pick.ready, waiter) {
            self.addresses.withdraw(&holder);
            return ignored(format!("{holder} has to ask again: too many offers wait"));
        }
        match pick.probe {
            true => vec![Output::Probe(pick.address)],
            false => Vec::new(),
        }
    }

    /// A pool that has no address left is told of once in ten minutes, not with every DISCOVER.
    fn without_repeating(&mut self, mut outputs: Vec<Output>, turn: &Turn<'_, '_>) -> Vec<Output> {
        let exhausted = |output: &Output| {
            matches!(
                output,
                Output::Notice {
                    kind: "pool-exhausted",
                    ..
                }
            )
        };
        if outputs.iter().any(exhausted) {
            let told = self.told_exhausted.entry(turn.network.network);
            let told = told.or_insert(0);
            match turn.now.saturating_sub(*told) < SAID_FOR {
                true => outputs.retain(|output| !exhausted(output)),
                false => *told = turn.now,
            }
        }
        outputs
    }

    fn timeout(&mut self, now: Timestamp) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.watch.timeout(now, &mut outputs);
        if self.watch.role() == Role::Server {
            let probes = self.addresses.lay_in(now);
            outputs.extend(probes.into_iter().map(Output::Probe));
        }
        while let Some((address, waiter)) = self.waiting.next(now) {
            // Unless the client has turned to another address since.
            if self.addresses.leases.offered_to(&waiter.holder) == Some(address) {
                outputs.extend(waiter.outputs);
            }
        }
        outputs
    }

    fn server_message<'a>(
        &mut self,
        bytes: &[u8],
        (source, mac): (Ipv4Addr, MacAddress),
        world: World<'a>,
        find: impl FnOnce(&Identity) -> Option<(&'a Machine, &'a MachineState)>,
        now: Timestamp,
    ) -> Vec<Output> {
        let Some(message) = ServerMessage::decode(bytes) else {
            return Vec::new();
        };
        let own = world.cluster.network.address;
        if mac == self.mac || source == own || message.server == Some(own) {
            return Vec::new();
        }
        let mut outputs = Vec::new();
        let seen = self.watch.heard(&message, (source, mac), now, &mut outputs);
        if let Some(seen) = seen
            && let Some((machine, _)) = find(&identity(message.client))
        {
            outputs.push(diagnosed(machine, Diagnosis::ForeignServer, seen));
        }
        outputs
    }

    fn arp<'a>(
        &mut self,
        address: Ipv4Addr,
        mac: MacAddress,
        world: World<'a>,
        find: impl FnOnce(&Identity) -> Option<(&'a Machine, &'a MachineState)>,
        now: Timestamp,
    ) -> Vec<Output> {
        if mac == self.mac || self.watch.role() != Role::Server {
            return Vec::new();
        }
        if address == world.cluster.network.address {
            return self.own_address_used(address, mac, now);
        }
        let waiter = self.waiting.remove_of_another(address, mac);
        let declared = |usage: &Use| world.cluster.machines.get(usage.declared?);
        let usage = self.addresses.judge(address, mac, now);
        let usage =
            usage.filter(|usage| !declared(usage).is_some_and(|own| may_be(own, mac, usage)));
        let Some(usage) = usage else {
            // Another NIC of a machine holds what the waiter was to get.
            return match waiter {
                Some(waiter) => {
                    self.addresses.heard(address, mac, now);
                    self.offer_another(waiter, world, find, now)
                }
                None => Vec::new(),
            };
        };
        let declared = declared(&usage);
        let is_news = self.addresses.heard(address, mac, now);
        let mut outputs = Vec::new();
        if is_news && !usage.former_holder {
            outputs.push(Output::Notice {
                kind: "address-conflict",
                severity: Severity::Warning,
                text: format!("{address} is used by {mac}, {}", usage.belongs),
            });
            let name = usage.machine.as_deref();
            let machine = name
                .and_then(|name| world.cluster.machine(name))
                .or(declared);
            if let Some(machine) = machine {
                let seen = format!("{address} is used by {mac}");
                outputs.push(diagnosed(machine, Diagnosis::AddressConflict, seen));
            }
        }
        if let Some(waiter) = waiter {
            outputs.extend(self.offer_another(waiter, world, find, now));
        }
        outputs
    }

    fn offer_another<'a>(
        &mut self,
        waiter: Waiter,
        world: World<'a>,
        find: impl FnOnce(&Identity) -> Option<(&'a Machine, &'a MachineState)>,
        now: Timestamp,
    ) -> Vec<Output> {
        self.addresses.withdraw(&waiter.holder);
        self.packet(&waiter.packet, waiter.source, SERVER_PORT, world, find, now)
    }

    fn own_address_used(
        &mut self,
        address: Ipv4Addr,
        mac: MacAddress,
        now: Timestamp,
    ) -> Vec<Output> {
        let told = self.told_own_address;
        if told.is_some_and(|told| now.saturating_sub(told) < SAID_FOR) {
            return Vec::new();
        }
        self.told_own_address = Some(now);
        vec![Output::Notice {
            kind: "address-conflict",
            severity: Severity::Error,
            text: format!("{mac} uses this appliance's own address {address}"),
        }]
    }
}

/// Whether a station that uses a declared machine's address is that machine, or could be: one that is
/// known by its UUID or serial number alone says neither by ARP.
fn may_be(machine: &Machine, mac: MacAddress, usage: &Use) -> bool {
    let macs = &machine.matches.macs;
    macs.contains(&mac) || (macs.is_empty() && usage.machine.is_none())
}

fn identity(mac: MacAddress) -> Identity {
    Identity {
        macs: vec![mac],
        ..Identity::default()
    }
}

fn diagnosed(machine: &Machine, diagnosis: Diagnosis, seen: String) -> Output {
    Output::Observed {
        name: machine.name.clone(),
        event: Box::new(Event::Diagnosed { diagnosis, seen }),
    }
}
