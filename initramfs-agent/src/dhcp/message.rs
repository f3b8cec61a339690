//! DHCP messages (RFC 2131 section 2, options of RFC 2132), as far as a client needs them.

use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the options begin: the fixed part, then the cookie.
const OPTIONS: usize = 240;
/// BOOTP's least length, below which some relays drop a message (RFC 1542 section 2.1).
const SHORTEST: usize = 300;

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS_SERVERS: u8 = 6;
const REQUESTED_ADDRESS: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const WANTED_OPTIONS: u8 = 55;
const LARGEST_MESSAGE: u8 = 57;
const VENDOR_CLASS: u8 = 60;
const END: u8 = 255;

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Length of the network prefix.
    pub prefix: u8,
    /// Router.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
}

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Option 53.
    pub kind: u8,
    /// Echo of the client's.
    pub transaction: u32,
    /// What it gives; meaningless in a NAK.
    pub lease: Lease,
}

/// A client's message: DISCOVER, or REQUEST of the `offer`. `seconds` since the client began.
pub fn encode(
    kind: u8,
    transaction: u32,
    mac: MacAddress,
    seconds: u16,
    offer: Option<&Lease>,
) -> Vec<u8> {
    let mut message = vec![0; OPTIONS];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&transaction.to_be_bytes());
    message[8..10].copy_from_slice(&seconds.to_be_bytes());
    // The broadcast flag: there is no address yet that an answer could be sent to.
    message[10] = 0x80;
    message[28..34].copy_from_slice(&mac.0);
    message[236..].copy_from_slice(&COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        message.extend_from_slice(&[code, value.len() as u8]);
        message.extend_from_slice(value);
    };
    option(MESSAGE_TYPE, &[kind]);
    option(LARGEST_MESSAGE, &1500u16.to_be_bytes());
    option(VENDOR_CLASS, b"hardway-agent");
    option(
        WANTED_OPTIONS,
        &[SUBNET_MASK, ROUTER, DNS_SERVERS, SERVER_ID],
    );
    if let Some(offer) = offer {
        option(REQUESTED_ADDRESS, &offer.address.octets());
        option(SERVER_ID, &offer.server.octets());
    }
    message.push(END);
    message.resize(message.len().max(SHORTEST), 0);
    message
}

impl Reply {
    /// Reads a datagram; `None` for anything but a server's message.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        const FROM_SERVER: u8 = 2;
        if packet.len() < OPTIONS || packet[0] != FROM_SERVER || packet[236..OPTIONS] != COOKIE {
            return None;
        }
        let option = |code| find(&packet[OPTIONS..], code);
        let address = |code| option(code).and_then(|value| addresses(value).next());
        let mask = address(SUBNET_MASK).unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
        let your_address = addresses(&packet[16..20]).next()?;
        let next_server = addresses(&packet[20..24]).next()?;
        Some(Self {
            kind: *option(MESSAGE_TYPE)?.first()?,
            transaction: u32::from_be_bytes(*packet[4..].first_chunk()?),
            lease: Lease {
                address: your_address,
                prefix: u32::from(mask).leading_ones() as u8,
                gateway: address(ROUTER),
                dns: option(DNS_SERVERS)
                    .map(|value| addresses(value).collect())
                    .unwrap_or_default(),
                server: address(SERVER_ID).unwrap_or(next_server),
            },
        })
    }
}

/// The first option of that code. One that is cut off counts as absent.
fn find(mut options: &[u8], code: u8) -> Option<&[u8]> {
    const PAD: u8 = 0;
    loop {
        match options {
            [] | [END, ..] => return None,
            [PAD, rest @ ..] => options = rest,
            [found, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if *found == code {
                    return Some(value);
                }
                options = rest;
            }
            [_] => return None,
        }
    }
}

fn addresses(value: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    value
        .chunks_exact(4)
        .map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 1]);

    fn lease() -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 77, 0, 11),
            prefix: 20,
            gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
            dns: vec![Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)],
            server: Ipv4Addr::new(10, 77, 0, 1),
        }
    }

    fn reply(options: &[u8]) -> Vec<u8> {
        let mut packet = encode(DISCOVER, 7, MAC, 0, None);
        packet.truncate(OPTIONS);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 77, 0, 11]);
        packet.extend_from_slice(options);
        packet
    }

    #[test]
    fn a_request_names_offer_and_server() {
        let message = encode(REQUEST, 0x0102_0304, MAC, 3, Some(&lease()));
        assert_eq!(message.len(), SHORTEST);
        assert_eq!(message[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 3, 0x80, 0]);
        assert_eq!(message[28..34], MAC.0);
        let options = &message[OPTIONS..];
        assert_eq!(find(options, MESSAGE_TYPE), Some(&[REQUEST][..]));
        assert_eq!(find(options, REQUESTED_ADDRESS), Some(&[10, 77, 0, 11][..]));
        assert_eq!(find(options, SERVER_ID), Some(&[10, 77, 0, 1][..]));
        assert_eq!(find(options, VENDOR_CLASS), Some(&b"hardway-agent"[..]));
    }

    #[test]
    fn an_acknowledgement_is_read() {
        let options = [
            0, 53, 1, 5, 1, 4, 255, 255, 240, 0, 3, 4, 10, 77, 0, 1, 54, 4, 10, 77, 0, 1, 6, 8, 10,
            77, 0, 1, 10, 77, 0, 2, 255,
        ];
        let expected = Reply {
            kind: ACK,
            transaction: 7,
            lease: lease(),
        };
        assert_eq!(Reply::decode(&reply(&options)), Some(expected));
    }

    #[test]
    fn what_is_no_reply_is_dropped() {
        assert_eq!(Reply::decode(&[]), None);
        assert_eq!(Reply::decode(&encode(DISCOVER, 7, MAC, 0, None)), None);
        assert_eq!(Reply::decode(&reply(&[255])), None, "no message type");
        assert_eq!(Reply::decode(&reply(&[53, 9, 5])), None, "option cut off");
        let mut cookie = reply(&[53, 1, 5, 255]);
        cookie[236] = 0;
        assert_eq!(Reply::decode(&cookie), None, "BOOTP without the cookie");
    }
}
