//! The cluster's names (RFC 1034, RFC 1035): authoritative for the cluster's domain and for the
//! reverse names of its networks. Every other question is forwarded or refused.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `zone` | the names: declared machines, clients with a lease, the appliance as [`APPLIANCE`] |
//! | `host_name` | what clients may call themselves |
//! | [`forward`] | a question of others on its way to an upstream server, and its answer back |
//! | [`cache`] | answers of upstream servers, for as long as they last |
//! | `wire` | a message's parts by their place, for what is passed on as it is |

use hardway_model::lifecycle::Timestamp;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};

use self::forward::Question;
use self::zone::Found;
pub use self::zone::{APPLIANCE, Held, InvalidName, Zone};

pub mod cache;
pub mod forward;
mod host_name;
#[cfg(test)]
mod tests;
mod wire;
mod zone;

/// The largest answer by UDP that is not in danger of fragmentation (DNS flag day 2020).
const LARGEST_UDP: u16 = 1232;
/// The largest answer by UDP without EDNS (RFC 1035 section 2.3.4).
const PLAIN_UDP: u16 = 512;
const HEADER: usize = 12;

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
    /// It is not about this cluster: ask an upstream server.
    Forward(Question),
    /// It is no question.
    Silence,
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
    let id = u16::from_be_bytes([header[0], header[1]]);
    let Ok(message) = Message::from_vec(query) else {
        return malformed(id);
    };
    let limit = match (transport, &message.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, LARGEST_UDP),
    };
    let mut response = empty_response(&message, forwards);
    match fill(&mut response, &message, zone, forwards, now) {
        Decision::Answer => encode(response, limit),
        Decision::Forward => match Question::of(query, &message, limit) {
            Some(question) => Reply::Forward(question),
            None => malformed(id),
        },
    }
}

fn malformed(id: u16) -> Reply {
    let error = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    encode(error, PLAIN_UDP)
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
    let wanted = |record: &Record| {
        question.query_type == RecordType::ANY || question.query_type == record.record_type()
    };
    response.answers = found.records.into_iter().filter(wanted).collect();
    let [soa, _] = found.apex;
    if response.answers.is_empty() {
        // RFC 2308: with the SOA, resolvers may keep the negative answer.
        response.authorities.push(soa);
    }
    match found.exists {
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
