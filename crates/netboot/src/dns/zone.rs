//! The cluster's names and the reverse names of its networks.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use hardway_model::cluster::{Cluster, Subnet};
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;
use hickory_proto::rr::rdata::{A, NS, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record};

use super::host_name;

/// The appliance's host name in the zone.
pub const APPLIANCE: &str = "hardway";
/// Seconds that an answer may be kept.
const TTL: u32 = 60;
/// Seconds that "there is no such name" may be kept: a machine may be declared at any moment.
const NEGATIVE_TTL: u32 = 10;
/// The end of what has none.
const FOR_EVER: Timestamp = Timestamp::MAX;

/// The names of one cluster, as of one moment. Building it takes a pass over machines and leases, so
/// it is kept until one of them changes; leases that end meanwhile are left out of its answers.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name,
    appliance: Name,
    serial: u32,
    /// By name. A name without hosts stands between others and the origin (RFC 8020).
    hosts: HashMap<Name, Vec<Host>>,
    addresses: BTreeMap<Ipv4Addr, (Name, Timestamp)>,
    networks: Vec<Subnet>,
}

#[derive(Debug, Clone, Copy)]
struct Host {
    address: Ipv4Addr,
    until: Timestamp,
}

/// An address that a client holds by DHCP.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The address.
    pub address: Ipv4Addr,
    /// Who holds it, where it is told apart by that.
    pub mac: Option<MacAddress>,
    /// The declared machine that it belongs to.
    pub machine: Option<&'a str>,
    /// What the client calls itself (option 12).
    pub host_name: Option<&'a str>,
    /// Until when, in milliseconds since 1970-01-01 UTC.
    pub until: Timestamp,
}

/// A name of the cluster that DNS cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be a name in DNS: {reason}")]
pub struct InvalidName {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Zone {
    /// The zone of a cluster whose clients hold `held`, made at `now`, which becomes its serial number.
    ///
    /// Declared names win over those that clients give themselves; of clients that give the same name
    /// the one with the lowest address has it. Every client has its hyphenated hardware address for a
    /// name, too, as in the API and the log.
    ///
    /// # Errors
    /// The domain or a declared machine has a name that is too long for DNS.
    pub fn of<'a>(
        cluster: &Cluster,
        held: impl IntoIterator<Item = Held<'a>>,
        now: Timestamp,
    ) -> Result<Self, InvalidName> {
        let origin = name(&cluster.domain, &Name::root())?;
        let appliance = name(APPLIANCE, &origin)?;
        let mut zone = Self {
            // Wraps as serial numbers do (RFC 1982).
            serial: (now / 1000) as u32,
            hosts: HashMap::from([(origin.clone(), Vec::new())]),
            addresses: BTreeMap::new(),
            networks: cluster.network.networks().collect(),
            appliance: appliance.clone(),
            origin,
        };
        zone.add(appliance, cluster.network.address, FOR_EVER);
        for machine in &cluster.machines {
            let own = name(&machine.name, &zone.origin)?;
            match machine.address {
                Some(address) => zone.add(own, address, FOR_EVER),
                // Nobody else may take the name.
                None => drop(zone.hosts.entry(own).or_default()),
            }
        }
        zone.add_held(cluster, held.into_iter().collect());
        Ok(zone)
    }

    fn add_held(&mut self, cluster: &Cluster, mut held: Vec<Held<'_>>) {
        held.sort_by_key(|held| held.address);
        let is_served =
            |held: &Held<'_>| self.networks.iter().any(|net| net.contains(held.address));
        held.retain(|held| is_served(held) && !self.addresses.contains_key(&held.address));
        // Every hardware address has its name before anybody can call himself by another's.
        for held in &held {
            let own = held.mac.map(|mac| name(&mac.hyphenated(), &self.origin));
            if let Some(Ok(own)) = own {
                self.add(own, held.address, held.until);
            }
        }
        for held in held {
            let without_address = held
                .machine
                .and_then(|name| cluster.machine(name))
                .filter(|machine| machine.address.is_none());
            let label = match without_address {
                Some(machine) => Some(machine.name.clone()),
                None => held
                    .host_name
                    .and_then(|given| host_name::label(given, held.mac)),
            };
            let Some(Ok(own)) = label.map(|label| name(&label, &self.origin)) else {
                continue;
            };
            if without_address.is_some() || !self.hosts.contains_key(&own) {
                self.addresses.remove(&held.address);
                self.add(own, held.address, held.until);
            }
        }
    }

    fn add(&mut self, own: Name, address: Ipv4Addr, until: Timestamp) {
        let mut above = own.base_name();
        while self.origin.zone_of(&above) && above != self.origin {
            self.hosts.entry(above.clone()).or_default();
            above = above.base_name();
        }
        let host = Host { address, until };
        self.hosts.entry(own.clone()).or_default().push(host);
        self.addresses.entry(address).or_insert((own, until));
    }

    /// What stands under a name; `None` for names of others.
    pub(super) fn look_up(&self, asked: &Name, now: Timestamp) -> Option<Found> {
        if self.origin.zone_of(asked) {
            return Some(self.look_up_forward(asked, now));
        }
        self.look_up_reverse(asked, now)
    }

