//! An HTTP client that costs little: it reads heads, and has the kernel drop bodies (MSG_TRUNC).

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that one call drops.
const GULP: usize = 1 << 20;
/// The longest head that is read.
const LONGEST_HEAD: usize = 16 << 10;

/// A connection that requests are sent over, one after the other.
pub struct Connection {
    stream: TcpStream,
    host: SocketAddrV4,
    /// Received beyond the last head.
    rest: Vec<u8>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
}

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Connecting, sending or receiving failed.
    #[error("{0}")]
    Connection(&'static str, #[source] io::Error),
    /// The server closed before the answer was whole.
    #[error("the server closed in mid-file")]
    Closed(u64),
    /// The head was not to be understood.
    #[error("the server's answer has no head that is understood")]
    Garbled,
    /// Another status than 200.
    #[error("status {0}")]
    Status(u16),
}

impl Connection {
    /// Connects from one of the clients' addresses.
    pub fn open(own: Ipv4Addr, host: SocketAddrV4) -> Result<Self, HttpError> {
        let connect = || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddrV4::new(own, 0).into())?;
            socket.connect_timeout(&host.into(), PATIENCE)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_tcp_nodelay(true)?;
            Ok(socket.into())
        };
        Ok(Self {
            stream: connect().map_err(|error| HttpError::Connection("connecting", error))?,
            host,
            rest: Vec::new(),
        })
    }

    /// Fetches a path and forgets the content; `took` hears of every piece, and ends it by `false`.
    pub fn drain(
        &mut self,
        path: &str,
        mut took: impl FnMut(u64) -> bool,
    ) -> Result<(), HttpError> {
        let head = self.get(path)?;
        let mut left = head.length.saturating_sub(self.rest.len() as u64);
        let mut goes_on = took(head.length - left);
        self.rest.clear();
        while left > 0 && goes_on {
            let dropped = drop_bytes(&self.stream, left.min(GULP as u64) as usize);
            let dropped = dropped.map_err(|error| HttpError::Connection("receiving", error))?;
            if dropped == 0 {
                return Err(HttpError::Closed(head.length - left));
            }
            left -= dropped as u64;
            goes_on = took(dropped as u64);
        }
        Ok(())
    }

    /// Fetches a path whose content is wanted.
    pub fn text(&mut self, path: &str) -> Result<String, HttpError> {
        let head = self.get(path)?;
        self.body(&head)
    }

    /// Sends JSON to a path, and gives what is answered.
    pub fn post(&mut self, path: &str, json: &str) -> Result<String, HttpError> {
        let (host, length) = (self.host, json.len());
        let head = self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{json}"
        ))?;
        self.body(&head)
    }

    fn body(&mut self, head: &Head) -> Result<String, HttpError> {
        while (self.rest.len() as u64) < head.length {
            if self.more()? == 0 {
                return Err(HttpError::Closed(self.rest.len() as u64));
            }
        }
        let body: Vec<u8> = self.rest.drain(..head.length as usize).collect();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn get(&mut self, path: &str) -> Result<Head, HttpError> {
        let host = self.host;
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    fn ask(&mut self, request: &str) -> Result<Head, HttpError> {
        let sent = self.stream.write_all(request.as_bytes());
        sent.map_err(|error| HttpError::Connection("sending a request", error))?;
        loop {
            if let Some(end) = end_of_head(&self.rest) {
                let head = parse(&self.rest[..end]).ok_or(HttpError::Garbled)?;
                self.rest.drain(..end);
                return match head.status {
                    200 => Ok(head),
                    status => Err(HttpError::Status(status)),
                };
            }
            if self.rest.len() > LONGEST_HEAD {
                return Err(HttpError::Garbled);
            }
            if self.more()? == 0 {
                return Err(HttpError::Closed(0));
            }
        }
    }

    fn more(&mut self) -> Result<usize, HttpError> {
        let mut buffer = [0; 4096];
        let read = io::Read::read(&mut self.stream, &mut buffer);
        let read = read.map_err(|error| HttpError::Connection("receiving", error))?;
        self.rest.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// Has the kernel drop up to so many bytes that were received (tcp(7), MSG_TRUNC). 0 at the end.
fn drop_bytes(stream: &TcpStream, most: usize) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC the kernel writes nothing to the buffer of a TCP socket, which may be
    // null.
    let dropped = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            std::ptr::null_mut(),
            most,
            libc::MSG_TRUNC,
        )
    };
    usize::try_from(dropped).map_err(|_| io::Error::last_os_error())
}

fn end_of_head(data: &[u8]) -> Option<usize> {
    let end = data.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Some(Head {
        status,
        length: length.unwrap_or(0),
    })
}

/// Adds up pieces until a moment.
pub struct Tally {
    /// When to stop counting.
    pub end: Instant,
    /// Bytes so far.
    pub bytes: u64,
}

impl Tally {
    /// Counts a piece, unless time is up; `false` then.
    pub fn add(&mut self, bytes: u64) -> bool {
        let in_time = Instant::now() < self.end;
        if in_time {
            self.bytes += bytes;
        }
        in_time
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn heads_are_read() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nETag: \"x\"\r\n\r\n";
        let expected = Head {
            status: 200,
            length: 12,
        };
        assert_eq!(end_of_head(head), Some(head.len()));
        assert_eq!(parse(head), Some(expected));
        assert_eq!(parse(b"nonsense\r\n\r\n"), None);
    }

    #[test]
    fn bodies_are_dropped_and_the_connection_is_kept() {
        const LARGE: usize = 3_000_000;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for body in [vec![b'x'; LARGE], b"small".to_vec()] {
                let mut asked = [0; 1024];
                assert!(io::Read::read(&mut stream, &mut asked).unwrap() > 0);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut connection = Connection::open(Ipv4Addr::LOCALHOST, host).unwrap();
        let mut bytes = 0;
        let count = |piece| {
            bytes += piece;
            true
        };
        connection.drain("/large", count).unwrap();
        assert_eq!(bytes, LARGE as u64);
        assert_eq!(connection.text("/small").unwrap(), "small");
        server.join().unwrap();
    }
}
