//! Offers that wait until nobody has said that the address is used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;

use super::leases::Holder;
use super::message::Output;

/// How many may wait. Clients ask again.
const MOST: usize = 4_096;

/// The offers, by address.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    waiters: BTreeMap<Ipv4Addr, (Timestamp, Waiter)>,
    due: BTreeSet<(Timestamp, Ipv4Addr)>,
}

/// One offer.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// Who is made the offer.
    pub holder: Holder,
    /// What asked for it, to be asked anew when the address turns out to be used.
    pub packet: Vec<u8>,
    /// Who sent that.
    pub source: SocketAddrV4,
    /// What is done when nothing was heard.
    pub outputs: Vec<Output>,
}

impl Waiting {
    /// Adds an offer, in the place of an earlier one of the same address; `false` where there are too
    /// many.
    pub fn add(&mut self, address: Ipv4Addr, due: Timestamp, waiter: Waiter) -> bool {
        self.remove(address);
        if self.waiters.len() >= MOST {
            return false;
        }
        self.due.insert((due, address));
        self.waiters.insert(address, (due, waiter));
        true
    }

    fn remove(&mut self, address: Ipv4Addr) -> Option<Waiter> {
        let (due, waiter) = self.waiters.remove(&address)?;
        self.due.remove(&(due, address));
        Some(waiter)
    }

    /// Takes the offer of an address out that `mac` says to have, unless it is made to this very station.
    pub fn remove_of_another(&mut self, address: Ipv4Addr, mac: MacAddress) -> Option<Waiter> {
        let (_, waiter) = self.waiters.get(&address)?;
        let is_another = waiter.holder != Holder::Station(mac);
        is_another.then(|| self.remove(address)).flatten()
    }

    /// Takes an offer out that has waited for long enough. To be called until there is none.
    pub fn next(&mut self, now: Timestamp) -> Option<(Ipv4Addr, Waiter)> {
        let (due, address) = *self.due.first()?;
        if due > now {
            return None;
        }
        Some((address, self.remove(address)?))
    }

    /// When the first has waited for long enough.
    pub fn due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }
}
