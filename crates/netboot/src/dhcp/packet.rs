//! DHCP messages as bytes (RFC 2131 section 2, RFC 2132), for Ethernet.
//!
//! An own codec, and no library's: options are joined wherever their parts stand (RFC 3396),
//! overload is expanded (option 52), an option that is malformed is dropped instead of ending the
//! message, relay information is given back byte for byte, and no packet can make it panic.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;

/// Codes of the options that are read or written here, by their names in RFC 2132 and successors.
pub mod code {
    /// Subnet mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers.
    pub const ROUTER: u8 = 3;
    /// Domain name servers.
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    /// Host name.
    pub const HOST_NAME: u8 = 12;
    /// Domain name.
    pub const DOMAIN_NAME: u8 = 15;
    /// Broadcast address.
    pub const BROADCAST_ADDRESS: u8 = 28;
    /// NTP servers.
    pub const NTP_SERVERS: u8 = 42;
    /// Requested address.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time in seconds.
    pub const LEASE_TIME: u8 = 51;
    /// Which of `file` (1) and `sname` (2) hold options.
    pub const OVERLOAD: u8 = 52;
    /// Message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier.
    pub const SERVER_IDENTIFIER: u8 = 54;
    /// Error message.
    pub const MESSAGE: u8 = 56;
    /// The largest message that the client takes, IP and UDP headers included.
    pub const MAXIMUM_SIZE: u8 = 57;
    /// T1 in seconds.
    pub const RENEWAL_TIME: u8 = 58;
    /// T2 in seconds.
    pub const REBINDING_TIME: u8 = 59;
    /// Vendor class.
    pub const VENDOR_CLASS: u8 = 60;
    /// Client identifier.
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// TFTP server name.
    pub const TFTP_SERVER: u8 = 66;
    /// Boot file name.
    pub const BOOT_FILE: u8 = 67;
    /// User class (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// Relay agent information (RFC 3046).
    pub const RELAY_INFORMATION: u8 = 82;
    /// Client system architecture (RFC 4578).
    pub const ARCHITECTURE: u8 = 93;
    /// Client machine identifier (RFC 4578).
    pub const MACHINE_IDENTIFIER: u8 = 97;
    /// iPXE's encapsulated options.
    pub const IPXE: u8 = 175;
}

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// Client looks for servers.
    Discover = 1,
    /// Server offers.
    Offer = 2,
    /// Client takes an offer, checks or extends its lease.
    Request = 3,
    /// Client found the address in use.
    Decline = 4,
    /// Server confirms.
    Ack = 5,
    /// Server refuses.
    Nak = 6,
    /// Client gives its address back.
    Release = 7,
    /// Client has an address and wants the rest.
    Inform = 8,
}

impl MessageType {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }

    /// As RFC 2131 names it, without `DHCP`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
        }
    }
}

/// A client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Option 53.
    pub kind: MessageType,
    /// Transaction id, chosen by the client. iPXE on EFI repeats it across power-ons.
    pub transaction: u32,
    /// Whether the client cannot receive unicast before it has an address.
    pub broadcast: bool,
    /// The flags as received.
    pub flags: u16,
    /// The address that the client has and answers ARP for.
    pub client_address: Ipv4Addr,
    /// The relay that forwarded the message; unspecified when it came directly.
    pub relay_address: Ipv4Addr,
    /// The client's hardware address.
    pub mac: MacAddress,
    /// Every option, with parts joined.
    pub options: BTreeMap<u8, Vec<u8>>,
}

/// Why bytes are no request that this server answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than the fixed part and the magic cookie.
    #[error("{0} bytes are too few for a DHCP message")]
    TooShort(usize),
    /// BOOTREPLY, or nothing that RFC 951 knows.
    #[error("operation {0} is no request")]
    NotARequest(u8),
    /// No Ethernet address.
    #[error("hardware type {kind} with addresses of {length} bytes is not Ethernet")]
    NotEthernet {
        /// htype.
        kind: u8,
        /// hlen.
        length: u8,
    },
    /// A group address or all zeros cannot be a client's.
    #[error("{0} is no station's hardware address")]
    NotAStation(MacAddress),
    /// BOOTP without DHCP.
    #[error("there is no magic cookie")]
    NoCookie,
    /// Option 53 is missing or unknown.
    #[error("there is no message type that a client may send")]
    NoMessageType,
}

const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const PAD: u8 = 0;
const END: u8 = 255;
const BROADCAST_FLAG: u16 = 0x8000;
const ETHERNET: u8 = 1;

impl Request {
    /// Reads a client's message.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let too_short = || PacketError::TooShort(bytes.len());
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(too_short)?;
        let rest = &bytes[FIXED..];
        if fixed[0] != 1 {
            return Err(PacketError::NotARequest(fixed[0]));
        }
        let (kind, length) = (fixed[1], fixed[2]);
        if kind != ETHERNET || length != 6 {
            return Err(PacketError::NotEthernet { kind, length });
        }
        let mac = MacAddress([
            fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33],
        ]);
        if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
            return Err(PacketError::NotAStation(mac));
        }
        let options = rest.strip_prefix(&COOKIE).ok_or(PacketError::NoCookie)?;
        let options = joined_options(options, fixed);
        let kind = option_byte(&options, code::MESSAGE_TYPE)
            .and_then(MessageType::from_number)
            .ok_or(PacketError::NoMessageType)?;
        let flags = u16::from_be_bytes([fixed[10], fixed[11]]);
        Ok(Self {
            kind,
            transaction: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            broadcast: flags & BROADCAST_FLAG != 0,
            flags,
            client_address: address_at(fixed, 12),
            relay_address: address_at(fixed, 24),
            mac,
            options,
        })
    }

    /// An option's value.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    /// An option that holds one address.
    pub fn address_option(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    }
}

