//! DHCP messages of a booting machine (RFC 2131, options of RFC 2132 and 4578).

use std::fmt;
use std::net::Ipv4Addr;

/// Where the fixed part ends and the magic cookie stands.
const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where options begin.
const OPTIONS_AT: usize = 240;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// Which program asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A BIOS' PXE.
    Firmware,
    /// iPXE.
    Ipxe,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firmware => "PXE firmware",
            Self::Ipxe => "iPXE",
        })
    }
}

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The client's address.
    pub address: Ipv4Addr,
    /// The server that gave it.
    pub server: Ipv4Addr,
    /// Boot file or URL.
    pub file: Option<String>,
}

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An offer.
    Offer(Lease),
    /// An acknowledged lease.
    Ack(Lease),
    /// A refusal.
    Nak,
}

/// DISCOVER, or with an offer the REQUEST for it.
pub fn request(transaction: u32, mac: [u8; 6], kind: Kind, offer: Option<&Lease>) -> Vec<u8> {
    let mut packet = vec![0; OPTIONS_AT];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(&transaction.to_be_bytes());
    // The broadcast flag: nobody answers ARP for this machine yet.
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&mac);
    packet[COOKIE_AT..OPTIONS_AT].copy_from_slice(&COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        packet.extend_from_slice(&[code, value.len() as u8]);
        packet.extend_from_slice(value);
    };
    option(53, &[if offer.is_some() { REQUEST } else { DISCOVER }]);
    if let Some(offer) = offer {
        option(50, &offer.address.octets());
        option(54, &offer.server.octets());
    }
    option(57, &1472_u16.to_be_bytes());
    option(55, &[1, 3, 6, 12, 15, 17, 43, 60, 66, 67, 128, 175]);
    option(60, b"PXEClient:Arch:00000:UNDI:002001");
    option(93, &[0, 0]);
    option(94, &[1, 2, 1]);
    let mut uuid = [0; 17];
    uuid[1..7].copy_from_slice(b"hwaybn");
    uuid[11..].copy_from_slice(&mac);
    option(97, &uuid);
    if kind == Kind::Ipxe {
        option(77, b"iPXE");
        // Features: http, and a version.
        option(175, &[0x13, 1, 1, 0xeb, 3, 1, 21, 1]);
    }
    packet.push(255);
    packet.resize(packet.len().max(300), 0);
    packet
}

/// The transaction and what a server says to it.
pub fn reply(packet: &[u8]) -> Option<(u32, Reply)> {
    let fixed = packet.get(..OPTIONS_AT)?;
    if fixed[0] != 2 || fixed[COOKIE_AT..] != COOKIE {
        return None;
    }
    let transaction = u32::from_be_bytes(fixed[4..8].try_into().ok()?);
    let options = &packet[OPTIONS_AT..];
    let file = match option(options, 67) {
        Some(name) => name,
        None => &fixed[108..236],
    };
    let file: Vec<u8> = file.iter().copied().take_while(|byte| *byte != 0).collect();
    let lease = || -> Option<Lease> {
        Some(Lease {
            address: address(&fixed[16..20])?,
            server: address(option(options, 54)?)?,
            file: String::from_utf8(file).ok().filter(|file| !file.is_empty()),
        })
    };
    let reply = match *option(options, 53)?.first()? {
        OFFER => Reply::Offer(lease()?),
        ACK => Reply::Ack(lease()?),
        NAK => Reply::Nak,
        _ => return None,
    };
    Some((transaction, reply))
}

fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [code, length, rest @ ..] => {
                let value = rest.get(..usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                options = &rest[value.len()..];
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(<[u8; 4]>::try_from(bytes).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u8, more: &[u8]) -> Vec<u8> {
        let mut packet = request(7, [2; 6], Kind::Firmware, None);
        packet.truncate(OPTIONS_AT);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 99, 128, 1]);
        packet.extend_from_slice(&[53, 1, kind, 54, 4, 10, 99, 0, 1]);
        packet.extend_from_slice(more);
        packet.push(255);
        packet
    }

    #[test]
    fn replies_are_read() {
        let lease = |file: Option<&str>| Lease {
            address: Ipv4Addr::new(10, 99, 128, 1),
            server: Ipv4Addr::new(10, 99, 0, 1),
            file: file.map(str::to_owned),
        };
        let bare = Reply::Offer(lease(None));
        assert_eq!(reply(&answer(OFFER, &[])), Some((7, bare)));
        let by_option = Reply::Ack(lease(Some("a.kpxe")));
        assert_eq!(reply(&answer(ACK, b"\x43\x06a.kpxe")), Some((7, by_option)));
        let mut by_field = answer(ACK, &[]);
        by_field[108..111].copy_from_slice(b"b.x");
        assert_eq!(reply(&by_field), Some((7, Reply::Ack(lease(Some("b.x"))))));
        assert_eq!(reply(&answer(NAK, &[])), Some((7, Reply::Nak)));
        assert_eq!(reply(&by_field[..200]), None);
    }

    #[test]
    fn a_request_names_what_was_offered() {
        let offer = Lease {
            address: Ipv4Addr::new(10, 99, 128, 1),
            server: Ipv4Addr::new(10, 99, 0, 1),
            file: None,
        };
        let packet = request(7, [2; 6], Kind::Ipxe, Some(&offer));
        let options = &packet[OPTIONS_AT..];
        assert_eq!(option(options, 53), Some([REQUEST].as_slice()));
        assert_eq!(option(options, 50), Some([10, 99, 128, 1].as_slice()));
        assert_eq!(option(options, 77), Some(b"iPXE".as_slice()));
    }
}
