//! What a request gets of a file: RFC 9110 sections 13 (conditions) and 14 (ranges).

use std::ops::Range;

use super::date::{date, parse_date};

/// A request's method, as far as files know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// Any other.
    Other,
}

/// A file as its validators describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Bytes.
    pub size: u64,
    /// When it was last changed, in seconds since 1970.
    pub modified: Option<u64>,
    /// Its strong entity tag, with the quotes.
    pub etag: Option<String>,
    /// Its Content-Type.
    pub media_type: &'static str,
}

/// The header fields that decide what of a file is sent.
#[derive(Debug, Clone, Default)]
pub struct Conditions<'b> {
    range: Option<&'b [u8]>,
    if_range: Option<&'b [u8]>,
    if_match: Vec<&'b [u8]>,
    if_none_match: Vec<&'b [u8]>,
    if_modified_since: Option<&'b [u8]>,
    if_unmodified_since: Option<&'b [u8]>,
    is_repeated: bool,
}

impl<'b> Conditions<'b> {
    /// Takes a header field where it is one of those.
    pub fn add(&mut self, name: &str, value: &'b [u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("range") {
            self.is_repeated |= self.range.replace(value).is_some();
        } else if is("if-range") {
            self.is_repeated |= self.if_range.replace(value).is_some();
        } else if is("if-match") {
            self.if_match.push(value);
        } else if is("if-none-match") {
            self.if_none_match.push(value);
        } else if is("if-modified-since") {
            self.if_modified_since = Some(value);
        } else if is("if-unmodified-since") {
            self.if_unmodified_since = Some(value);
        }
    }

    /// Whether a range is asked for that does not begin with the first byte: a download that goes on.
    pub fn goes_on(&self) -> bool {
        match self.range.map(parse_range) {
            Some(Asked::From { first, .. }) => first > 0 && !self.is_repeated,
            Some(Asked::Last(_)) => !self.is_repeated,
            Some(Asked::Nothing) | None => false,
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200, 206, 304, 412 or 416.
    pub status: u16,
    /// Header fields, without Date and Connection.
    pub headers: Vec<(&'static str, String)>,
    /// Which bytes of the file follow; `None` for no content.
    pub content: Option<Range<u64>>,
}

/// Decides what a request gets of `resource`. Requests for several ranges get the whole, which RFC
/// 9110 section 14.2 allows; nothing that boots asks for several.
pub fn answer(method: Method, conditions: &Conditions<'_>, resource: &Resource) -> Reply {
    let size = resource.size;
    let with_content = |content: Range<u64>| (method == Method::Get).then_some(content);
    if let Some(status) = refused(conditions, resource) {
        return Reply {
            status,
            headers: validators(resource),
            content: None,
        };
    }
    match range(method, conditions, resource) {
        Selected::Whole => {
            let mut headers = described(resource);
            headers.push(("Content-Length", size.to_string()));
            Reply {
                status: 200,
                headers,
                content: with_content(0..size),
            }
        }
        Selected::Part(part) => {
            let mut headers = described(resource);
            let (first, last) = (part.start, part.end - 1);
            headers.push(("Content-Range", format!("bytes {first}-{last}/{size}")));
            headers.push(("Content-Length", (part.end - part.start).to_string()));
            Reply {
                status: 206,
                headers,
                content: with_content(part),
            }
        }
        Selected::Unsatisfiable => Reply {
            status: 416,
            headers: vec![
                ("Content-Range", format!("bytes */{size}")),
                ("Content-Length", "0".to_owned()),
            ],
            content: None,
        },
    }
}

impl Reply {
    /// The head as it is sent: status line, header fields, Date, Connection where it is closed, and
    /// the empty line. `now` is in seconds since 1970.
    pub fn encode(&self, keep_alive: Connection, now: u64) -> Vec<u8> {
        use std::io::Write as _;
        let mut head = Vec::with_capacity(320);
        // Writing to memory does not fail.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let connection = match keep_alive {
            Connection::Stays => "",
            Connection::StaysByRequest => "Connection: keep-alive\r\n",
            Connection::Ends => "Connection: close\r\n",
        };
        let _ = write!(head, "Date: {}\r\n{connection}\r\n", date(now));
        head
    }
}

/// Whether a connection goes on after an answer (RFC 9112 section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// As HTTP/1.1 has it.
    Stays,
    /// A client of HTTP/1.0 asked for it, and has to be told.
    StaysByRequest,
    /// It is closed.
    Ends,
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        _ => "",
    }
}

