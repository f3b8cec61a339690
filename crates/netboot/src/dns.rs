//! The cluster's zone (RFC 1034, RFC 1035): authoritative for the cluster's domain and for the
//! reverse names of its network. Every other question is forwarded or refused.
//!
//! Names in the zone are the declared machines that have an address, and the appliance itself as
//! [`APPLIANCE`].

use std::net::Ipv4Addr;

use hardway_model::cluster::{Cluster, Network};
use hardway_model::lifecycle::Timestamp;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// The appliance's host name in the zone.
pub const APPLIANCE: &str = "hardway";
/// Seconds that an answer may be kept.
const TTL: u32 = 60;
/// Seconds that "there is no such name" may be kept: a machine may be declared at any moment.
const NEGATIVE_TTL: u32 = 10;
/// The largest answer by UDP that is not in danger of fragmentation (DNS flag day 2020).
const LARGEST_UDP: u16 = 1232;
/// The largest answer by UDP without EDNS (RFC 1035 section 2.3.4).
const PLAIN_UDP: u16 = 512;
const HEADER: usize = 12;

#[cfg(test)]
mod tests;

/// The names of one cluster.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name,
    appliance: Name,
    hosts: Vec<(Name, Ipv4Addr)>,
    network: Network,
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

/// How the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// What does not fit into a datagram is truncated.
    Udp,
    /// Answers may be long.
    Tcp,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Send this.
    Answer(Vec<u8>),
    /// It is not about this cluster: hand it to an upstream server, and its answer back.
    Forward,
    /// It is no question.
    Silence,
}

impl Zone {
    /// The zone of a cluster.
    pub fn of(cluster: &Cluster) -> Result<Self, InvalidName> {
        let origin = name(&cluster.domain, &Name::root())?;
        let mut hosts = Vec::new();
        for machine in &cluster.machines {
            if let Some(address) = machine.address {
                hosts.push((name(&machine.name, &origin)?, address));
            }
        }
        let appliance = name(APPLIANCE, &origin)?;
        hosts.push((appliance.clone(), cluster.network.address));
        Ok(Self {
            origin,
            appliance,
            hosts,
            network: cluster.network.clone(),
        })
    }

    /// The records of a name, and the zone that it belongs to; `None` for names of others.
    fn look_up(&self, asked: &Name, now: Timestamp) -> Option<Found> {
        if self.origin.zone_of(asked) {
            return Some(self.look_up_forward(asked, now));
        }
        self.look_up_reverse(asked, now)
    }

    fn look_up_forward(&self, asked: &Name, now: Timestamp) -> Found {
        let apex = self.apex(&self.origin, now);
        let hosts = self.hosts.iter().filter(|(host, _)| host == asked);
        let mut records: Vec<Record> = hosts
            .map(|(host, address)| record(host, RData::A(A(*address))))
            .collect();
        if *asked == self.origin {
            records.extend(apex.iter().cloned());
        }
        Found { apex, records }
    }

    /// Reverse zones are cut at /24: `0.77.10.in-addr.arpa`.
    fn look_up_reverse(&self, asked: &Name, now: Timestamp) -> Option<Found> {
        let octets = reverse_octets(asked)?;
        let (base, host) = match octets.as_slice() {
            [a, b, c] => ([*a, *b, *c], None),
            [a, b, c, d] => ([*a, *b, *c], Some(*d)),
            _ => return None,
        };
        let [a, b, c] = base;
        let address = |last| Ipv4Addr::new(a, b, c, last);
        let is_ours = match host {
            Some(last) => self.network.contains(address(last)),
            None => {
                let own = self.network.network_address();
                self.network.contains(address(0)) || own.octets()[..3] == base
            }
        };
        if !is_ours {
            return None;
        }
        let apex_name = match host {
            Some(_) => asked.base_name(),
            None => asked.clone(),
        };
        let apex = self.apex(&apex_name, now);
        let records = match host {
            None => apex.to_vec(),
            Some(last) => self
                .hosts
                .iter()
                .filter(|(_, own)| *own == address(last))
                .map(|(host, _)| record(asked, RData::PTR(PTR(host.clone()))))
                .collect(),
        };
        Some(Found { apex, records })
    }

