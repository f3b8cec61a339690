//! Any messages in any order, with any pauses: no panic; no address is lent to two clients at once or
//! is the appliance's own, nothing is acknowledged before its lease is stored, and every message that
//! is sent can be read and fits into a frame.

#![no_main]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use hardway_model::cluster::{Cluster, DhcpMode, parse};
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::lifecycle::MachineState;
use hardway_netboot::dhcp::{Input, Lease, Output, PROXY_PORT, SERVER_PORT, Service, World};
use libfuzzer_sys::fuzz_target;

const FILE: &str = include_str!("../cluster.yaml");
const APPLIANCE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// Ethernet's MTU without the headers of IP and UDP.
const LONGEST: usize = 1472;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

static CLUSTERS: LazyLock<Vec<Arc<Cluster>>> = LazyLock::new(|| {
    let modes = [DhcpMode::Server, DhcpMode::Auto, DhcpMode::Proxy];
    let with = |mode| match parse(FILE, "cluster.yaml") {
        Ok(mut cluster) => {
            cluster.network.dhcp = mode;
            Arc::new(cluster)
        }
        Err(problems) => panic!("{problems}"),
    };
    modes.map(with).to_vec()
});

#[derive(Debug, Arbitrary)]
struct Play {
    mode: u8,
    moves: Vec<Move>,
}

#[derive(Debug, Arbitrary)]
enum Move {
    /// A client's message that is one.
    Client(Message),
    /// Anything on port 67, or 4011.
    Packet(Vec<u8>, bool),
    /// Another server's message.
    Server(Message, u8),
    /// A station has an address of the network.
    Arp(u8, u8),
    /// So many milliseconds go by.
    Wait(u16),
    /// The service's own time comes.
    Timeout,
}

#[derive(Debug, Arbitrary)]
struct Message {
    client: u8,
    kind: u8,
    is_reply: bool,
    wants: Option<u8>,
    server: Option<u8>,
    has: Option<u8>,
    relay: Option<u8>,
    broadcast: bool,
    class: u8,
    architecture: Option<u8>,
    options: Vec<(u8, Vec<u8>)>,
    to_proxy: bool,
}

struct Watched {
    service: Service,
    cluster: Arc<Cluster>,
    state: MachineState,
    now: u64,
    leases: BTreeMap<Ipv4Addr, Lease>,
}

fuzz_target!(|play: Play| {
    let cluster = &CLUSTERS[usize::from(play.mode) % CLUSTERS.len()];
    let mut watched = Watched {
        service: Service::new([], APPLIANCE),
        cluster: Arc::clone(cluster),
        state: MachineState::default(),
        now: 1_800_000_000_000,
        leases: BTreeMap::new(),
    };
    for action in play.moves.iter().take(60) {
        watched.act(action);
    }
});

impl Watched {
    fn act(&mut self, action: &Move) {
        match action {
            Move::Client(message) => {
                let port = if message.to_proxy {
                    PROXY_PORT
                } else {
                    SERVER_PORT
                };
                self.packet(&message.encode(), message.source(), port);
            }
            Move::Packet(bytes, to_proxy) => {
                let port = if *to_proxy { PROXY_PORT } else { SERVER_PORT };
                self.packet(bytes, Ipv4Addr::UNSPECIFIED, port);
            }
            Move::Server(message, number) => {
                let (source, bytes) = (address(*number), message.encode());
                let mac = MacAddress([2, 0, 0, 0, 1, *number]);
                self.handle(Input::ServerMessage {
                    bytes: &bytes,
                    source,
                    mac,
                });
            }
            Move::Arp(last, number) => {
                let mac = MacAddress([0x52, 0x54, 0, 0, 0, *number]);
                self.handle(Input::Arp {
                    address: address(*last),
                    mac,
                });
            }
            Move::Wait(milliseconds) => self.now += u64::from(*milliseconds) * 16,
            Move::Timeout => {
                if let Some(deadline) = self.service.deadline() {
                    self.now = self.now.max(deadline);
                    self.handle(Input::Timeout);
                }
            }
        }
    }

