//! Which address a client gets: its own, its former one, the one it wishes, or the next that is free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use hardway_model::cluster::{Cluster, Subnet};
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;

use super::leases::{Holder, Lease, LeaseTable};
use super::pool::{Pool, PoolExhausted};
use super::probing::Probing;

/// Addresses that are asked for ahead at once, and how long after it is done again, in milliseconds:
/// 1,000 a second.
const BATCH: usize = 10;
const BATCH_EVERY: u64 = 10;
/// The most at once, where offers use up the stock.
const LARGEST_BATCH: usize = 500;
/// How long after everything was asked for it is looked again, in milliseconds.
const LOOK_EVERY: u64 = 1_000;
/// How many addresses are asked for ahead in all.
const STOCK: usize = 65_536;

/// Every address of the served networks.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// Who holds which.
    pub leases: LeaseTable,
    /// Those that no pool gives out: of declared machines, and what the network is made of.
    reserved: BTreeSet<Ipv4Addr>,
    /// The declared machines by their addresses, as places in the cluster's list.
    declared: BTreeMap<Ipv4Addr, usize>,
    /// The same by their names.
    named: BTreeMap<String, usize>,
    /// Hardware addresses that are declared.
    declared_macs: BTreeSet<MacAddress>,
    /// The pool of each network; the provisioning network's is the first, and the only one whose
    /// stations hear ARP from here.
    pools: Vec<Option<Pool>>,
    networks: Vec<Subnet>,
    probing: Probing,
    /// When addresses are asked for ahead again.
    next_batch: Timestamp,
    taken: usize,
}

/// An address for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The address.
    pub address: Ipv4Addr,
    /// When it may be offered: not before whoever uses it had time to say so.
    pub ready: Timestamp,
    /// Whether it has to be asked for now.
    pub probe: bool,
}

/// What it means that a station uses an address that nobody gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whether the station had it once and kept it beyond its lease's end.
    pub former_holder: bool,
    /// The declared machine whose address it is, as a place in the cluster's list.
    pub declared: Option<usize>,
    /// The declared machine that holds its lease.
    pub machine: Option<String>,
    /// To whom it belongs, in words that continue a sentence.
    pub belongs: String,
}

/// Why a client gets no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// There is no address left.
    #[error(transparent)]
    Exhausted(#[from] PoolExhausted),
    /// Only declared machines have addresses there.
    #[error("{0} has no pool for machines that are not declared")]
    NoPool(Subnet),
}

impl Addresses {
    /// Starts from durable leases.
    pub fn new(leases: impl IntoIterator<Item = Lease>) -> Self {
        Self {
            leases: LeaseTable::new(leases),
            ..Self::default()
        }
    }

    /// Takes over what a new cluster.yaml says.
    pub fn arrange(&mut self, cluster: &Cluster, now: Timestamp) {
        let network = &cluster.network;
        self.networks = network.networks().collect();
        let of_networks = self.networks.iter().flat_map(|network| {
            let made_of = [network.network, network.broadcast()];
            made_of.into_iter().chain(network.gateway)
        });
        let of_machines = cluster
            .machines
            .iter()
            .filter_map(|machine| machine.address);
        let of_servers = network.ntp.iter().chain(&network.dns_upstream).copied();
        self.reserved = of_networks
            .chain(of_machines)
            .chain(of_servers)
            .chain([network.address])
            .collect();
        let machines = || cluster.machines.iter().enumerate();
        self.declared = machines()
            .filter_map(|(index, machine)| Some((machine.address?, index)))
            .collect();
        self.named = machines()
            .map(|(index, machine)| (machine.name.clone(), index))
            .collect();
        let macs = machines().flat_map(|(_, machine)| machine.matches.macs.iter().copied());
        self.declared_macs = macs.collect();
        let pool = |network: &Subnet| Some(Pool::new(network.pool?, &self.leases));
        self.pools = self.networks.iter().map(pool).collect();
        self.probing.clear_stock();
        self.next_batch = now;
    }

