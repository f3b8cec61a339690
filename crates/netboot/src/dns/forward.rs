//! Questions of others on their way to an upstream server, and the answers on their way back.
//!
//! An answer is passed on byte for byte but for what belongs to the hop: id, flags, EDNS, the case of
//! the question, the age of its TTLs. What speaks against forged answers (RFC 5452): the question goes
//! out under an id of its own, from a port of its own (the socket's part), with letters in random case
//! (draft-vixie-dnsext-dns0x20), and only an answer that repeats all of it is one.

use hickory_proto::op::Message;

use super::wire::{self, Layout, number};
use super::{HEADER, LARGEST_UDP};

const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const CHECKING_DISABLED: u8 = 0x10;
const DNSSEC_OK: u8 = 0x80;
const NAME_ERROR: u8 = 3;
const SERVER_FAILURE: u8 = 2;
const SOA: u16 = 6;
const ANY: u16 = 255;
/// The longest that an answer is kept, in seconds.
const LONGEST: u32 = 86_400;
/// The longest that "there is no such name" is kept, in seconds (RFC 2308 section 5: hours at most).
const LONGEST_NEGATIVE: u32 = 3600;
/// How long a failure is kept, in seconds (RFC 9520 section 3.2: at least one, at most 300).
pub const FAILURE: u32 = 5;

/// A client's question that is not about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: u16,
    /// Name, type and class as the client wrote them.
    section: Vec<u8>,
    checking_disabled: bool,
    dnssec_ok: bool,
    edns: bool,
    limit: u16,
}

/// What answers to questions are kept by: the question without regard to case, and the flags that
/// change an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

/// Random bits for one question.
#[derive(Debug, Clone, Copy)]
pub struct Entropy {
    /// The message's id.
    pub id: u16,
    /// One bit for each byte of the name.
    pub case: [u8; 32],
}

/// A question as it is asked upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The message.
    pub bytes: Vec<u8>,
    question_end: usize,
}

/// What a message that came back is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answer.
    Answer(Answer),
    /// The answer, perhaps: it is too long for a datagram, or its name is in another case. Ask again
    /// by TCP, where nobody else can answer.
    AskByTcp,
    /// The server cannot or will not say. Another may.
    Refused,
    /// Something else, perhaps forged: go on waiting.
    Foreign,
}

/// An upstream server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Up to where EDNS' pseudo record begins.
    message: Vec<u8>,
    question_end: usize,
    /// Where the TTLs stand.
    ttls: Vec<usize>,
    lifetime: u32,
}

impl Question {
    /// The question of `query`, whose parsed form is `message`. `None` for a name that is not written
    /// out.
    pub(super) fn of(query: &[u8], message: &Message, limit: u16) -> Option<Self> {
        let end = wire::question_end(query)?;
        let edns = message.edns.as_ref();
        Some(Self {
            id: message.metadata.id,
            section: query[HEADER..end].to_vec(),
            checking_disabled: message.metadata.checking_disabled,
            dnssec_ok: edns.is_some_and(|edns| edns.flags().dnssec_ok),
            edns: edns.is_some(),
            limit,
        })
    }

    /// What its answer is kept by.
    pub fn key(&self) -> Key {
        let (name, rest) = self.section.split_at(self.section.len() - 4);
        // Lengths of labels are below 64, and letters are not.
        let mut key = name.to_ascii_lowercase();
        key.extend_from_slice(rest);
        key.push(u8::from(self.checking_disabled) | u8::from(self.dnssec_ok) << 1);
        Key(key)
    }

    /// The question as it is asked upstream.
    pub fn ask(&self, entropy: Entropy) -> Asked {
        let mut bytes = header(entropy.id, 0, 0);
        bytes[2] = RECURSION_DESIRED;
        if self.checking_disabled {
            bytes[3] = CHECKING_DISABLED;
        }
        let (name, rest) = self.section.split_at(self.section.len() - 4);
        bytes.extend(name.iter().enumerate().map(|(index, byte)| {
            let is_flipped = entropy.case[index / 8 % 32] >> (index % 8) & 1 == 1;
            match is_flipped && byte.is_ascii_alphabetic() {
                true => byte ^ 0x20,
                false => *byte,
            }
        }));
        bytes.extend_from_slice(rest);
        let question_end = bytes.len();
        push_edns(&mut bytes, self.dnssec_ok);
        Asked {
            bytes,
            question_end,
        }
    }

    /// The client is told that no upstream server could say.
    pub fn failure(&self) -> Vec<u8> {
        let mut bytes = header(self.id, RESPONSE | RECURSION_DESIRED, RECURSION_AVAILABLE);
        bytes[3] |= SERVER_FAILURE;
        bytes.extend_from_slice(&self.section);
        self.finish(bytes)
    }

    fn finish(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.edns {
            push_edns(&mut bytes, self.dnssec_ok);
        }
        bytes
    }
}