    fn look_up_forward(&self, asked: &Name, now: Timestamp) -> Found {
        let apex = self.apex(&self.origin);
        let hosts = self.hosts.get(asked);
        let live = hosts.into_iter().flatten().filter(|host| host.until > now);
        let mut records: Vec<Record> = live
            .map(|host| record(asked, ttl(host.until, now), RData::A(A(host.address))))
            .collect();
        if *asked == self.origin {
            records.extend(apex.iter().cloned());
        }
        let exists = !records.is_empty() || hosts.is_some_and(Vec::is_empty);
        Found {
            apex,
            records,
            exists,
        }
    }

    /// Reverse zones are cut at octets: a network's zones are those of the next octet from its prefix
    /// on, and those of /24 where it is smaller. `0.77.10.in-addr.arpa` is the one of 10.77.0.0/24 as
    /// of 10.77.0.64/26, of which only the network's own names are answered.
    fn look_up_reverse(&self, asked: &Name, now: Timestamp) -> Option<Found> {
        let (octets, is_address) = reverse_octets(asked)?;
        let network = |net: &&Subnet| is_reverse_name_of(&octets, net);
        let depth = cut(self.networks.iter().find(network)?);
        // Labels below an address, and what is no number, are names of the zone that do not exist.
        let apex_name = asked.trim_to(depth + 2);
        let apex = self.apex(&apex_name);
        let mut records = Vec::new();
        let mut exists = false;
        if is_address && octets.len() == depth {
            records.extend(apex.iter().cloned());
        } else if let (true, &[a, b, c, d]) = (is_address, octets.as_slice()) {
            let held = self.addresses.get(&Ipv4Addr::new(a, b, c, d));
            let live = held.filter(|(_, until)| *until > now);
            let pointer = |(host, until): &(Name, Timestamp)| {
                record(asked, ttl(*until, now), RData::PTR(PTR(host.clone())))
            };
            records.extend(live.map(pointer));
        } else if is_address {
            exists = self.has_address_below(&octets, now);
        }
        exists |= !records.is_empty();
        Some(Found {
            apex,
            records,
            exists,
        })
    }

    fn has_address_below(&self, octets: &[u8], now: Timestamp) -> bool {
        let end = |fill: u8| {
            let mut all = [fill; 4];
            all[..octets.len()].copy_from_slice(octets);
            Ipv4Addr::from(all)
        };
        let mut below = self.addresses.range(end(0)..=end(255));
        below.any(|(_, (_, until))| *until > now)
    }

    /// SOA and NS of a zone.
    fn apex(&self, zone: &Name) -> [Record; 2] {
        let contact =
            Name::from_ascii("hostmaster").and_then(|name| name.append_domain(&self.origin));
        let soa = SOA::new(
            self.appliance.clone(),
            contact.unwrap_or_else(|_| self.origin.clone()),
            self.serial,
            3600,
            600,
            86_400,
            NEGATIVE_TTL,
        );
        [
            record(zone, TTL, RData::SOA(soa)),
            record(zone, TTL, RData::NS(NS(self.appliance.clone()))),
        ]
    }
}

/// What stands under a name.
pub(super) struct Found {
    /// SOA and NS of the zone that it belongs to.
    pub apex: [Record; 2],
    /// Its records.
    pub records: Vec<Record>,
    /// Whether it exists at all: without records, because of names below it.
    pub exists: bool,
}

/// How many octets the names of a network's reverse zones have.
fn cut(network: &Subnet) -> usize {
    usize::from(network.prefix.div_ceil(8)).clamp(1, 3)
}

/// Whether a name, of which `octets` are the first ones, lies in the reverse zones of a network.
fn is_reverse_name_of(octets: &[u8], network: &Subnet) -> bool {
    let depth = cut(network);
    if octets.len() < depth {
        return false;
    }
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(octets);
    let is_below = octets.len() * 8 >= usize::from(network.prefix);
    match is_below {
        true => network.contains(Ipv4Addr::from(address)),
        false => network.network.octets()[..octets.len()] == *octets,
    }
}

/// The octets that a name below `in-addr.arpa` stands for, the most significant first, and whether
/// that is all of it: labels that are no octets, and further ones, are left out.
fn reverse_octets(name: &Name) -> Option<(Vec<u8>, bool)> {
    let labels: Vec<&[u8]> = name.iter().collect();
    let [numbers @ .., in_addr, arpa] = labels.as_slice() else {
        return None;
    };
    if !in_addr.eq_ignore_ascii_case(b"in-addr") || !arpa.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    // As the names are written: without leading zeros.
    let octet = |label: &&[u8]| {
        let value = std::str::from_utf8(label).ok()?.parse::<u8>().ok()?;
        (value.to_string().as_bytes() == *label).then_some(value)
    };
    let octets: Vec<u8> = numbers.iter().rev().take(4).map_while(octet).collect();
    let is_all = octets.len() == numbers.len();
    Some((octets, is_all))
}

fn record(name: &Name, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name.clone(), ttl, data)
}

/// No longer than the lease.
fn ttl(until: Timestamp, now: Timestamp) -> u32 {
    let left = until.saturating_sub(now) / 1000;
    u32::try_from(left).unwrap_or(TTL).min(TTL)
}

fn name(text: &str, origin: &Name) -> Result<Name, InvalidName> {
    let invalid = |reason: String| InvalidName {
        name: text.to_owned(),
        reason,
    };
    let relative =
        Name::from_ascii(text.trim_end_matches('.')).map_err(|error| invalid(error.to_string()))?;
    relative
        .append_domain(origin)
        .map_err(|error| invalid(error.to_string()))
}
