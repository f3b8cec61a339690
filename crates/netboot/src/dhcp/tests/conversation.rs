//! A rack's DHCP server, and the clients that talk to it.

use dhcproto::{Decodable as _, Decoder, v4};
use hardway_model::cluster::Cluster;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::MachineState;

use crate::dhcp::packet::MessageType;
use crate::dhcp::{Destination, Output, Server, World};
use crate::fixture::{cluster, find, mac};

pub const NOW: u64 = 1_700_000_000_000;
pub const MINUTE: u64 = 60_000;
/// The server's address.
pub const OURS: [u8; 4] = [10, 77, 0, 1];

/// A rack's DHCP server, its cluster and the one state that every declared machine is in.
pub struct Rack {
    pub server: Server,
    pub cluster: Cluster,
    pub state: MachineState,
    pub now: u64,
}

impl Rack {
    pub fn new(state: MachineState) -> Self {
        Self {
            server: Server::default(),
            cluster: cluster(),
            state,
            now: NOW,
        }
    }

    pub fn outputs(&mut self, packet: &[u8]) -> Vec<Output> {
        let find = find(&self.cluster, &self.state);
        let world = World {
            cluster: &self.cluster,
            http_port: 80,
        };
        self.server.handle(packet, world, find, self.now)
    }

    /// What is said, in one line; "silence" for nothing.
    pub fn says(&mut self, packet: &[u8]) -> String {
        let outputs = self.outputs(packet);
        let sent = outputs.iter().find_map(|output| match output {
            Output::Send {
                bytes, destination, ..
            } => Some(describe(bytes, *destination)),
            _ => None,
        });
        sent.unwrap_or_else(|| "silence".into())
    }
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