    /// Whether a pool may not give out this address.
    pub fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.reserved.contains(&address)
    }

    /// The declared machine, as a place in the cluster's list, that a client was recognised as when it
    /// got its lease. Its firmware may have shown more of it (option 97) than its system does, and a
    /// hardware address that cluster.yaml names speaks for itself.
    pub fn remembered(&self, holder: &Holder, now: Timestamp) -> Option<usize> {
        if station(holder).is_none_or(|mac| self.declared_macs.contains(&mac)) {
            return None;
        }
        let live = self.leases.of(holder).filter(|lease| lease.expires > now);
        let name = live.filter_map(|lease| lease.machine.as_deref()).last()?;
        self.named.get(name).copied()
    }

    /// The station that uses an address without being `own`.
    pub fn stranger_at(&self, address: Ipv4Addr, own: Option<MacAddress>) -> Option<MacAddress> {
        self.probing.stranger_at(address, own)
    }

    /// Makes what was held back for too long available again.
    pub fn settle(&mut self, now: Timestamp) {
        while let Some(address) = self.leases.lapse(now) {
            self.give_back(address);
        }
        while let Some(address) = self.probing.rested(now) {
            self.give_back(address);
        }
    }

    /// An address of the network's pool, and holds it back for the client: the one that it has or had
    /// last, else the one that was offered, else the one that it wishes, else the next.
    pub fn offer(
        &mut self,
        holder: &Holder,
        network: Subnet,
        wish: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Result<Pick, NoAddress> {
        let own = station(holder);
        let available = |address: &Ipv4Addr| {
            network.pool_contains(*address)
                && !self.reserved.contains(address)
                && self.leases.is_free_for(holder, *address, now)
                && self.probing.stranger_at(*address, own).is_none()
        };
        let former = self
            .leases
            .of(holder)
            .filter(|lease| available(&lease.address))
            .max_by_key(|lease| lease.expires)
            .map(|lease| lease.address);
        let own_address = former
            .or_else(|| self.leases.offered_to(holder).filter(available))
            .or_else(|| wish.filter(available));
        let address = match own_address {
            Some(address) => address,
            None => self.next(network, now)?,
        };
        Ok(self.hold(holder, address, true, now))
    }

    /// Holds an address back for a client; with `probe`, also a declared machine's is asked for.
    pub fn hold(
        &mut self,
        holder: &Holder,
        address: Ipv4Addr,
        probe: bool,
        now: Timestamp,
    ) -> Pick {
        if self.leases.offered_to(holder) != Some(address) {
            self.withdraw(holder);
        }
        self.leases.offer(holder.clone(), address, now);
        let is_known = self.leases.holds(holder, address, now);
        let (ready, probe) = match probe && self.is_local(address) && !is_known {
            true => self.probing.ready(address, now),
            false => (now, false),
        };
        Pick {
            address,
            ready,
            probe,
        }
    }

    fn next(&mut self, network: Subnet, now: Timestamp) -> Result<Ipv4Addr, NoAddress> {
        let index = self.networks.iter().position(|own| *own == network);
        let pool = index.and_then(|index| self.pools.get_mut(index)?.as_mut());
        let pool = pool.ok_or(NoAddress::NoPool(network))?;
        let (leases, reserved, probing) = (&self.leases, &self.reserved, &mut self.probing);
        let free = |address, probing: &Probing| {
            !reserved.contains(&address)
                && leases.is_free(address, now)
                && probing.stranger_at(address, None).is_none()
        };
        if index == Some(0) {
            self.taken += 1;
            while let Some(address) = probing.take() {
                if free(address, probing) {
                    return Ok(address);
                }
            }
        }
        let address = pool.take(now, |address| free(address, probing));
        Ok(address.ok_or_else(|| pool.exhausted())?)
    }

    /// Forgets what a client was offered.
    pub fn withdraw(&mut self, holder: &Holder) {
        if let Some(address) = self.leases.withdraw(holder) {
            self.give_back(address);
        }
    }

    /// Takes over a lease.
    pub fn lease(&mut self, lease: Lease) {
        let (address, expires) = (lease.address, lease.expires);
        let former = self.leases.last(address);
        if let Some(pool) = pool_of(&mut self.pools, address) {
            pool.leased(address, former, expires);
        }
        self.probing.forget(address);
        self.leases.insert(lease);
    }

    /// Notes that a station was heard to use an address; whether that is news. The address is not
    /// offered to anybody else for some time.
    pub fn heard(&mut self, address: Ipv4Addr, mac: MacAddress, now: Timestamp) -> bool {
        self.probing.forget(address);
        self.probing.heard(address, mac, now)
    }

    /// Whether a station's use of an address of the provisioning network is one that nobody gave it:
    /// an address of the pool or of a declared machine that it does not hold.
    pub fn judge(&self, address: Ipv4Addr, mac: MacAddress, now: Timestamp) -> Option<Use> {
        let holder = Holder::Station(mac);
        let declared = self.declared.get(&address).copied();
        let pool = self.pools.first().and_then(Option::as_ref);
        let in_pool = pool.is_some_and(|pool| pool.contains(address)) && !self.is_reserved(address);
        let is_its_own = self.leases.holds(&holder, address, now)
            || self.leases.offered_to(&holder) == Some(address);
        if is_its_own || !(in_pool || declared.is_some()) {
            return None;
        }
        let lease = self.leases.at(address, now);
        let belongs = match lease.and_then(Lease::holder) {
            Some(holder) => format!("and its lease is {holder}'s"),
            None if in_pool => "which was not given it; it is not offered to others".to_owned(),
            None => {
                "and cluster.yaml gives it to a machine that this is not known to be".to_owned()
            }
        };
        Some(Use {
            former_holder: self.leases.was_held_by(&holder, address),
            declared,
            machine: lease.and_then(|lease| lease.machine.clone()),
            belongs,
        })
    }

    /// The addresses that are to be asked for ahead now.
    pub fn lay_in(&mut self, now: Timestamp) -> Vec<Ipv4Addr> {
        let mut asked = Vec::new();
        if now < self.next_batch {
            return asked;
        }
        let batch = (BATCH + 2 * std::mem::take(&mut self.taken)).min(LARGEST_BATCH);
        while asked.len() < batch
            && let Some(address) = self.next_to_ask(now)
        {
            self.probing.lay_in(address, now);
            asked.push(address);
        }
        let pause = if asked.len() < batch {
            LOOK_EVERY
        } else {
            BATCH_EVERY
        };
        self.next_batch = now.saturating_add(pause);
        asked
    }

    fn next_to_ask(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        let pool = self.pools.first_mut()?.as_mut()?;
        let (leases, reserved, probing) = (&self.leases, &self.reserved, &mut self.probing);
        let free = |address, probing: &Probing| {
            !reserved.contains(&address)
                && leases.is_free(address, now)
                && probing.stranger_at(address, None).is_none()
        };
        while let Some(address) = probing.take_stale(now) {
            if free(address, probing) {
                return Some(address);
            }
        }
        if probing.stock() >= STOCK {
            return None;
        }
        pool.take(now, |address| free(address, probing))
    }

    /// When [`Self::lay_in`] is due; `None` where there is nothing to ask for.
    pub fn next_batch(&self) -> Option<Timestamp> {
        self.pools.first()?.as_ref().map(|_| self.next_batch)
    }

    /// Forgets every moment that was measured by a clock that has been set back since.
    pub fn restart_clock(&mut self, now: Timestamp) {
        self.next_batch = now;
        while let Some(address) = self.leases.lapse(Timestamp::MAX) {
            self.give_back(address);
        }
        while let Some(address) = self.probing.rested(Timestamp::MAX) {
            self.give_back(address);
        }
        while let Some(address) = self.probing.take() {
            self.give_back(address);
        }
    }

    fn give_back(&mut self, address: Ipv4Addr) {
        self.probing.forget(address);
        if let Some(pool) = pool_of(&mut self.pools, address) {
            pool.give_back(address, self.leases.last(address));
        }
    }

    fn is_local(&self, address: Ipv4Addr) -> bool {
        let own = self.networks.first();
        own.is_some_and(|network| network.contains(address))
    }
}

fn pool_of(pools: &mut [Option<Pool>], address: Ipv4Addr) -> Option<&mut Pool> {
    pools
        .iter_mut()
        .flatten()
        .find(|pool| pool.contains(address))
}

/// The Ethernet address of a client that has one.
pub fn station(holder: &Holder) -> Option<MacAddress> {
    match holder {
        Holder::Station(mac) => Some(*mac),
        Holder::Identified(_) => None,
    }
}
