//! Ethernet frames that are made and read by hand: where the kernel's UDP does not reach.
//!
//! A client without an address answers no ARP, so the kernel cannot send to it; a search for other
//! DHCP servers comes from nobody's address; and what another server says to a client is not for this
//! host. [`datagram`] and [`Datagram::read`] are IPv4 and UDP in one Ethernet frame, [`probe`] and
//! [`claim`] are ARP, and [`filter`] holds the programs by which the kernel picks frames.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::identity::MacAddress;

pub mod filter;
#[cfg(test)]
mod tests;

/// The hardware address that every station listens to.
pub const EVERYBODY: MacAddress = MacAddress([0xff; 6]);

/// EtherType of IPv4 (RFC 894).
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ARP: u16 = 0x0806;

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
/// Protocol number of UDP (RFC 768).
const UDP_PROTOCOL: u8 = 17;
/// Hops that a frame of ours may make; one would do.
const TIME_TO_LIVE: u8 = 64;

/// One end of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The station.
    pub mac: MacAddress,
    /// Address and UDP port.
    pub socket: SocketAddrV4,
}

/// A UDP datagram as it came in an Ethernet frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'f> {
    /// The sender.
    pub source: Endpoint,
    /// The receiver.
    pub destination: Endpoint,
    /// What it carries.
    pub payload: &'f [u8],
}

/// An Ethernet frame with one UDP datagram (RFC 894, 791, 768), checksums included. `None` for a
/// payload that one IPv4 packet cannot carry; whether it fits the network's MTU is the sender's matter.
pub fn datagram(source: Endpoint, destination: Endpoint, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP + payload.len()).ok()?;
    let total = udp_length.checked_add(IP as u16)?;
    let (from, to) = (source.socket, destination.socket);
    let mut frame = Vec::with_capacity(ETHERNET + usize::from(total));
    frame.extend(destination.mac.0);
    frame.extend(source.mac.0);
    frame.extend(IPV4.to_be_bytes());

    // Version 4, five words of header, no type of service.
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    // No identification, since the packet may not be fragmented (RFC 6864 section 4.1).
    frame.extend([0, 0, 0x40, 0, TIME_TO_LIVE, UDP_PROTOCOL, 0, 0]);
    frame.extend(from.ip().octets());
    frame.extend(to.ip().octets());
    let sum = checksum(&[&frame[ETHERNET..]]);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());

    let start = frame.len();
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let sum = match checksum(&[&pseudo_header(from, to, udp_length), &frame[start..]]) {
        // Zero says that there is no checksum (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    frame[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
    Some(frame)
}

impl<'f> Datagram<'f> {
    /// Reads a frame. `None` for anything but a whole UDP datagram over IPv4; padding behind it is left
    /// out. Checksums are not looked at: what the network interface is to fill in is still missing in
    /// frames that this host sends to itself.
    pub fn read(frame: &'f [u8]) -> Option<Self> {
        if ethertype(frame)? != IPV4 {
            return None;
        }
        let packet = &frame[ETHERNET..];
        let [first, ..] = packet else { return None };
        let header = usize::from(first & 0x0f) * 4;
        let total = usize::from(word(packet, 2)?);
        let is_fragment = word(packet, 6)? & 0x3fff != 0;
        if first >> 4 != 4 || header < IP || is_fragment || *packet.get(9)? != UDP_PROTOCOL {
            return None;
        }
        let udp = packet.get(header..total)?;
        let length = usize::from(word(udp, 4)?);
        let endpoint = |mac, address, port| -> Option<Endpoint> {
            Some(Endpoint {
                mac: station(frame, mac)?,
                socket: SocketAddrV4::new(ip(packet, address)?, word(udp, port)?),
            })
        };
        Some(Self {
            source: endpoint(6, 12, 0)?,
            destination: endpoint(0, 16, 2)?,
            payload: udp.get(UDP..length)?,
        })
    }
}

/// An ARP probe (RFC 5227 section 2.1.1): who has `address`, asked by `mac` from no address at all, so
/// that nobody's table changes.
pub fn probe(mac: MacAddress, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + 28);
    frame.extend(EVERYBODY.0);
    frame.extend(mac.0);
    frame.extend(ARP.to_be_bytes());
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(Ipv4Addr::UNSPECIFIED.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// The address that an ARP packet's sender says is its own, and the sender; `None` for a probe, which
/// says nothing of the kind, and for anything that is no ARP of IPv4 over Ethernet.
pub fn claim(frame: &[u8]) -> Option<(Ipv4Addr, MacAddress)> {
    let packet = frame.get(ETHERNET..)?;
    let is_arp = ethertype(frame)? == ARP && packet.get(..6)? == [0, 1, 8, 0, 6, 4];
    let address = ip(packet, 14)?;
    (is_arp && !address.is_unspecified()).then_some((address, station(packet, 8)?))
}

fn ethertype(frame: &[u8]) -> Option<u16> {
    word(frame, 12)
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    let pair = bytes.get(offset..offset + 2)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

fn ip(bytes: &[u8], offset: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(offset..offset + 4)?.try_into().ok()?;
    Some(octets.into())
}

fn station(bytes: &[u8], offset: usize) -> Option<MacAddress> {
    let octets = bytes.get(offset..offset + 6)?.try_into().ok()?;
    Some(MacAddress(octets))
}

fn pseudo_header(from: SocketAddrV4, to: SocketAddrV4, length: u16) -> [u8; 12] {
    let mut header = [0; 12];
    header[..4].copy_from_slice(&from.ip().octets());
    header[4..8].copy_from_slice(&to.ip().octets());
    header[9] = UDP_PROTOCOL;
    header[10..].copy_from_slice(&length.to_be_bytes());
    header
}

/// The Internet checksum (RFC 1071). Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
