//! A message's parts by their place (RFC 1035 section 4.1), for messages that are passed on as they
//! are: what is not understood must not be changed by being read and written again.

use super::HEADER;

/// A record's fixed part after its name: type, class, TTL, length of its data.
const FIXED: usize = 10;
/// The pseudo record of EDNS (RFC 6891).
const OPT: u16 = 41;

/// The places of a message's records.
pub struct Layout {
    /// Where the question section ends.
    pub question_end: usize,
    /// Every record but EDNS' own, in order.
    pub records: Vec<Place>,
    /// Where the message ends when the pseudo record of EDNS, and what follows it, is left out.
    pub end: usize,
    /// Records in answer, authority and additional section, up to `end`.
    pub counts: [u16; 3],
    /// The upper eight bits of the response code (RFC 6891 section 6.1.3).
    pub extended_code: u8,
}

/// Where a record is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// In which section: 0 answer, 1 authority, 2 additional.
    pub section: usize,
    /// Its type.
    pub kind: u16,
    /// Where its TTL stands.
    pub ttl: usize,
    /// Where its data ends.
    pub end: usize,
    /// How long its data is.
    pub length: usize,
}

impl Layout {
    /// Finds every part of a message with one question; `None` where there is another number of them,
    /// or a part is cut off.
    pub fn of(message: &[u8]) -> Option<Self> {
        if number(message, 4)? != 1 {
            return None;
        }
        let question_end = question_end(message)?;
        let mut layout = Self {
            question_end,
            records: Vec::new(),
            end: question_end,
            counts: [0; 3],
            extended_code: 0,
        };
        let mut at = question_end;
        for section in 0..3 {
            for _ in 0..number(message, 6 + 2 * section)? {
                let fixed = skip_name(message, at)?;
                let length = usize::from(number(message, fixed + 8)?);
                let end = fixed + FIXED + length;
                message.get(fixed..end)?;
                let kind = number(message, fixed)?;
                if kind == OPT {
                    // It stands last (or what follows is additional, and can be done without: names
                    // there may point into it).
                    layout.extended_code = message[fixed + 4];
                    return (section == 2).then_some(layout);
                }
                layout.records.push(Place {
                    section,
                    kind,
                    ttl: fixed + 4,
                    end,
                    length,
                });
                layout.counts[section] += 1;
                layout.end = end;
                at = end;
            }
        }
        Some(layout)
    }
}

/// Where the one question of a message ends. Its name has to be written out: there is nothing before
/// it that it could point to.
pub fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    let end = at + 1 + 4;
    // A name is at most 255 bytes long (RFC 1035 section 2.3.4).
    (at + 1 - HEADER <= 255 && message.len() >= end).then_some(end)
}

/// Where a name ends that may end in a pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The 16-bit number at a place.
pub fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The 32-bit number at a place.
pub fn long_number(message: &[u8], at: usize) -> Option<u32> {
    let high = number(message, at)?;
    let low = number(message, at.checked_add(2)?)?;
    Some(u32::from(high) << 16 | u32::from(low))
}
