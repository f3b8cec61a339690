//! Who holds which address, and until when.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;
use serde::{Deserialize, Serialize};

/// An address that a client holds, or that is not to be given out. Durable, one for an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Who holds it; `None` where a client found it used by somebody else (DECLINE).
    ///
    /// Clients are told apart by their hardware address alone, against RFC 2131 section 4.2: firmware,
    /// iPXE and the installed system of one machine send different client identifiers, and would take
    /// three addresses.
    pub mac: Option<MacAddress>,
    /// The declared machine that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

/// Every lease, and the offers that are open.
#[derive(Debug, Clone, Default)]
pub struct LeaseTable {
    leases: BTreeMap<Ipv4Addr, Lease>,
    offers: BTreeMap<Ipv4Addr, Offer>,
}

/// An address held back for a client that was offered it. Not durable: a lost offer is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    mac: MacAddress,
    expires: Timestamp,
}

/// How long an offer is held, in milliseconds. edk2 takes 4 s from OFFER to REQUEST.
const OFFER_HELD: u64 = 60_000;

/// There is no address left in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {size} addresses of the pool {first}-{last} are taken")]
pub struct PoolExhausted {
    /// The pool's first address.
    pub first: Ipv4Addr,
    /// The pool's last address.
    pub last: Ipv4Addr,
    /// How many addresses it has.
    pub size: u32,
}

impl LeaseTable {
    /// Makes the table from durable records.
    pub fn new(leases: impl IntoIterator<Item = Lease>) -> Self {
        let mut table = Self::default();
        leases.into_iter().for_each(|lease| table.insert(lease));
        table
    }

    /// Adds a lease, in the place of the address's former one.
    pub fn insert(&mut self, lease: Lease) {
        self.offers.remove(&lease.address);
        self.leases.insert(lease.address, lease);
    }

    /// The live lease of an address.
    pub fn at(&self, address: Ipv4Addr, now: Timestamp) -> Option<&Lease> {
        self.leases
            .get(&address)
            .filter(|lease| lease.expires > now)
    }

    /// Whether `mac` holds a live lease of `address`.
    pub fn holds(&self, mac: MacAddress, address: Ipv4Addr, now: Timestamp) -> bool {
        self.at(address, now)
            .is_some_and(|lease| lease.mac == Some(mac))
    }

    /// Whether nobody but `mac` holds `address` or was offered it.
    pub fn is_free_for(&self, mac: MacAddress, address: Ipv4Addr, now: Timestamp) -> bool {
        let leased = self
            .at(address, now)
            .is_some_and(|lease| lease.mac != Some(mac));
        let offered = self
            .offers
            .get(&address)
            .is_some_and(|offer| offer.mac != mac && offer.expires > now);
        !leased && !offered
    }

    /// Whether `mac` is who held `address` last, however long ago.
    pub fn was_held_by(&self, mac: MacAddress, address: Ipv4Addr) -> bool {
        let lease = self.leases.get(&address);
        lease.is_some_and(|lease| lease.mac == Some(mac))
    }

    /// Whether `address` is held back for `mac`.
    pub fn is_offered_to(&self, mac: MacAddress, address: Ipv4Addr) -> bool {
        let offer = self.offers.get(&address);
        offer.is_some_and(|offer| offer.mac == mac)
    }

    /// Holds an address back for a client that is being offered it.
    pub fn offer(&mut self, mac: MacAddress, address: Ipv4Addr, now: Timestamp) {
        self.withdraw(mac);
        self.offers.retain(|_, offer| offer.expires > now);
        let expires = now.saturating_add(OFFER_HELD);
        self.offers.insert(address, Offer { mac, expires });
    }

    /// Forgets what a client was offered.
    pub fn withdraw(&mut self, mac: MacAddress) {
        self.offers.retain(|_, offer| offer.mac != mac);
    }

    /// An address of the pool for `mac`: the one that it has or had last, else the one that it wishes,
    /// else the first that was never given out, else the one whose lease ended longest ago
    /// (RFC 2131 section 4.3.1). `reserved` addresses belong to declared machines and the appliance.
    pub fn choose(
        &self,
        mac: MacAddress,
        wish: Option<Ipv4Addr>,
        pool: (Ipv4Addr, Ipv4Addr),
        reserved: impl Fn(Ipv4Addr) -> bool,
        now: Timestamp,
    ) -> Result<Ipv4Addr, PoolExhausted> {
        let (first, last) = pool;
        let available = |address: &Ipv4Addr| {
            (first..=last).contains(address)
                && !reserved(*address)
                && self.is_free_for(mac, *address, now)
        };
        let former = self
            .leases
            .values()
            .filter(|lease| lease.mac == Some(mac) && available(&lease.address))
            .max_by_key(|lease| lease.expires)
            .map(|lease| lease.address);
        let offered = self
            .offers
            .iter()
            .find(|(address, offer)| offer.mac == mac && available(address))
            .map(|(address, _)| *address);
        let addresses = || (u32::from(first)..=u32::from(last)).map(Ipv4Addr::from);
        former
            .or(offered)
            .or_else(|| wish.filter(available))
            .or_else(|| {
                addresses().find(|address| !self.leases.contains_key(address) && available(address))
            })
            .or_else(|| {
                let ended = self
                    .leases
                    .values()
                    .filter(|lease| available(&lease.address));
                ended
                    .min_by_key(|lease| lease.expires)
                    .map(|lease| lease.address)
            })
            .ok_or(PoolExhausted {
                first,
                last,
                size: (u32::from(last).saturating_sub(u32::from(first))).saturating_add(1),
            })
    }
}
