//! Sockets that know their deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::url::Url;

/// A byte stream to a server, plain or encrypted.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// Until when reading and writing may take; shared with whoever sets it. An encrypted stream wraps the
/// socket, and its owner still has to move the deadline.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadline(Arc<Mutex<Limits>>);

#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    /// The end of all reading and writing.
    end: Option<Instant>,
    /// How long one read or write may stand still.
    pause: Option<Duration>,
}

impl Deadline {
    pub(crate) fn set(&self, end: Option<Instant>, pause: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Limits { end, pause };
    }

    /// The time for one read or write; `None` is no limit.
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let limits = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = limits
            .end
            .map(|end| end.saturating_duration_since(Instant::now()));
        match (left, limits.pause) {
            (Some(Duration::ZERO), _) => Err(io::ErrorKind::TimedOut.into()),
            (Some(left), Some(pause)) => Ok(Some(left.min(pause))),
            (left, pause) => Ok(left.or(pause)),
        }
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    deadline: Deadline,
}

impl Socket {
    /// Connects to a URL's host, at any of its addresses, within `patience`.
    pub(crate) fn connect(url: &Url, patience: Duration, deadline: Deadline) -> io::Result<Self> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let end = Instant::now() + patience;
        for address in addresses(url)? {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self { stream, deadline });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// A URL's host, looked up.
pub(crate) fn addresses(url: &Url) -> io::Result<Vec<SocketAddr>> {
    let name = (url.host.as_str(), url.port_or_default());
    Ok(name.to_socket_addrs()?.collect())
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.deadline.remaining()?)?;
        self.stream.read(buffer).map_err(late)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.deadline.remaining()?)?;
        self.stream.write(bytes).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The kernel says "would block" where a socket's time is up.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