fn described(resource: &Resource) -> Vec<(&'static str, String)> {
    let mut headers = validators(resource);
    headers.push(("Content-Type", resource.media_type.to_owned()));
    headers.push(("Accept-Ranges", "bytes".to_owned()));
    headers
}

fn validators(resource: &Resource) -> Vec<(&'static str, String)> {
    let etag = resource.etag.clone().map(|etag| ("ETag", etag));
    let modified = resource.modified;
    let modified = modified.map(|seconds| ("Last-Modified", date(seconds)));
    etag.into_iter().chain(modified).collect()
}

/// The order of RFC 9110 section 13.2.2: 412 or 304, or nothing to say.
fn refused(conditions: &Conditions<'_>, resource: &Resource) -> Option<u16> {
    let since = |value: Option<&[u8]>| value.and_then(parse_date).zip(resource.modified);
    let is_ours = |tag: &[u8], weakly: bool| {
        let tag = match tag.strip_prefix(b"W/") {
            Some(tag) if weakly => tag,
            _ => tag,
        };
        tag == b"*" || resource.etag.as_deref().map(str::as_bytes) == Some(tag)
    };
    if !conditions.if_match.is_empty() {
        let mut tags = tags(&conditions.if_match);
        if !tags.any(|tag| is_ours(tag, false)) {
            return Some(412);
        }
    } else if let Some((date, modified)) = since(conditions.if_unmodified_since)
        && modified > date
    {
        return Some(412);
    }
    if !conditions.if_none_match.is_empty() {
        let mut tags = tags(&conditions.if_none_match);
        return tags.any(|tag| is_ours(tag, true)).then_some(304);
    }
    let (date, modified) = since(conditions.if_modified_since)?;
    (modified <= date).then_some(304)
}

/// The members of a list that may go over several lines. A comma inside of a tag parts it, and what
/// comes of that equals no tag of ours, which have none.
fn tags<'b>(lines: &[&'b [u8]]) -> impl Iterator<Item = &'b [u8]> {
    let members = lines
        .iter()
        .flat_map(|line| line.split(|byte| *byte == b','));
    members.map(<[u8]>::trim_ascii)
}

#[derive(Debug, PartialEq, Eq)]
enum Selected {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

fn range(method: Method, conditions: &Conditions<'_>, resource: &Resource) -> Selected {
    // Ranges are defined for GET and nothing else (section 14.2).
    let asked = match conditions.range {
        Some(range) if method == Method::Get && !conditions.is_repeated => parse_range(range),
        _ => return Selected::Whole,
    };
    if let Some(validator) = conditions.if_range
        && !is_current(validator.trim_ascii(), resource)
    {
        return Selected::Whole;
    }
    let size = resource.size;
    match asked {
        Asked::Nothing => Selected::Whole,
        Asked::From { first, .. } if first >= size => Selected::Unsatisfiable,
        Asked::From { first, last } => Selected::Part(first..last.min(size - 1) + 1),
        Asked::Last(0) => Selected::Unsatisfiable,
        // Section 14.1.2: the whole where it is shorter, and of nothing that is nothing.
        Asked::Last(_) if size == 0 => Selected::Whole,
        Asked::Last(length) => Selected::Part(size - length.min(size)..size),
    }
}

/// Section 13.1.5: a strong tag that is ours, or exactly our date.
fn is_current(validator: &[u8], resource: &Resource) -> bool {
    match validator.starts_with(b"\"") {
        true => resource.etag.as_deref().map(str::as_bytes) == Some(validator),
        false => match (parse_date(validator), resource.modified) {
            (Some(date), Some(modified)) => date == modified,
            _ => false,
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// From `first` to `last`, both included.
    From { first: u64, last: u64 },
    /// So many bytes at the end.
    Last(u64),
    /// No range, another unit, or several.
    Nothing,
}

/// Section 14.1.2. A position beyond 64 bits lies behind the end of every file, and says the same as
/// the greatest one.
fn parse_range(value: &[u8]) -> Asked {
    let position = |digits: &[u8]| {
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
        Some(digits.parse::<u64>().unwrap_or(u64::MAX))
    };
    let parse = || {
        let at = value.iter().position(|byte| *byte == b'=')?;
        let (unit, range) = (value[..at].trim_ascii(), value[at + 1..].trim_ascii());
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let at = range.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (&range[..at], &range[at + 1..]);
        match (first.is_empty(), last.is_empty()) {
            (true, _) => Some(Asked::Last(position(last)?)),
            (false, true) => Some(Asked::From {
                first: position(first)?,
                last: u64::MAX,
            }),
            (false, false) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Asked::From { first, last })
            }
        }
    };
    parse().unwrap_or(Asked::Nothing)
}
