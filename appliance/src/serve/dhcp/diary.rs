//! DHCP of machines, for the [`Recorder`](hardway_netboot::recorder::Recorder).
//!
//! The capture leaves out what this service answers: of a thousand clients that only renew a lease, the
//! kernel would copy every frame for nothing. Here it is known whom a message is about. The frames are
//! made of what is known: a datagram does not tell the station that brought it, so a relay's hardware
//! address is all zero, and a request from no address is taken for a broadcast.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::PoisonError;

use hardway_model::identity::MacAddress;
use hardway_netboot::dhcp::{CLIENT_PORT, Destination};
use hardway_netboot::frame::{self, EVERYBODY, Endpoint};

use crate::clock;
use crate::context::Context;

/// A station that is not known.
const UNKNOWN: MacAddress = MacAddress([0; 6]);

/// Writes into the appliance's recorder.
#[derive(Clone)]
pub struct Diary {
    context: Context,
    mac: MacAddress,
    address: Ipv4Addr,
}

impl Diary {
    /// `mac` and `address` are the appliance's own.
    pub fn new(context: &Context, mac: MacAddress, address: Ipv4Addr) -> Self {
        Self {
            context: context.clone(),
            mac,
            address,
        }
    }

    /// A message that arrived on a port.
    pub fn received(&self, bytes: &[u8], source: SocketAddrV4, port: u16) {
        let (mac, address) = match source.ip().is_unspecified() {
            true => (EVERYBODY, Ipv4Addr::BROADCAST),
            false => (self.mac, self.address),
        };
        let from = endpoint(neighbour(bytes), source);
        let to = endpoint(mac, SocketAddrV4::new(address, port));
        self.record(from, to, bytes);
    }

    /// A message that leaves by a port.
    pub fn sent(&self, bytes: &[u8], destination: Destination, port: u16) {
        let to = match destination {
            Destination::Address(address) => endpoint(neighbour(bytes), address),
            Destination::Broadcast(port) => {
                endpoint(EVERYBODY, SocketAddrV4::new(Ipv4Addr::BROADCAST, port))
            }
            Destination::Station { mac, address } => {
                endpoint(mac, SocketAddrV4::new(address, CLIENT_PORT))
            }
        };
        let from = endpoint(self.mac, SocketAddrV4::new(self.address, port));
        self.record(from, to, bytes);
    }

    fn record(&self, from: Endpoint, to: Endpoint, bytes: &[u8]) {
        if let Some(frame) = frame::datagram(from, to, bytes) {
            let recorder = self.context.recorder.lock();
            let mut recorder = recorder.unwrap_or_else(PoisonError::into_inner);
            recorder.record(&frame, frame.len(), clock::now());
        }
    }
}

/// The station at the other end: the client itself, unless a relay speaks for it (hlen, giaddr and
/// chaddr, RFC 2131 section 2).
fn neighbour(message: &[u8]) -> MacAddress {
    let client = match message.get(..34) {
        Some([_, _, 6, _, .., a, b, c, d, e, f]) if message[24..28] == [0; 4] => {
            [*a, *b, *c, *d, *e, *f]
        }
        _ => return UNKNOWN,
    };
    MacAddress(client)
}

fn endpoint(mac: MacAddress, socket: SocketAddrV4) -> Endpoint {
    Endpoint { mac, socket }
}

#[cfg(test)]
mod tests {
    use hardway_netboot::dhcp::SERVER_PORT;
    use hardway_netboot::frame::Datagram;

    use super::*;
    use crate::fixture::Appliance;

    const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xaa]);
    const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    fn message(relay: [u8; 4]) -> Vec<u8> {
        let mut message = vec![0; 300];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[24..28].copy_from_slice(&relay);
        message[28..34].copy_from_slice(&CLIENT.0);
        message
    }

    /// Every frame, behind the file's header and its own.
    fn recorded(context: &Context) -> Vec<Vec<u8>> {
        let file = context.recorder.lock().unwrap().pcap(&[CLIENT]);
        let mut rest = &file[24..];
        let mut frames = Vec::new();
        while let Some((header, behind)) = rest.split_at_checked(16) {
            let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
            frames.push(behind[..length].to_vec());
            rest = &behind[length..];
        }
        frames
    }

    #[tokio::test]
    async fn both_directions_are_in_the_clients_recording() {
        let context = Appliance::start().await.context;
        context.recorder.lock().unwrap().ignore(OWN);
        let diary = Diary::new(&context, OWN, ADDRESS);
        let socket = |ip: [u8; 4], port| SocketAddrV4::new(ip.into(), port);
        let (direct, relayed) = (message([0; 4]), message([10, 78, 0, 1]));
        diary.received(&direct, socket([0; 4], 68), SERVER_PORT);
        let station = Destination::Station {
            mac: CLIENT,
            address: Ipv4Addr::new(10, 77, 0, 100),
        };
        diary.sent(&direct, station, SERVER_PORT);
        diary.sent(&direct, Destination::Broadcast(CLIENT_PORT), SERVER_PORT);
        diary.received(&relayed, socket([10, 78, 0, 1], 67), SERVER_PORT);
        let relay = Destination::Address(socket([10, 78, 0, 1], 67));
        diary.sent(&relayed, relay, SERVER_PORT);

        let frames = recorded(&context);
        let ends = frames.iter().map(|frame| {
            let read = Datagram::read(frame).unwrap();
            assert!(read.payload == direct || read.payload == relayed);
            let end = |end: Endpoint| (end.mac, end.socket.to_string());
            (end(read.source), end(read.destination))
        });
        let own = || (OWN, "10.77.0.1:67".to_owned());
        let end = |mac, socket: &str| (mac, socket.to_owned());
        let expected = [
            (
                end(CLIENT, "0.0.0.0:68"),
                end(EVERYBODY, "255.255.255.255:67"),
            ),
            (own(), end(CLIENT, "10.77.0.100:68")),
            (own(), end(EVERYBODY, "255.255.255.255:68")),
            (end(UNKNOWN, "10.78.0.1:67"), own()),
            (own(), end(UNKNOWN, "10.78.0.1:67")),
        ];
        assert_eq!(ends.collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn what_is_no_message_is_harmless() {
        let context = Appliance::start().await.context;
        let diary = Diary::new(&context, OWN, ADDRESS);
        let source = SocketAddrV4::new(ADDRESS, 68);
        for length in [0, 28, 33, 34] {
            diary.received(&message([0; 4])[..length], source, SERVER_PORT);
        }
        let too_long = vec![0; 70_000];
        diary.received(&too_long, source, SERVER_PORT);
    }
}
