//! Who holds which address, and until when.
//!
//! Every question is answered by an index: by address, by holder, and by the end of an offer. Which
//! address comes next is [`super::pool`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;
use serde::{Deserialize, Serialize};

/// An address that a client holds, or that is not to be given out. Durable, one for an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Who holds it; `None` where a client found it used by somebody else (DECLINE), and for a client
    /// without an Ethernet address, which is known by `client_id` alone.
    ///
    /// Clients are told apart by their hardware address, against RFC 2131 section 4.2: firmware, iPXE
    /// and the installed system of one machine send different client identifiers, and would take three
    /// addresses.
    pub mac: Option<MacAddress>,
    /// The client identifier that it sent last (option 61).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// The host name that it gave itself last (option 12), as it came: at most 64 bytes, and nothing
    /// about it is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// The declared machine that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

impl Lease {
    /// A lease of which nothing else is known.
    pub fn new(address: Ipv4Addr, mac: Option<MacAddress>, expires: Timestamp) -> Self {
        Self {
            address,
            mac,
            client_id: None,
            host_name: None,
            machine: None,
            expires,
        }
    }

    /// Who holds it; nobody where the address rests.
    pub fn holder(&self) -> Option<Holder> {
        match (self.mac, &self.client_id) {
            (Some(mac), _) => Some(Holder::Station(mac)),
            (None, Some(identifier)) => Some(Holder::Identified(identifier.clone())),
            (None, None) => None,
        }
    }

    fn is_of(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Station(mac) => self.mac == Some(*mac),
            Holder::Identified(identifier) => {
                self.mac.is_none() && self.client_id.as_ref() == Some(identifier)
            }
        }
    }
}

/// What clients are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Its Ethernet address.
    Station(MacAddress),
    /// The client identifier of a client without one (RFC 4390).
    Identified(ClientId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Station(mac) => write!(f, "{mac}"),
            Self::Identified(identifier) => write!(f, "client {identifier}"),
        }
    }
}

/// A client identifier (RFC 2132 section 9.14), shown as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(pub Vec<u8>);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<ClientId> for String {
    fn from(identifier: ClientId) -> Self {
        let mut text = Self::with_capacity(2 * identifier.0.len());
        // Writing to a String cannot fail.
        let _ = write!(text, "{identifier}");
        text
    }
}

/// Why a text is no client identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a client identifier; it has an even number of hexadecimal digits")]
pub struct InvalidClientId(String);

impl TryFrom<String> for ClientId {
    type Error = InvalidClientId;

    fn try_from(text: String) -> Result<Self, InvalidClientId> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or(InvalidClientId(text))
    }
}

/// Every lease, and the offers that are open.
#[derive(Debug, Clone, Default)]
pub struct LeaseTable {
    leases: BTreeMap<Ipv4Addr, Lease>,
    /// The addresses whose last lease is a holder's, ended or not; the newest last.
    of: BTreeMap<Holder, Vec<Ipv4Addr>>,
    offers: BTreeMap<Ipv4Addr, Offer>,
    /// One offer a client: whoever asks again has forgotten what came before.
    offered: BTreeMap<Holder, Ipv4Addr>,
    lapsing: BTreeSet<(Timestamp, Ipv4Addr)>,
}

/// An address held back for a client that was offered it. Not durable: a lost offer is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    holder: Holder,
    expires: Timestamp,
}

/// How long an offer is held, in milliseconds. edk2 takes 4 s from OFFER to REQUEST.
const OFFER_HELD: u64 = 60_000;

/// How many addresses are remembered of one client, which has one in a network. A client that walks
/// through a pool must not make its own turns slow.
const REMEMBERED: usize = 16;

impl LeaseTable {
    /// Makes the table from durable records.
    pub fn new(leases: impl IntoIterator<Item = Lease>) -> Self {
        let mut table = Self::default();
        leases.into_iter().for_each(|lease| table.insert(lease));
        table
    }