/// Reads the options field and, where option 52 says so, `file` and then `sname`
/// (RFC 2131 section 4.1). Parts of one option are joined in this order (RFC 3396 section 5).
fn joined_options(field: &[u8], fixed: &[u8; FIXED]) -> BTreeMap<u8, Vec<u8>> {
    let mut options = BTreeMap::new();
    read_options(field, &mut options);
    let overload = option_byte(&options, code::OVERLOAD).unwrap_or(0);
    if overload & 1 != 0 {
        read_options(&fixed[FILE], &mut options);
    }
    if overload & 2 != 0 {
        read_options(&fixed[SNAME], &mut options);
    }
    options
}

fn read_options(mut field: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    while let Some((&code, rest)) = field.split_first() {
        field = match code {
            PAD => rest,
            END => return,
            _ => {
                // An option that is cut off by the end of the message is not there.
                let Some((&length, rest)) = rest.split_first() else {
                    return;
                };
                let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else {
                    return;
                };
                options.entry(code).or_default().extend_from_slice(value);
                rest
            }
        };
    }
}

fn option_byte(options: &BTreeMap<u8, Vec<u8>>, code: u8) -> Option<u8> {
    match options.get(&code)?.as_slice() {
        [byte] => Some(*byte),
        _ => None,
    }
}

fn address_at(fixed: &[u8; FIXED], offset: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        fixed[offset],
        fixed[offset + 1],
        fixed[offset + 2],
        fixed[offset + 3],
    )
}

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Option 53.
    pub kind: MessageType,
    /// `yiaddr`: the client's address.
    pub your_address: Ipv4Addr,
    /// `siaddr`: where the boot file is fetched from.
    pub next_server: Ipv4Addr,
    /// `file`: the boot file's name; at most 127 bytes, empty for none.
    pub file: String,
    /// Options after 53, the most important first: those that do not fit are left out from the end.
    pub options: Vec<(u8, Vec<u8>)>,
}

/// RFC 1542 section 2.1: what some clients and relays take a shorter BOOTP message for is noise.
const SHORTEST: usize = 300;
/// IP and UDP headers, which option 57 counts.
const IP_AND_UDP: usize = 28;
/// What every client has to take (RFC 2131 section 2), headers included.
const GUARANTEED: usize = 576;
/// What an Ethernet frame holds, headers included.
const LARGEST: usize = 1500;

impl Reply {
    /// The bytes that answer `request`, no longer than the client takes.
    pub fn encode(&self, request: &Request) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SHORTEST);
        bytes.extend_from_slice(&[2, ETHERNET, 6, 0]);
        bytes.extend_from_slice(&request.transaction.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.flags(request).to_be_bytes());
        // RFC 2131 table 3: ciaddr is the client's in an ACK and zero in an offer and a NAK.
        let client_address = match self.kind {
            MessageType::Ack => request.client_address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        for address in [
            client_address,
            self.your_address,
            self.next_server,
            request.relay_address,
        ] {
            bytes.extend_from_slice(&address.octets());
        }
        bytes.extend_from_slice(&request.mac.0);
        bytes.resize(FILE.start, 0);
        // One byte is left for the zero that ends the name.
        let file = self.file.as_bytes();
        bytes.extend_from_slice(&file[..file.len().min(FILE.len() - 1)]);
        bytes.resize(FIXED, 0);
        bytes.extend_from_slice(&COOKIE);
        self.encode_options(request, &mut bytes);
        bytes.resize(bytes.len().max(SHORTEST), PAD);
        bytes
    }

    fn flags(&self, request: &Request) -> u16 {
        // RFC 2131 section 4.3.2: a relay has to broadcast a NAK, since the client's address is in
        // doubt.
        let relayed_nak = self.kind == MessageType::Nak && !request.relay_address.is_unspecified();
        match relayed_nak {
            true => request.flags | BROADCAST_FLAG,
            false => request.flags,
        }
    }

    fn encode_options(&self, request: &Request, bytes: &mut Vec<u8>) {
        // RFC 3046 section 2.2: given back unchanged, as the last option.
        let relay_information = request.option(code::RELAY_INFORMATION).map(|value| {
            let mut encoded = Vec::new();
            push_option(&mut encoded, code::RELAY_INFORMATION, value);
            encoded
        });
        let relay_information = relay_information.unwrap_or_default();
        let limit = size_limit(request) - IP_AND_UDP - relay_information.len() - 1;
        push_option(bytes, code::MESSAGE_TYPE, &[self.kind as u8]);
        for (code, value) in &self.options {
            let parts = value.len().div_ceil(255).max(1);
            if bytes.len() + value.len() + 2 * parts <= limit {
                push_option(bytes, *code, value);
            }
        }
        bytes.extend_from_slice(&relay_information);
        bytes.push(END);
    }
}

fn size_limit(request: &Request) -> usize {
    let relay_information = request.option(code::RELAY_INFORMATION).unwrap_or_default();
    // Room for what the relay takes off again, which the client's limit does not count.
    let taken_off = 2 * relay_information.len().div_ceil(255) + relay_information.len();
    let limit = match request.option(code::MAXIMUM_SIZE) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => GUARANTEED,
    };
    limit.clamp(GUARANTEED, LARGEST) + taken_off
}

/// A value of more than 255 bytes is written in parts (RFC 3396 section 6).
fn push_option(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        bytes.extend_from_slice(&[code, 0]);
    }
    for part in value.chunks(255) {
        bytes.extend_from_slice(&[code, part.len() as u8]);
        bytes.extend_from_slice(part);
    }
}
