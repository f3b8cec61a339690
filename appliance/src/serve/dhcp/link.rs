//! What DHCP needs below UDP: ARP, frames to stations that have no address yet, and what other servers
//! say.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::identity::MacAddress;
use hardway_netboot::dhcp::{CLIENT_PORT, Input};
use hardway_netboot::frame::{self, ARP, Datagram, EVERYBODY, Endpoint, IPV4, filter};

use super::super::packet_socket::{PacketSocket, hardware_address};

/// Both sockets' buffers, in bytes: there is little to hold.
const BUFFER: usize = 256 << 10;
/// Frames that are looked at before anything else.
const MOST: usize = 64;
/// The largest frame that is looked at.
const LARGEST: usize = 2048;

/// Something that was seen on the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A station says that it has an address.
    Claim(Ipv4Addr, MacAddress),
    /// A DHCP server's message.
    Server {
        bytes: Vec<u8>,
        source: Ipv4Addr,
        mac: MacAddress,
    },
}

impl Seen {
    pub fn input(&self) -> Input<'_> {
        match self {
            Self::Claim(address, mac) => Input::Arp {
                address: *address,
                mac: *mac,
            },
            Self::Server { bytes, source, mac } => Input::ServerMessage {
                bytes,
                source: *source,
                mac: *mac,
            },
        }
    }
}

/// The packet sockets of one interface.
pub struct Link {
    mac: MacAddress,
    address: Ipv4Addr,
    /// Receives ARP, sends any frame.
    frames: PacketSocket,
    servers: PacketSocket,
}

impl Link {
    pub fn open(interface: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        Ok(Self {
            mac: hardware_address(interface)?,
            address,
            frames: PacketSocket::open(interface, ARP, None, BUFFER)?,
            servers: PacketSocket::open(interface, IPV4, Some(&filter::server_messages()), BUFFER)?,
        })
    }

    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Waits for something to see. What this host said itself is not among it.
    pub async fn receive(&self) -> io::Result<Vec<Seen>> {
        let (mut seen, mut said) = (Vec::new(), Vec::new());
        let (mut frame, mut message) = ([0; LARGEST], [0; LARGEST]);
        let claim = |frame: &[u8], _| seen.extend(frame::claim(frame));
        let server = |frame: &[u8], _| said.extend(Datagram::read(frame).map(server_message));
        tokio::select! {
            received = self.frames.receive(&mut frame, MOST, claim) => received?,
            received = self.servers.receive(&mut message, MOST, server) => received?,
        }
        let claims = seen.into_iter();
        let claims = claims.map(|(address, mac)| Seen::Claim(address, mac));
        let all = claims.chain(said);
        Ok(all.filter(|seen| !self.is_own(seen)).collect())
    }

    pub fn probe(&self, address: Ipv4Addr) -> io::Result<()> {
        self.frames.send(&frame::probe(self.mac, address))
    }

    /// To a station that is being given `address` (RFC 2131 section 4.1).
    pub fn send(&self, bytes: &[u8], from: u16, to: (MacAddress, Ipv4Addr)) -> io::Result<()> {
        let source = SocketAddrV4::new(self.address, from);
        let destination = SocketAddrV4::new(to.1, CLIENT_PORT);
        self.transmit(bytes, source, (to.0, destination))
    }

    /// A client's broadcast, from no address.
    pub fn search(&self, bytes: &[u8], port: u16) -> io::Result<()> {
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
        self.transmit(bytes, source, (EVERYBODY, destination))
    }

    fn transmit(
        &self,
        bytes: &[u8],
        source: SocketAddrV4,
        (mac, destination): (MacAddress, SocketAddrV4),
    ) -> io::Result<()> {
        let source = Endpoint {
            mac: self.mac,
            socket: source,
        };
        let destination = Endpoint {
            mac,
            socket: destination,
        };
        let frame = frame::datagram(source, destination, bytes);
        self.frames.send(&frame.ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn is_own(&self, seen: &Seen) -> bool {
        match seen {
            Seen::Claim(_, mac) | Seen::Server { mac, .. } => *mac == self.mac,
        }
    }
}

fn server_message(datagram: Datagram<'_>) -> Seen {
    Seen::Server {
        bytes: datagram.payload.to_vec(),
        source: *datagram.source.socket.ip(),
        mac: datagram.source.mac,
    }
}
