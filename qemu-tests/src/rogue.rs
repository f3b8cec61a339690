//! A DHCP server that nobody asked for: it offers addresses to whoever asks, and nothing to boot.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use hardway_model::identity::MacAddress;

use crate::frame;
use crate::segment::{PortKind, Segment};

/// Of a DHCP message up to its options: BOOTP's fields (RFC 951) and the cookie (RFC 2131 section 3).
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 14 + 20 + 8;
/// Values of option 53.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;

/// Who the server is, and what it offers to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Rogue {
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its address.
    pub address: Ipv4Addr,
    /// The address that it offers.
    pub offered: Ipv4Addr,
}

/// The server at work. Dropping it takes it off the segment.
pub struct RunningRogue {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Rogue {
    /// Plugs the server into the segment.
    pub fn start(self, segment: &Segment) -> Result<RunningRogue> {
        let socket = segment.add_port("rogue", PortKind::Machine)?;
        let stream = UnixStream::connect(&socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        let own = stream.try_clone().context("sharing the rogue's port")?;
        let thread = thread::spawn(move || {
            // An error is the segment's end, or the server's.
            let _ = self.serve(own);
        });
        Ok(RunningRogue {
            stream,
            thread: Some(thread),
        })
    }

    fn serve(self, mut stream: UnixStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut frame)?;
            if let Some(offer) = self.answer(&frame) {
                stream.write_all(&(offer.len() as u32).to_be_bytes())?;
                stream.write_all(&offer)?;
            }
        }
    }

    /// The frame with an OFFER for a frame with a DISCOVER.
    fn answer(self, frame: &[u8]) -> Option<Vec<u8>> {
        if frame::dhcp(frame) != Some(frame::Dhcp::Request) {
            return None;
        }
        let message = frame.get(HEADERS..)?;
        (message_type(message)? == DISCOVER).then(|| self.framed(&self.offer(message)))
    }

    fn offer(self, discover: &[u8]) -> Vec<u8> {
        // Reply, and kind and length of the hardware address; transaction, seconds and flags.
        let mut message = discover[..FIXED].to_vec();
        message[0] = 2;
        message[12..28].fill(0);
        message[16..20].copy_from_slice(&self.offered.octets());
        message[20..24].copy_from_slice(&self.address.octets());
        message[44..236].fill(0);
        message.extend([53, 1, OFFER, 54, 4]);
        message.extend(self.address.octets());
        message.extend([51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 3, 4]);
        message.extend(self.address.octets());
        message.push(255);
        message.resize(message.len().max(300), 0);
        message
    }

    /// A broadcast from port 67 to port 68. UDP's checksum is left out (RFC 768).
    fn framed(self, message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(self.mac.0);
        frame.extend([0x08, 0x00]);
        let length = (20 + 8 + message.len()) as u16;
        let mut header = [0; 20];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[8] = 64;
        header[9] = 17;
        header[12..16].copy_from_slice(&self.address.octets());
        header[16..20].fill(0xff);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        frame.extend([0, 67, 0, 68]);
        frame.extend((length - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(message);
        frame
    }
}

impl Drop for RunningRogue {
    fn drop(&mut self) {
        // Wakes the thread, which reads the end. It cannot be pulled out twice.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The value of option 53 (RFC 2132 section 9.6).
fn message_type(message: &[u8]) -> Option<u8> {
    if message.get(FIXED - 4..FIXED)? != COOKIE {
        return None;
    }
    let mut rest = &message[FIXED..];
    loop {
        match *rest {
            [53, 1, kind, ..] => return Some(kind),
            [0, ..] => rest = &rest[1..],
            [255, ..] | [] | [_] => return None,
            [_, length, ..] => rest = rest.get(2 + usize::from(length)..)?,
        }
    }
}

/// IPv4's header checksum (RFC 791).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROGUE: Rogue = Rogue {
        mac: MacAddress([2, 0, 0, 0, 0, 9]),
        address: Ipv4Addr::new(10, 77, 0, 66),
        offered: Ipv4Addr::new(10, 77, 0, 67),
    };

    /// A client's broadcast with option 53.
    fn client(kind: u8) -> Vec<u8> {
        let mut message = vec![0; FIXED];
        message[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
        message[236..].copy_from_slice(&COOKIE);
        message.extend([0, 12, 2, b'n', b'1', 53, 1, kind, 255]);
        let mut frame = ROGUE.framed(&message);
        frame[36..38].copy_from_slice(&67_u16.to_be_bytes());
        frame
    }

    #[test]
    fn a_discover_is_offered_an_address_and_nothing_else_is_answered() {
        let offer = ROGUE.answer(&client(DISCOVER)).unwrap();
        assert_eq!(frame::dhcp(&offer), Some(frame::Dhcp::Reply));
        assert_eq!(frame::source(&offer), Some(ROGUE.mac.0));
        let message = &offer[HEADERS..];
        assert_eq!(message_type(message), Some(OFFER));
        assert_eq!(message[4..8], [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(message[16..20], ROGUE.offered.octets());
        assert_eq!(ROGUE.answer(&client(3)), None);
        assert_eq!(ROGUE.answer(&offer), None);
        let whole = client(DISCOVER);
        for length in 0..whole.len() - 2 {
            assert_eq!(ROGUE.answer(&whole[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn the_checksum_makes_a_header_sum_to_nothing() {
        assert_eq!(checksum(&ROGUE.framed(&[0; 300])[14..34]), 0);
    }
}