    /// Adds a lease, in the place of the address's former one.
    pub fn insert(&mut self, lease: Lease) {
        let address = lease.address;
        self.close_offer(address);
        let former = self.leases.get(&address).and_then(Lease::holder);
        let holder = lease.holder();
        self.leases.insert(address, lease);
        if former == holder {
            return;
        }
        if let Some(former) = former {
            self.forget(&former, address);
        }
        if let Some(holder) = holder {
            let addresses = self.of.entry(holder).or_default();
            if addresses.len() == REMEMBERED {
                addresses.remove(0);
            }
            addresses.push(address);
        }
    }

    fn forget(&mut self, holder: &Holder, address: Ipv4Addr) {
        if let Some(addresses) = self.of.get_mut(holder) {
            addresses.retain(|own| *own != address);
            if addresses.is_empty() {
                self.of.remove(holder);
            }
        }
    }

    /// Every lease that was ever made, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The last lease of an address, ended or not.
    pub fn last(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address)
    }

    /// The live lease of an address.
    pub fn at(&self, address: Ipv4Addr, now: Timestamp) -> Option<&Lease> {
        self.last(address).filter(|lease| lease.expires > now)
    }

    /// The last leases of a client: those of addresses that nobody had after it.
    pub fn of(&self, holder: &Holder) -> impl Iterator<Item = &Lease> {
        let addresses = self.of.get(holder).into_iter().flatten();
        addresses.filter_map(|address| self.leases.get(address))
    }

    /// Whether the client holds a live lease of `address`.
    pub fn holds(&self, holder: &Holder, address: Ipv4Addr, now: Timestamp) -> bool {
        self.at(address, now)
            .is_some_and(|lease| lease.is_of(holder))
    }

    /// Whether nobody but the client holds `address` or was offered it.
    pub fn is_free_for(&self, holder: &Holder, address: Ipv4Addr, now: Timestamp) -> bool {
        let leased = self
            .at(address, now)
            .is_some_and(|lease| !lease.is_of(holder));
        let offered = self
            .offers
            .get(&address)
            .is_some_and(|offer| offer.holder != *holder && offer.expires > now);
        !leased && !offered
    }

    /// Whether nobody at all holds `address` or was offered it.
    pub fn is_free(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        self.at(address, now).is_none() && !self.offers.contains_key(&address)
    }

    /// Whether the client is who held `address` last, however long ago.
    pub fn was_held_by(&self, holder: &Holder, address: Ipv4Addr) -> bool {
        self.last(address).is_some_and(|lease| lease.is_of(holder))
    }

    /// The address that is held back for the client.
    pub fn offered_to(&self, holder: &Holder) -> Option<Ipv4Addr> {
        self.offered.get(holder).copied()
    }

    /// Holds an address back for a client that is being offered it.
    pub fn offer(&mut self, holder: Holder, address: Ipv4Addr, now: Timestamp) {
        self.withdraw(&holder);
        self.close_offer(address);
        let expires = now.saturating_add(OFFER_HELD);
        self.lapsing.insert((expires, address));
        self.offered.insert(holder.clone(), address);
        self.offers.insert(address, Offer { holder, expires });
    }

    /// Forgets what a client was offered; gives the address.
    pub fn withdraw(&mut self, holder: &Holder) -> Option<Ipv4Addr> {
        let address = self.offered_to(holder)?;
        self.close_offer(address);
        Some(address)
    }

    /// Forgets an offer that was not taken in time; gives its address. To be called until there is none.
    pub fn lapse(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        let (expires, address) = *self.lapsing.first()?;
        if expires > now {
            return None;
        }
        self.close_offer(address);
        Some(address)
    }

    fn close_offer(&mut self, address: Ipv4Addr) {
        if let Some(offer) = self.offers.remove(&address) {
            self.lapsing.remove(&(offer.expires, address));
            self.offered.remove(&offer.holder);
        }
    }
}