impl Asked {
    /// What `received` is, which came from the server that was asked.
    pub fn judge(&self, received: &[u8]) -> Verdict {
        let is_answer = received.len() >= HEADER
            && received[..2] == self.bytes[..2]
            && received[2] & (RESPONSE | 0x78) == RESPONSE;
        if !is_answer {
            return Verdict::Foreign;
        }
        let code = received[3] & 0x0f;
        let sent = &self.bytes[HEADER..self.question_end];
        let Some(repeated) = received.get(HEADER..self.question_end) else {
            return Verdict::Foreign;
        };
        if repeated != sent {
            let is_same_name = repeated.eq_ignore_ascii_case(sent);
            return match is_same_name {
                true => Verdict::AskByTcp,
                false => Verdict::Foreign,
            };
        }
        if received[2] & TRUNCATED != 0 {
            return Verdict::AskByTcp;
        }
        match Layout::of(received) {
            None => Verdict::Refused,
            Some(layout) if layout.extended_code != 0 => Verdict::Refused,
            Some(_) if code != 0 && code != NAME_ERROR => Verdict::Refused,
            Some(layout) => Verdict::Answer(Answer::of(received, &layout)),
        }
    }

    /// As [`Asked::judge`], for what came by TCP: there nobody else can have answered, the case of the
    /// name says nothing, and there is no further way to ask.
    pub fn judge_tcp(&self, received: &[u8]) -> Verdict {
        let mut received = received.to_vec();
        let sent = &self.bytes[HEADER..self.question_end];
        if let Some(repeated) = received.get_mut(HEADER..self.question_end)
            && repeated.eq_ignore_ascii_case(sent)
        {
            repeated.copy_from_slice(sent);
        }
        match self.judge(&received) {
            Verdict::AskByTcp | Verdict::Foreign => Verdict::Refused,
            verdict => verdict,
        }
    }
}

impl Answer {
    fn of(received: &[u8], layout: &Layout) -> Self {
        let mut message = received[..layout.end].to_vec();
        message[4..6].copy_from_slice(&1_u16.to_be_bytes());
        for (section, count) in layout.counts.iter().enumerate() {
            message[6 + 2 * section..][..2].copy_from_slice(&count.to_be_bytes());
        }
        Self {
            lifetime: lifetime(received, layout).unwrap_or(0),
            ttls: layout.records.iter().map(|record| record.ttl).collect(),
            question_end: layout.question_end,
            message,
        }
    }

    /// How long it may be kept, in seconds; 0 for not at all.
    pub fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// Its size in memory, in bytes.
    pub fn size(&self) -> usize {
        self.message.len() + self.ttls.len() * size_of::<usize>()
    }

    /// The message for a client that asked `question`, when the answer is `age` seconds old.
    pub fn message_for(&self, question: &Question, age: u32) -> Vec<u8> {
        let mut bytes = self.message.clone();
        bytes[..2].copy_from_slice(&question.id.to_be_bytes());
        bytes[2] = RESPONSE | RECURSION_DESIRED;
        // Whether it is authentic nobody here has looked.
        bytes[3] = RECURSION_AVAILABLE | bytes[3] & 0x0f;
        if question.checking_disabled {
            bytes[3] |= CHECKING_DISABLED;
        }
        if question.section.len() == self.question_end - HEADER {
            bytes[HEADER..self.question_end].copy_from_slice(&question.section);
        }
        for at in &self.ttls {
            let ttl = wire::long_number(&bytes, *at).map_or(0, whole_ttl);
            let left = ttl.saturating_sub(age);
            bytes[*at..at + 4].copy_from_slice(&left.to_be_bytes());
        }
        let bytes = question.finish(bytes);
        if bytes.len() <= usize::from(question.limit) {
            return bytes;
        }
        let mut short = bytes[..self.question_end].to_vec();
        short[2] |= TRUNCATED;
        short[6..HEADER].fill(0);
        question.finish(short)
    }
}

/// A positive answer lasts as long as the first of its records; "there is no such name" and "there is
/// nothing of that type" as long as the zone's SOA says (RFC 2308 section 5), and not at all without.
fn lifetime(message: &[u8], layout: &Layout) -> Option<u32> {
    let wanted = number(message, layout.question_end - 4)?;
    let in_section = |section| {
        let records = layout.records.iter();
        records.filter(move |record| record.section == section)
    };
    let ttl = |at| Some(whole_ttl(wire::long_number(message, at)?));
    let answers: Vec<u32> = in_section(0).filter_map(|record| ttl(record.ttl)).collect();
    let shortest = answers.iter().copied().min().unwrap_or(u32::MAX);
    let is_positive = in_section(0).any(|record| record.kind == wanted || wanted == ANY)
        && message[3] & 0x0f == 0;
    if is_positive {
        return Some(shortest.min(LONGEST));
    }
    let soa = in_section(1).find(|record| record.kind == SOA && record.length >= 22)?;
    let minimum = ttl(soa.end - 4)?;
    Some(
        shortest
            .min(ttl(soa.ttl)?)
            .min(minimum)
            .min(LONGEST_NEGATIVE),
    )
}

/// RFC 2181 section 8: with the highest bit set it is none.
fn whole_ttl(ttl: u32) -> u32 {
    match ttl >> 31 {
        0 => ttl,
        _ => 0,
    }
}

/// A header with one question and nothing else.
fn header(id: u16, first: u8, second: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![high, low, first, second, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// Adds the pseudo record of EDNS version 0 (RFC 6891 section 6.1.2) and counts it.
fn push_edns(bytes: &mut Vec<u8>, dnssec_ok: bool) {
    let [high, low] = LARGEST_UDP.to_be_bytes();
    let flags = if dnssec_ok { DNSSEC_OK } else { 0 };
    bytes.extend([0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]);
    let count = number(bytes, 10).map_or(1, |count| count.saturating_add(1));
    bytes[10..HEADER].copy_from_slice(&count.to_be_bytes());
}
