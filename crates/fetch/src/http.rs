//! One request, and the head of its answer (RFC 9110, RFC 9112).
//!
//! Each request has a connection of its own: what is fetched here is few and large, and comes from
//! different servers.

use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::body::{Framed, Framing};
use crate::error::FetchError;
use crate::tls::Trust;
use crate::url::Url;
use crate::wire::{Deadline, Socket, Wire};

/// As Ignition's.
const CONNECT: Duration = Duration::from_secs(30);
/// For a TLS handshake, and for a proxy's answer to CONNECT; the former as Ignition's.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A body that stands still for longer does not go on.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Bytes in an answer's head.
const LONGEST_HEAD: usize = 64 << 10;
/// Fields in an answer's head.
const MOST_FIELDS: usize = 128;

/// What is asked, and how.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Url,
    pub(crate) proxy: Option<&'a Url>,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) trust: &'a Trust,
    /// Until the answer's head is there; `None` is no limit.
    pub(crate) response_headers: Option<Duration>,
    /// The end of everything, the body included.
    pub(crate) end: Option<Instant>,
}

/// The head of an answer, and its body to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Framed<BufReader<Box<dyn Wire>>>,
}

impl Request<'_> {
    /// Sends the request and reads the head of its answer.
    pub(crate) fn send(&self) -> Result<Answer, FetchError> {
        let deadline = Deadline::default();
        let mut wire = self.connect(&deadline)?;
        deadline.set(self.end, Some(STANDSTILL));
        let written = wire
            .write_all(self.text().as_bytes())
            .and_then(|()| wire.flush());
        written.map_err(|error| self.broken("sending the request", &error))?;
        deadline.set(self.within(self.response_headers), None);
        let mut wire = BufReader::new(wire);
        let head = loop {
            let head = read_head(&mut wire);
            let head = head.map_err(|error| self.broken("waiting for the answer", &error))?;
            // Interim answers come before the answer.
            if head.status >= 200 || head.status == 101 {
                break head;
            }
        };
        deadline.set(self.end, Some(STANDSTILL));
        Ok(Answer {
            status: head.status,
            location: head.location,
            body: Framed::new(wire, head.framing),
        })
    }

    fn connect(&self, deadline: &Deadline) -> Result<Box<dyn Wire>, FetchError> {
        let first = self.proxy.unwrap_or(self.url);
        let left = match self.end {
            Some(end) => CONNECT.min(end.saturating_duration_since(Instant::now())),
            None => CONNECT,
        };
        let socket = Socket::connect(first, left, deadline.clone());
        let doing = format!("connecting to {}", first.authority());
        let socket = socket.map_err(|error| self.broken(&doing, &error))?;
        let mut wire: Box<dyn Wire> = Box::new(socket);
        deadline.set(self.within(Some(HANDSHAKE)), None);
        if let Some(proxy) = self.proxy {
            if proxy.scheme == "https" {
                wire = self.trust.encrypt(wire, proxy, self.url)?;
            }
            if self.url.scheme == "https" {
                deadline.set(self.within(Some(HANDSHAKE)), None);
                self.open_tunnel(&mut wire, proxy)?;
            }
        }
        if self.url.scheme == "https" {
            deadline.set(self.within(Some(HANDSHAKE)), None);
            wire = self.trust.encrypt(wire, self.url, self.url)?;
        }
        Ok(wire)
    }

    /// RFC 9110, section 9.3.6.
    fn open_tunnel(&self, wire: &mut Box<dyn Wire>, proxy: &Url) -> Result<(), FetchError> {
        let target = format!(
            "{}:{}",
            self.url.bracketed_host(),
            self.url.port_or_default()
        );
        let text = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
            authorization("Proxy-Authorization", proxy)
        );
        let doing = format!("asking the proxy {}", proxy.authority());
        let answered = wire
            .write_all(text.as_bytes())
            .and_then(|()| wire.flush())
            .and_then(|()| read_head(wire));
        match answered {
            Ok(head) if (200..300).contains(&head.status) => Ok(()),
            Ok(head) => Err(FetchError::Connection {
                url: self.url.to_string(),
                cause: format!("the proxy {} answers {}", proxy.authority(), head.status),
            }),
            Err(error) => Err(self.broken(&doing, &error)),
        }
    }

    /// The request line and its fields. Through a proxy, what is not encrypted is asked for by its
    /// whole URL (RFC 9112, section 3.2.2).
    fn text(&self) -> String {
        let url = self.url;
        let plain_proxy = self.proxy.filter(|_| url.scheme == "http");
        let mut text = match plain_proxy {
            Some(_) => format!("GET {}://{}{}", url.scheme, url.authority(), url.target()),
            None => format!("GET {}", url.target()),
        };
        text.push_str(&format!(" HTTP/1.1\r\nHost: {}\r\n", url.authority()));
        for (name, value) in self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !has(self.headers, "authorization") {
            text.push_str(&authorization("Authorization", url));
        }
        if let Some(proxy) = plain_proxy {
            text.push_str(&authorization("Proxy-Authorization", proxy));
        }
        text.push_str("Connection: close\r\n\r\n");
        text
    }

    fn within(&self, patience: Option<Duration>) -> Option<Instant> {
        let own = patience.map(|patience| Instant::now() + patience);
        match (own, self.end) {
            (Some(own), Some(end)) => Some(own.min(end)),
            (own, end) => own.or(end),
        }
    }

    fn broken(&self, doing: &str, error: &io::Error) -> FetchError {
        let cause = match error.kind() {
            io::ErrorKind::TimedOut => format!("{doing}: the time is up"),
            _ => format!("{doing}: {error}"),
        };
        FetchError::Connection {
            url: self.url.to_string(),
            cause,
        }
    }
}

