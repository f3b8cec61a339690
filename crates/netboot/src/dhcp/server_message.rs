//! What another server says on the segment, as far as it matters here.

use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;

use super::code;
use super::option_list::OptionList;
use super::packet::MessageType;

/// A message of some server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    /// Option 53.
    pub kind: MessageType,
    /// The transaction that it answers.
    pub transaction: u32,
    /// The address that it gives; unspecified where it gives none, as a proxy does.
    pub your_address: Ipv4Addr,
    /// The server, by its own word (option 54).
    pub server: Option<Ipv4Addr>,
    /// The client.
    pub client: MacAddress,
}

const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

impl ServerMessage {
    /// Reads an OFFER, ACK or NAK to a client on Ethernet; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; COOKIE_AT] = bytes.first_chunk()?;
        let [2, _, 6, ..] = fixed else {
            return None;
        };
        let mut options = OptionList::default();
        options.read(bytes.get(COOKIE_AT..)?.strip_prefix(&COOKIE)?);
        let kind = MessageType::from_number(options.byte(code::MESSAGE_TYPE)?)?;
        let server: Option<[u8; 4]> = options
            .get(code::SERVER_IDENTIFIER)
            .and_then(|octets| octets.try_into().ok());
        matches!(
            kind,
            MessageType::Offer | MessageType::Ack | MessageType::Nak
        )
        .then_some(Self {
            kind,
            transaction: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            your_address: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            server: server.map(Ipv4Addr::from),
            client: MacAddress([
                fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33],
            ]),
        })
    }
}
