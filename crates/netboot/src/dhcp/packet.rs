//! DHCP messages as bytes (RFC 2131 section 2, RFC 2132), for Ethernet.
//!
//! An own codec, and no library's: options are joined wherever their parts stand (RFC 3396),
//! overload is expanded (option 52), an option that is malformed is dropped instead of ending the
//! message, relay information is given back byte for byte, and no packet can make it panic.

use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;

pub use super::code;
use super::leases::{ClientId, Holder};
use super::option_list::{self, END, OptionList};

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
    pub(super) fn from_number(number: u8) -> Option<Self> {
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
    /// The client's hardware type (`htype`), by RFC 1700: 1 for Ethernet.
    pub hardware_type: u8,
    /// The client's Ethernet address; `None` for InfiniBand and the like, whose addresses do not fit
    /// into the message (RFC 4390).
    pub mac: Option<MacAddress>,
    /// Who the client is, as leases know it.
    pub holder: Holder,
    /// Every option, with parts joined.
    pub options: OptionList,
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
    /// No Ethernet address, and no client identifier in its place.
    #[error(
        "hardware type {kind} with addresses of {length} bytes is not Ethernet, and there is no client identifier to know it by"
    )]
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
/// What fits into one option. A longer one, in parts, is nobody's and would be kept with every lease.
pub const LONGEST_IDENTIFIER: usize = 255;
const BROADCAST_FLAG: u16 = 0x8000;
/// `htype` of Ethernet, and of IEEE 802 networks, whose addresses are the same.
const ETHERNET: [u8; 2] = [1, 6];

impl Request {
    /// Reads a client's message.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let too_short = || PacketError::TooShort(bytes.len());
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(too_short)?;
        let rest = &bytes[FIXED..];
        if fixed[0] != 1 {
            return Err(PacketError::NotARequest(fixed[0]));
        }
        let options = rest.strip_prefix(&COOKIE).ok_or(PacketError::NoCookie)?;
        let options = joined_options(options, fixed);
        let (mac, holder) = holder(fixed, &options)?;
        let kind = options
            .byte(code::MESSAGE_TYPE)
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
            hardware_type: fixed[1],
            mac,
            holder,
            options,
        })
    }

    /// An option's value.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(code)
    }

    /// Whether the client's parameter request list has this option.
    pub fn asks_for(&self, code: u8) -> bool {
        let list = self.option(code::PARAMETER_LIST);
        list.is_some_and(|list| list.contains(&code))
    }

    /// A sub-option of the relay's information (RFC 3046 section 2.0) that holds one address.
    pub fn relay_suboption(&self, code: u8) -> Option<Ipv4Addr> {
        let mut suboptions = self.option(code::RELAY_INFORMATION)?;
        while let [own, length, rest @ ..] = suboptions {
            let (value, rest) = rest.split_at_checked(usize::from(*length))?;
            if *own == code {
                return Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?));
            }
            suboptions = rest;
        }
        None
    }

    /// An option that holds one address.
    pub fn address_option(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    }
}

/// Who sent a message. Without an Ethernet address it is the client identifier that tells
/// (RFC 4390 section 2.1), and it has to be there.
fn holder(
    fixed: &[u8; FIXED],
    options: &OptionList,
) -> Result<(Option<MacAddress>, Holder), PacketError> {
    let (kind, length) = (fixed[1], fixed[2]);
    if ETHERNET.contains(&kind) && length == 6 {
        let mac = MacAddress([
            fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33],
        ]);
        return match mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
            true => Err(PacketError::NotAStation(mac)),
            false => Ok((Some(mac), Holder::Station(mac))),
        };
    }
    match options.get(code::CLIENT_IDENTIFIER) {
        Some(identifier)
            if length == 0
                && !ETHERNET.contains(&kind)
                && (1..=LONGEST_IDENTIFIER).contains(&identifier.len()) =>
        {
            Ok((None, Holder::Identified(ClientId(identifier.to_vec()))))
        }
        _ => Err(PacketError::NotEthernet { kind, length }),
    }
}

/// Reads the options field and, where option 52 says so, `file` and then `sname`
/// (RFC 2131 section 4.1, RFC 3396 section 5).
fn joined_options(field: &[u8], fixed: &[u8; FIXED]) -> OptionList {
    let mut options = OptionList::default();
    options.read(field);
    let overload = options.byte(code::OVERLOAD).unwrap_or(0);
    if overload & 1 != 0 {
        options.read(&fixed[FILE]);
    }
    if overload & 2 != 0 {
        options.read(&fixed[SNAME]);
    }
    options
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
    pub options: OptionList,
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
        let mut bytes = Vec::with_capacity(GUARANTEED);
        let hardware_length = if request.mac.is_some() { 6 } else { 0 };
        bytes.extend_from_slice(&[2, request.hardware_type, hardware_length, 0]);
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
        if let Some(mac) = request.mac {
            bytes.extend_from_slice(&mac.0);
        }
        bytes.resize(FILE.start, 0);
        // One byte is left for the zero that ends the name.
        let file = self.file.as_bytes();
        bytes.extend_from_slice(&file[..file.len().min(FILE.len() - 1)]);
        bytes.resize(FIXED, 0);
        bytes.extend_from_slice(&COOKIE);
        self.encode_options(request, &mut bytes);
        bytes.resize(bytes.len().max(SHORTEST), 0);
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
        let relay_information = request.option(code::RELAY_INFORMATION);
        let limit = size_limit(request) - IP_AND_UDP - 1;
        option_list::write(bytes, code::MESSAGE_TYPE, &[self.kind as u8]);
        for (code, value) in self.options.iter() {
            if bytes.len() + option_list::written_length(value.len()) <= limit {
                option_list::write(bytes, code, value);
            }
        }
        // RFC 3046 section 2.2: given back unchanged, as the last option. The relay takes it off again,
        // so that it does not count for what the client takes.
        if let Some(value) = relay_information {
            option_list::write(bytes, code::RELAY_INFORMATION, value);
        }
        bytes.push(END);
    }
}

fn size_limit(request: &Request) -> usize {
    let limit = match request.option(code::MAXIMUM_SIZE) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => GUARANTEED,
    };
    let relay_information = request
        .option(code::RELAY_INFORMATION)
        .map_or(0, |value| option_list::written_length(value.len()));
    limit
        .min(LARGEST.saturating_sub(relay_information))
        .max(GUARANTEED)
}
