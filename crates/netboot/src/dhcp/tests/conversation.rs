//! A rack's DHCP server, and the clients that talk to it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::{Decodable as _, Decoder, v4};
use hardway_model::cluster::Cluster;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::MachineState;

use crate::dhcp::packet::MessageType;
use crate::dhcp::{
    CLIENT_PORT, Destination, Input, Lease, Output, PROXY_PORT, SERVER_PORT, Service, World,
};
use crate::fixture::{cluster, find, mac};

pub const NOW: u64 = 1_700_000_000_000;
pub const MINUTE: u64 = 60_000;
/// The server's address.
pub const OURS: [u8; 4] = [10, 77, 0, 1];

/// The appliance's own hardware address.
pub const APPLIANCE: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 0xfe]);

/// A rack's DHCP server, its cluster and the one state that every declared machine is in.
pub struct Rack {
    pub service: Service,
    pub cluster: Arc<Cluster>,
    pub state: MachineState,
    pub now: u64,
}

impl Rack {
    pub fn new(state: MachineState) -> Self {
        Self::with(state, |_| {})
    }

    /// With another cluster.
    pub fn with(state: MachineState, change: impl FnOnce(&mut Cluster)) -> Self {
        let mut cluster = cluster();
        change(&mut cluster);
        let rack = Self {
            service: Service::default(),
            cluster: Arc::new(cluster),
            state,
            now: NOW,
        };
        rack.with_leases([])
    }

    /// Starts anew with these leases, and has asked for the pool's addresses before.
    pub fn with_leases(mut self, leases: impl IntoIterator<Item = Lease>) -> Self {
        self.service = Service::new(leases, APPLIANCE);
        self.now = NOW - MINUTE;
        self.input(Input::Timeout);
        self.now = NOW;
        self
    }

    pub fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        let find = find(&self.cluster, &self.state);
        let world = World {
            cluster: &self.cluster,
            http_port: 80,
            strangers: crate::dhcp::Strangers::default(),
        };
        self.service.handle(input, world, find, self.now)
    }

    /// What comes of a packet on port 67. Nobody answers ARP, and the time that an offer waits for it
    /// is not counted.
    pub fn outputs(&mut self, packet: &[u8]) -> Vec<Output> {
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let mut outputs = self.input(Input::Packet {
            bytes: packet,
            source,
            port: SERVER_PORT,
        });
        let is_sent = |output: &Output| matches!(output, Output::Send { .. });
        let began = self.now;
        while !outputs.iter().any(is_sent) && self.now < began + 500 {
            self.now += 250;
            let later = self.input(Input::Timeout).into_iter();
            outputs.extend(later.filter(|output| !is_question(output)));
        }
        self.now = began;
        outputs.retain(|output| !matches!(output, Output::Probe(_)));
        outputs
    }

    /// What is said to a client at `source` that asks on port 4011.
    pub fn says_at_4011(&mut self, source: [u8; 4], packet: &[u8]) -> String {
        said(&self.input(Input::Packet {
            bytes: packet,
            source: SocketAddrV4::new(Ipv4Addr::from(source), CLIENT_PORT),
            port: PROXY_PORT,
        }))
    }

    /// Lets the time pass, as far as `milliseconds` from now, and gives what is done in it.
    pub fn wait(&mut self, milliseconds: u64) -> Vec<Output> {
        let until = self.now + milliseconds;
        let mut outputs = Vec::new();
        while let Some(deadline) = self
            .service
            .deadline()
            .filter(|deadline| *deadline <= until)
        {
            self.now = deadline.max(self.now);
            outputs.extend(self.input(Input::Timeout));
        }
        self.now = until;
        outputs
    }

    /// What is said, in one line; "silence" for nothing.
    pub fn says(&mut self, packet: &[u8]) -> String {
        said(&self.outputs(packet))
    }
}

/// What is sent first, in one line; "silence" for nothing.
pub fn said(outputs: &[Output]) -> String {
    let sent = outputs.iter().find_map(|output| match output {
        Output::Send {
            bytes, destination, ..
        } => Some(describe(bytes, *destination)),
        _ => None,
    });
    sent.unwrap_or_else(|| "silence".into())
}

