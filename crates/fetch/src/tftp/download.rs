//! The socket that carries a transfer.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use super::{Client, Failure};
use crate::error::FetchError;
use crate::url::Url;
use crate::wire::addresses;

/// A file that arrives.
pub(crate) struct Download {
    client: Client,
    socket: UdpSocket,
    /// Where the request went; from the first answer on, the port that the server chose for the
    /// transfer (RFC 1350, section 4).
    server: SocketAddr,
    has_answered: bool,
    end: Option<Instant>,
    url: Url,
}

impl Download {
    /// Asks for the file and waits for its beginning.
    pub(crate) fn start(url: &Url, end: Option<Instant>) -> Result<Self, FetchError> {
        let broken = |cause: String| FetchError::Connection {
            url: url.to_string(),
            cause,
        };
        let found = addresses(url).map_err(|error| broken(error.to_string()))?;
        let server = found.first().copied();
        let server = server.ok_or_else(|| broken("the host has no address".to_owned()))?;
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).map_err(|error| broken(error.to_string()))?;
        let mut download = Self {
            client: Client::new(&url.plain_path()),
            socket,
            server,
            has_answered: false,
            end,
            url: url.clone(),
        };
        download.send().map_err(|error| broken(error.to_string()))?;
        while !download.has_answered && download.client.outcome().is_none() {
            download.step().map_err(|error| broken(error.to_string()))?;
        }
        match download.client.outcome() {
            Some(Err(failure)) => Err(download.failed(&failure)),
            _ => Ok(download),
        }
    }

    /// Waits for one datagram, or for as long as the transfer wants to wait.
    fn step(&mut self) -> io::Result<()> {
        let mut patience = self.client.patience();
        if let Some(end) = self.end {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            patience = patience.min(left);
        }
        self.socket.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 2048];
        let answers = match self.socket.recv_from(&mut buffer) {
            Ok((length, sender)) => {
                let is_server = sender.ip() == self.server.ip()
                    && (!self.has_answered || sender.port() == self.server.port());
                if !is_server {
                    return Ok(());
                }
                self.server = sender;
                self.has_answered = true;
                self.client.handle(&buffer[..length])
            }
            Err(error) if is_silence(&error) => self.client.handle_silence(),
            Err(error) => return Err(error),
        };
        if answers {
            self.send()?;
        }
        Ok(())
    }

    fn send(&self) -> io::Result<()> {
        let sent = self.socket.send_to(self.client.datagram(), self.server);
        sent.map(drop)
    }

    fn failed(&self, failure: &Failure) -> FetchError {
        let url = self.url.to_string();
        let broken = |cause: &str| FetchError::Connection {
            url: self.url.to_string(),
            cause: cause.to_owned(),
        };
        match failure {
            Failure::Refused { code, message } => FetchError::Tftp {
                url,
                code: *code,
                message: message.clone(),
            },
            Failure::Silence => broken("the TFTP server does not answer"),
            Failure::Options => broken("the TFTP server grants options that were not asked for"),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.client.read(buffer);
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.client.outcome() {
                Some(Ok(())) => return Ok(0),
                Some(Err(failure)) => return Err(io::Error::other(self.failed(&failure))),
                None => self.step()?,
            }
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