    fn packet(&mut self, bytes: &[u8], source: Ipv4Addr, port: u16) {
        let source = SocketAddrV4::new(source, 68);
        self.handle(Input::Packet {
            bytes,
            source,
            port,
        });
    }

    fn handle(&mut self, input: Input<'_>) {
        let cluster = Arc::clone(&self.cluster);
        let world = World {
            cluster: &cluster,
            http_port: 80,
            strangers: hardway_netboot::dhcp::Strangers::default(),
        };
        let state = &self.state;
        let find = |identity: &Identity| Some((cluster.identify(identity)?, state));
        let outputs = self.service.handle(input, world, find, self.now);
        for output in outputs {
            match output {
                Output::StoreLease(lease) => self.stored(lease),
                Output::Send { bytes, .. } => self.sent(&bytes),
                _ => {}
            }
        }
    }

    fn stored(&mut self, lease: Lease) {
        let former = self.leases.get(&lease.address);
        let former = former.filter(|former| former.expires > self.now);
        if let (Some(former), Some(holder)) = (former.and_then(Lease::holder), lease.holder()) {
            assert_eq!(former, holder, "{} is lent twice", lease.address);
        }
        self.leases.insert(lease.address, lease);
    }

    fn sent(&self, bytes: &[u8]) {
        assert!(bytes.len() <= LONGEST, "{} bytes", bytes.len());
        assert_eq!(bytes[236..240], MAGIC);
        let (op, given) = (
            bytes[0],
            Ipv4Addr::from([bytes[16], bytes[17], bytes[18], bytes[19]]),
        );
        let kind = message_type(&bytes[240..]);
        if op == 2 && kind == Some(5) && !given.is_unspecified() {
            assert_ne!(given, self.cluster.network.address);
            let lease = self.leases.get(&given);
            let holder = lease.filter(|lease| lease.expires > self.now);
            assert!(holder.is_some(), "{given} is acknowledged without a lease");
        }
    }
}

impl Message {
    fn source(&self) -> Ipv4Addr {
        match (self.relay, self.has) {
            (Some(last), _) | (None, Some(last)) => address(last),
            (None, None) => Ipv4Addr::UNSPECIFIED,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 236];
        bytes[..4].copy_from_slice(&[
            1 + u8::from(self.is_reply),
            1,
            6,
            u8::from(self.relay.is_some()),
        ]);
        bytes[4..8].copy_from_slice(&[self.client, 1, 2, 3]);
        bytes[10] = u8::from(self.broadcast) << 7;
        let octets = |last: Option<u8>| last.map_or([0; 4], |last| address(last).octets());
        bytes[12..16].copy_from_slice(&octets(self.has));
        bytes[24..28].copy_from_slice(&octets(self.relay));
        bytes[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, self.client % 12]);
        bytes.extend(MAGIC);
        let mut push = |code: u8, value: &[u8]| {
            let length = value.len().min(255);
            bytes.extend([code, length as u8]);
            bytes.extend_from_slice(&value[..length]);
        };
        push(53, &[1 + self.kind % 8]);
        for (code, last) in [(50, self.wants), (54, self.server)] {
            if last.is_some() {
                push(code, &octets(last));
            }
        }
        match self.class % 4 {
            1 => push(60, b"PXEClient:Arch:00007:UNDI:003000"),
            2 => push(60, b"HTTPClient:Arch:00016:UNDI:003000"),
            3 => push(77, b"iPXE"),
            _ => {}
        }
        if let Some(architecture) = self.architecture {
            push(93, &[0, architecture % 24]);
        }
        for (code, value) in self.options.iter().take(8) {
            push(*code, value);
        }
        bytes.push(255);
        bytes
    }
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn message_type(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            [0, ..] => options = &options[1..],
            [53, 1, kind, ..] => return Some(kind),
            [255, ..] | [] | [_] => return None,
            [_, length, ref rest @ ..] => options = rest.get(usize::from(length)..)?,
        }
    }
}
