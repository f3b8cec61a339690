//! Which address of a pool comes next, without looking at those that are taken.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use hardway_model::lifecycle::Timestamp;

use super::leases::{Lease, LeaseTable};

/// The addresses of one pool, in the order in which they are given out: those that came back without
/// ever having been leased, those that nobody had yet, then those whose lease ended longest ago
/// (RFC 2131 section 4.3.1).
///
/// Every entry is a hint: whether an address is free is asked of the leases when its turn comes.
#[derive(Debug, Clone)]
pub struct Pool {
    first: u32,
    last: u32,
    /// Below it, every address was taken out once. Wider than an address, so that it can pass the last.
    next: u64,
    returned: BTreeSet<Ipv4Addr>,
    /// By the end of the last lease; those that live stand behind.
    ending: BTreeSet<(Timestamp, Ipv4Addr)>,
}

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

impl Pool {
    /// The pool with what is known of its addresses.
    pub fn new((first, last): (Ipv4Addr, Ipv4Addr), leases: &LeaseTable) -> Self {
        let ending = leases
            .iter()
            .filter(|lease| (first..=last).contains(&lease.address))
            .map(|lease| (lease.expires, lease.address));
        Self {
            first: first.into(),
            last: last.into(),
            next: u32::from(first).into(),
            returned: BTreeSet::new(),
            ending: ending.collect(),
        }
    }

    /// Whether the pool has this address.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.into())
    }

    /// An address has a new lease in the place of `former`.
    pub fn leased(&mut self, address: Ipv4Addr, former: Option<&Lease>, expires: Timestamp) {
        if let Some(former) = former {
            self.ending.remove(&(former.expires, address));
        }
        self.returned.remove(&address);
        self.ending.insert((expires, address));
    }

    /// An address that was taken out is not needed. `last` is its last lease.
    pub fn give_back(&mut self, address: Ipv4Addr, last: Option<&Lease>) {
        match last {
            Some(lease) => self.ending.insert((lease.expires, address)),
            None => self.returned.insert(address),
        };
    }

    /// Takes the next address out that is `free`. What is not free is passed over for good: whoever
    /// has it gives it back, or its lease ends.
    pub fn take(&mut self, now: Timestamp, free: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        while let Some(address) = self.returned.pop_first() {
            if free(address) {
                return Some(address);
            }
        }
        while let Some(address) = self.untouched() {
            if free(address) {
                return Some(address);
            }
        }
        while let Some((_, address)) = self.ending.first().filter(|(expires, _)| *expires <= now) {
            let address = *address;
            self.ending.pop_first();
            if free(address) {
                return Some(address);
            }
        }
        None
    }

    fn untouched(&mut self) -> Option<Ipv4Addr> {
        let next = u32::try_from(self.next).ok()?;
        if next > self.last {
            return None;
        }
        self.next += 1;
        Some(Ipv4Addr::from(next))
    }

    /// That it has none left.
    pub fn exhausted(&self) -> PoolExhausted {
        PoolExhausted {
            first: self.first.into(),
            last: self.last.into(),
            size: (self.last - self.first).saturating_add(1),
        }
    }
}