    /// SOA and NS of a zone.
    fn apex(&self, zone: &Name, now: Timestamp) -> [Record; 2] {
        let contact =
            Name::from_ascii("hostmaster").and_then(|name| name.append_domain(&self.origin));
        let soa = SOA::new(
            self.appliance.clone(),
            contact.unwrap_or_else(|_| self.origin.clone()),
            // Wraps as serial numbers do (RFC 1982).
            (now / 1000) as u32,
            3600,
            600,
            86_400,
            NEGATIVE_TTL,
        );
        [
            record(zone, RData::SOA(soa)),
            record(zone, RData::NS(NS(self.appliance.clone()))),
        ]
    }
}

/// What stands under a name. Without records the name does not exist: the zone has no empty ones.
struct Found {
    apex: [Record; 2],
    records: Vec<Record>,
}

/// Answers `query`, a DNS message without TCP's length prefix. `forwards` says whether there is an
/// upstream server.
pub fn respond(
    query: &[u8],
    zone: &Zone,
    forwards: bool,
    transport: Transport,
    now: Timestamp,
) -> Reply {
    let Some(header) = query.first_chunk::<HEADER>() else {
        return Reply::Silence;
    };
    if header[2] & 0x80 != 0 {
        // A response, which must never be answered.
        return Reply::Silence;
    }
    let Ok(query) = Message::from_vec(query) else {
        let id = u16::from_be_bytes([header[0], header[1]]);
        let error = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        return encode(error, PLAIN_UDP);
    };
    let limit = match (transport, &query.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, LARGEST_UDP),
    };
    let mut response = empty_response(&query, forwards);
    match fill(&mut response, &query, zone, forwards, now) {
        Decision::Forward => Reply::Forward,
        Decision::Answer => encode(response, limit),
    }
}

enum Decision {
    Answer,
    Forward,
}

fn fill(
    response: &mut Message,
    query: &Message,
    zone: &Zone,
    forwards: bool,
    now: Timestamp,
) -> Decision {
    let code = match check(query) {
        Err(code) => code,
        Ok(question) => match zone.look_up(&question.name, now) {
            Some(found) => answer(response, question, found),
            None if forwards && query.metadata.recursion_desired => return Decision::Forward,
            None => ResponseCode::Refused,
        },
    };
    response.metadata.response_code = code;
    Decision::Answer
}

/// The one question of a message that is one.
fn check(query: &Message) -> Result<&Query, ResponseCode> {
    if query.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Err(ResponseCode::BADVERS);
    }
    let [question] = query.queries.as_slice() else {
        return Err(ResponseCode::FormErr);
    };
    let is_transfer = matches!(question.query_type, RecordType::AXFR | RecordType::IXFR);
    let is_internet = matches!(question.query_class, DNSClass::IN | DNSClass::ANY);
    match is_internet && !is_transfer {
        true => Ok(question),
        false => Err(ResponseCode::Refused),
    }
}

fn answer(response: &mut Message, question: &Query, found: Found) -> ResponseCode {
    response.metadata.authoritative = true;
    let exists = !found.records.is_empty();
    let wanted = |record: &Record| {
        question.query_type == RecordType::ANY || question.query_type == record.record_type()
    };
    response.answers = found.records.into_iter().filter(wanted).collect();
    let [soa, _] = found.apex;
    if response.answers.is_empty() {
        // RFC 2308: with the SOA, resolvers may keep the negative answer.
        response.authorities.push(soa);
    }
    match exists {
        true => ResponseCode::NoError,
        false => ResponseCode::NXDomain,
    }
}

fn empty_response(query: &Message, forwards: bool) -> Message {
    let mut response = Message::new(
        query.metadata.id,
        MessageType::Response,
        query.metadata.op_code,
    );
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = forwards;
    response.queries = query.queries.clone();
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP);
        response.edns = Some(edns);
    }
    response
}

fn encode(response: Message, limit: u16) -> Reply {
    let Ok(bytes) = response.to_vec() else {
        return Reply::Silence;
    };
    if bytes.len() <= usize::from(limit) {
        return Reply::Answer(bytes);
    }
    match response.truncate().to_vec() {
        Ok(bytes) => Reply::Answer(bytes),
        Err(_) => Reply::Silence,
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
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

/// The octets that a name below `in-addr.arpa` stands for, the most significant first.
fn reverse_octets(name: &Name) -> Option<Vec<u8>> {
    let labels: Vec<&[u8]> = name.iter().collect();
    let [numbers @ .., in_addr, arpa] = labels.as_slice() else {
        return None;
    };
    if !in_addr.eq_ignore_ascii_case(b"in-addr") || !arpa.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let octet = |label: &&[u8]| std::str::from_utf8(label).ok()?.parse::<u8>().ok();
    numbers.iter().rev().map(octet).collect()
}