/// Whether it belongs to the search for other servers.
pub fn is_question(output: &Output) -> bool {
    matches!(
        output,
        Output::Send {
            from: CLIENT_PORT,
            ..
        }
    )
}

/// `OFFER 10.77.0.11 to 255.255.255.255:68`, and the boot file if there is one.
pub fn describe(bytes: &[u8], destination: Destination) -> String {
    let message = decode(bytes);
    let kind = format!("{:?}", message.opts().msg_type().unwrap()).to_uppercase();
    let file = message.fname().unwrap_or_default();
    let file = match std::str::from_utf8(file).unwrap().trim_end_matches('\0') {
        "" => String::new(),
        file => format!(", {file}"),
    };
    format!("{kind} {} to {destination}{file}", message.yiaddr())
}

pub fn decode(bytes: &[u8]) -> v4::Message {
    assert!(bytes.len() >= 300, "padded as BOOTP wants it");
    v4::Message::decode(&mut Decoder::new(bytes)).unwrap()
}

/// A client's message. Fields that a test does not name are those of a client without address.
pub struct From {
    pub mac: MacAddress,
    pub flags: u16,
    pub client_address: [u8; 4],
    pub relay_address: [u8; 4],
    pub options: Vec<(u8, Vec<u8>)>,
}

pub fn from(number: u8) -> From {
    From {
        mac: mac(number),
        flags: 0,
        client_address: [0; 4],
        relay_address: [0; 4],
        options: Vec::new(),
    }
}

impl From {
    pub fn option(mut self, code: u8, value: impl Into<Vec<u8>>) -> Self {
        self.options.push((code, value.into()));
        self
    }

    pub fn at(mut self, address: [u8; 4]) -> Self {
        self.client_address = address;
        self
    }

    pub fn through(mut self, relay: [u8; 4]) -> Self {
        self.relay_address = relay;
        self
    }

    /// Where a client gets its address that has none: by a broadcast where it wants one, else at its
    /// station.
    pub fn station(&self, address: [u8; 4]) -> String {
        match self.flags {
            0 => format!("{} at {}", Ipv4Addr::from(address), self.mac),
            _ => "255.255.255.255:68".to_owned(),
        }
    }

    pub fn says(&self, kind: MessageType) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0];
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.client_address);
        bytes.extend([0; 8]);
        bytes.extend(self.relay_address);
        bytes.extend(self.mac.0);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99, 53, 1, kind as u8]);
        for (code, value) in &self.options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }
}

/// SeaBIOS with an iPXE option ROM, as QEMU's.
pub fn ipxe_bios(number: u8) -> From {
    from(number)
        .option(93, [0, 0])
        .option(94, [1, 2, 1])
        .option(60, "PXEClient:Arch:00000:UNDI:002001")
        .option(77, "iPXE")
        .option(175, [177, 5, 1, 0x1a, 0xf4, 0x10, 0x41, 19, 1, 1])
        .option(
            97,
            b"\0\x78\x56\x34\x12\x34\x12\x78\x56\x9a\xbc\xde\xf0\x12\x34\x56\x78".to_vec(),
        )
        .option(61, [1, 0x52, 0x54, 0, 0, 0, number])
}

/// edk2's PXE stack, as in OVMF.
pub fn edk2_pxe(number: u8) -> From {
    let mut client = from(number)
        .option(57, [0x05, 0xc0])
        .option(93, [0, 7])
        .option(94, [1, 3, 0])
        .option(60, "PXEClient:Arch:00007:UNDI:003000");
    client.flags = 0x8000;
    client
}

/// edk2's HTTP Boot, as in OVMF.
pub fn edk2_http(number: u8) -> From {
    from(number)
        .option(93, [0, 16])
        .option(60, "HTTPClient:Arch:00016:UNDI:003000")
}

/// A ROM of a NIC without iPXE.
pub fn bios_rom(number: u8) -> From {
    from(number)
        .option(93, [0, 0])
        .option(60, "PXEClient:Arch:00000:UNDI:002001")
}