/// Whether a header of this name, in lower case, is among them.
pub(crate) fn has(headers: &[(String, String)], name: &str) -> bool {
    headers
        .iter()
        .any(|(other, _)| other.eq_ignore_ascii_case(name))
}

/// The user and password that a URL names, as a header line; nothing where it names none.
fn authorization(header: &str, url: &Url) -> String {
    match url.credentials() {
        Some(credentials) => format!("{header}: Basic {}\r\n", STANDARD.encode(credentials)),
        None => String::new(),
    }
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    location: Option<String>,
    framing: Framing,
}

/// Reads up to the empty line, and not a byte further.
fn read_head(wire: &mut impl Read) -> io::Result<Head> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"\n\n") {
        if bytes.len() >= LONGEST_HEAD {
            return Err(io::Error::other("the answer's head does not end"));
        }
        if wire.read(&mut byte)? == 0 {
            return Err(io::Error::other("the connection ends before an answer"));
        }
        bytes.push(byte[0]);
    }
    parse_head(&bytes)
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let status = match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => response.code,
        _ => None,
    };
    let status = status.ok_or_else(|| io::Error::other("the answer is no HTTP"))?;
    let values = |name: &'static str| {
        let fields = response.headers.iter();
        fields
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| String::from_utf8_lossy(field.value).trim().to_owned())
    };
    let framing = framing(
        status,
        values("transfer-encoding"),
        values("content-length"),
    );
    Ok(Head {
        status,
        location: values("location").next(),
        framing: framing.ok_or_else(|| io::Error::other("the answer has no clear length"))?,
    })
}

/// RFC 9112, section 6.3. `None` where a body's length is not clear.
fn framing(
    status: u16,
    encodings: impl Iterator<Item = String>,
    lengths: impl Iterator<Item = String>,
) -> Option<Framing> {
    if status < 200 || status == 204 || status == 304 {
        return Some(Framing::Length(0));
    }
    let encodings: Vec<String> = encodings.collect();
    match encodings.as_slice() {
        [] => {}
        [encoding] if encoding.eq_ignore_ascii_case("chunked") => return Some(Framing::Chunked),
        _ => return None,
    }
    let mut lengths: Vec<String> = lengths
        .flat_map(|value| {
            value
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    lengths.dedup();
    match lengths.as_slice() {
        [] => Some(Framing::UntilClose),
        [length] if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().ok().map(Framing::Length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_the_body_ends() {
        for (head, expected) in [
            ("200 OK\r\nContent-Length: 5", Some(Framing::Length(5))),
            ("200 OK\r\nContent-Length: 5, 5", Some(Framing::Length(5))),
            ("200 OK\r\nContent-Length: 5\r\ncontent-length: 6", None),
            ("200 OK\r\nContent-Length: -5", None),
            (
                "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: Chunked",
                Some(Framing::Chunked),
            ),
            ("200 OK\r\nTransfer-Encoding: gzip, chunked", None),
            ("200 OK\r\nServer: x", Some(Framing::UntilClose)),
            (
                "204 No Content\r\nContent-Length: 5",
                Some(Framing::Length(0)),
            ),
        ] {
            let text = format!("HTTP/1.1 {head}\r\n\r\n");
            let found = parse_head(text.as_bytes()).ok().map(|head| head.framing);
            assert_eq!(found, expected, "{head}");
        }
        assert!(parse_head(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn the_head_is_read_and_not_a_byte_more() {
        let mut wire =
            &b"HTTP/1.1 302 Found\r\nLocation:  /there \r\nContent-Length: 2\r\n\r\nok"[..];
        let head = read_head(&mut wire).expect("a head");
        assert_eq!(
            (head.status, head.location.as_deref()),
            (302, Some("/there"))
        );
        assert_eq!(wire, b"ok");
        assert!(read_head(&mut &[b'x'; LONGEST_HEAD + 1][..]).is_err());
    }
}
