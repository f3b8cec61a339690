//! Whether somebody uses an address that the leases call free (RFC 2131 section 3.1 step 2, by ARP as
//! RFC 5227 asks).
//!
//! A stock of addresses is asked for ahead, so that an offer seldom waits. What is heard without being
//! asked for counts as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;

/// How long an answer is awaited, in milliseconds. Stations on the segment answer in a few.
pub const ANSWER_WITHIN: u64 = 250;
/// How long silence counts, in milliseconds. Whoever comes later announces itself, which is heard.
const SILENCE_COUNTS: u64 = 1_800_000;
/// How long an address is left alone after somebody was heard using it, in milliseconds.
const USED_FOR: u64 = 600_000;
/// Addresses of which it is remembered that somebody uses them.
const MOST_USED: usize = 65_536;

/// What is known of addresses by ARP.
#[derive(Debug, Clone, Default)]
pub struct Probing {
    /// When each was asked for last.
    asked: BTreeMap<Ipv4Addr, Timestamp>,
    /// Those that were asked for ahead, in this order.
    stock: VecDeque<(Timestamp, Ipv4Addr)>,
    used: BTreeMap<Ipv4Addr, Use>,
    resting: BTreeSet<(Timestamp, Ipv4Addr)>,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    mac: MacAddress,
    until: Timestamp,
}

impl Probing {
    /// When an offer of `address` may leave. Asks for it where that was not done lately; then the second
    /// is true, and the question has to be sent.
    pub fn ready(&mut self, address: Ipv4Addr, now: Timestamp) -> (Timestamp, bool) {
        match self.asked.get(&address) {
            Some(asked) if now.saturating_sub(*asked) < SILENCE_COUNTS => {
                (asked.saturating_add(ANSWER_WITHIN), false)
            }
            _ => {
                self.asked.insert(address, now);
                (now.saturating_add(ANSWER_WITHIN), true)
            }
        }
    }

    /// Notes that an address is being asked for ahead.
    pub fn lay_in(&mut self, address: Ipv4Addr, now: Timestamp) {
        self.asked.insert(address, now);
        self.stock.push_back((now, address));
    }

    /// How many addresses are in stock.
    pub fn stock(&self) -> usize {
        self.stock.len()
    }

    /// Takes the address that was asked for first out of the stock.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        self.stock.pop_front().map(|(_, address)| address)
    }

    /// Takes an address out of the stock whose silence does not count any more.
    pub fn take_stale(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        let (asked, _) = self.stock.front()?;
        let stale = now.saturating_sub(*asked) >= SILENCE_COUNTS;
        stale.then(|| self.take()).flatten()
    }

    /// Forgets that an address was asked for: it is held by a client now, or given back.
    pub fn forget(&mut self, address: Ipv4Addr) {
        self.asked.remove(&address);
    }

    /// Notes that a station was heard to use an address; whether that is news.
    pub fn heard(&mut self, address: Ipv4Addr, mac: MacAddress, now: Timestamp) -> bool {
        let until = now.saturating_add(USED_FOR);
        let former = self.used.get(&address).copied();
        match former {
            Some(former) => self.resting.remove(&(former.until, address)),
            None if self.used.len() >= MOST_USED => return false,
            None => false,
        };
        self.used.insert(address, Use { mac, until });
        self.resting.insert((until, address));
        former.is_none_or(|former| former.mac != mac)
    }

    /// Who is known to use an address, beside `own`.
    pub fn stranger_at(&self, address: Ipv4Addr, own: Option<MacAddress>) -> Option<MacAddress> {
        let mac = self.used.get(&address)?.mac;
        (Some(mac) != own).then_some(mac)
    }

    /// Forgets that an address was used, when it has been quiet for long enough; gives it. To be called
    /// until there is none.
    pub fn rested(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        let (until, address) = *self.resting.first()?;
        if until > now {
            return None;
        }
        self.resting.pop_first();
        self.used.remove(&address);
        Some(address)
    }

    /// Forgets what was asked for ahead; who uses what stays known.
    pub fn clear_stock(&mut self) {
        self.asked.clear();
        self.stock.clear();
    }
}
