//! A request's head (RFC 9112), as far as a server of files has to understand it.

use super::answer::{Conditions, Connection, Method};

/// The longest head that is read, in bytes.
pub const LONGEST_HEAD: usize = 16 << 10;
/// The most header fields that a head may have.
pub const MOST_HEADERS: usize = 64;

/// A whole head.
#[derive(Debug, Clone)]
pub struct Head<'b> {
    /// The method.
    pub method: Method,
    /// The request's target, as it was sent.
    pub target: &'b str,
    /// Bytes of the head, the empty line included.
    pub length: usize,
    /// What becomes of the connection afterwards.
    pub connection: Connection,
    /// Whether nothing but the head belongs to the request, and nothing but an answer is wanted: no
    /// content, no upgrade, no expectation.
    pub is_plain: bool,
    /// The fields that decide what of a file is sent.
    pub conditions: Conditions<'b>,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Longer than [`LONGEST_HEAD`], or with more fields than [`MOST_HEADERS`].
    #[error("the request's head is too large")]
    TooLarge,
    /// Not HTTP.
    #[error("the request is malformed: {0}")]
    Malformed(httparse::Error),
    /// RFC 9112 section 3.2.
    #[error("a request of HTTP/1.1 has to have one Host")]
    NoHost,
}

impl HeadError {
    /// The status that says so.
    pub fn status(self) -> u16 {
        match self {
            // RFC 6585 section 5.
            Self::TooLarge => 431,
            Self::Malformed(_) | Self::NoHost => 400,
        }
    }
}

/// Parses the head at the start of `bytes`; `None` while it is not complete.
///
/// # Errors
/// A head that will not become a good one, whatever comes behind.
pub fn head(bytes: &[u8]) -> Result<Option<Head<'_>>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::TooLarge);
        }
        Err(error) => return Err(HeadError::Malformed(error)),
    };
    if length > LONGEST_HEAD {
        return Err(HeadError::TooLarge);
    }
    let is_old = request.version == Some(0);
    let mut wishes = Wishes::default();
    let mut conditions = Conditions::default();
    for field in request.headers.iter() {
        wishes.add(field.name, field.value);
        conditions.add(field.name, field.value);
    }
    if wishes.hosts > 1 || (wishes.hosts == 0 && !is_old) {
        return Err(HeadError::NoHost);
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    Ok(Some(Head {
        method,
        target: request.path.unwrap_or_default(),
        length,
        connection: match (is_old, wishes.close, wishes.keep_alive) {
            (_, true, _) | (true, false, false) => Connection::Ends,
            (true, false, true) => Connection::StaysByRequest,
            (false, false, _) => Connection::Stays,
        },
        is_plain: !wishes.more,
        conditions,
    }))
}

#[derive(Default)]
struct Wishes {
    hosts: u32,
    close: bool,
    keep_alive: bool,
    more: bool,
}

impl Wishes {
    fn add(&mut self, name: &str, value: &[u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("host") {
            self.hosts += 1;
        } else if is("connection") {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("content-length") {
            self.more |= value.trim_ascii() != b"0";
        } else if is("transfer-encoding") || is("upgrade") || is("expect") {
            self.more = true;
        }
    }
}
