//! Many TFTP clients on one socket and one thread that never sleeps.
//!
//! Clients of a rack are computers of their own: what they do between two packets, and that they wake
//! up for each, costs the server nothing. Clients that sleep on the server's computer make the server's
//! own system calls wake them, and sixteen of them take more of the processors than any server.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::mail::{Letter, Mail};
use super::transfer::{BREAK_OFF, Transfer};
use super::{Options, PATIENCE, TRIES, TftpError, request};

/// One of them.
struct Client {
    own: Ipv4Addr,
    /// The port that answered, or the one that requests go to.
    server: SocketAddrV4,
    is_answered: bool,
    transfer: Transfer,
    /// When something last came, or was sent again.
    heard: Instant,
    silent: u32,
}

struct Crowd<'a> {
    server: SocketAddrV4,
    request: &'a [u8],
    options: Options,
    mail: Mail,
    clients: Vec<Client>,
    /// Bytes of the files that are whole.
    bytes: u64,
}

/// Has a client of each address fetch a file over and over, and tells how many bytes came. `at_end` is
/// called when the time is up and the server has not heard of it yet.
pub fn fetch_for(
    period: Duration,
    server: SocketAddrV4,
    file: &str,
    options: Options,
    owns: &[Ipv4Addr],
    at_end: impl FnOnce(),
) -> Result<u64, TftpError> {
    let mut now = Instant::now();
    let end = now + period;
    let request = request(file, options);
    let mut crowd = Crowd {
        server,
        request: &request,
        options,
        mail: Mail::new()?,
        clients: Vec::new(),
        bytes: 0,
    };
    for own in owns {
        let client = crowd.begin(*own, now);
        crowd.clients.push(client);
    }
    while now < end {
        crowd.mail.send()?;
        crowd.take(now)?;
        now = Instant::now();
        crowd.repeat(now)?;
    }
    at_end();
    crowd.end()
}

impl Crowd<'_> {
    fn begin(&mut self, own: Ipv4Addr, now: Instant) -> Client {
        self.mail.put(own, self.server, self.request);
        Client {
            own,
            server: self.server,
            is_answered: false,
            transfer: Transfer::new(self.options),
            heard: now,
            silent: 0,
        }
    }

    fn take(&mut self, now: Instant) -> Result<(), TftpError> {
        for at in 0..self.mail.receive()? {
            let Letter {
                own,
                from,
                head,
                length,
            } = self.mail.letter(at);
            let Some(number) = self.clients.iter().position(|client| client.own == own) else {
                continue;
            };
            let client = &mut self.clients[number];
            if client.is_answered && client.server != from {
                // Of a transfer that is over.
                continue;
            }
            (client.server, client.is_answered) = (from, true);
            (client.heard, client.silent) = (now, 0);
            let step = client.transfer.handle(head, length)?;
            if step.acknowledge {
                let packet = client.transfer.acknowledgement();
                self.mail.put(own, from, &packet);
            }
            if step.complete {
                self.bytes += client.transfer.bytes;
                self.clients[number] = self.begin(own, now);
            }
        }
        Ok(())
    }

    /// Sends again for who has heard nothing.
    fn repeat(&mut self, now: Instant) -> Result<(), TftpError> {
        for client in &mut self.clients {
            if now.saturating_duration_since(client.heard) < PATIENCE {
                continue;
            }
            if client.silent == TRIES {
                return Err(TftpError::Silent(client.transfer.bytes));
            }
            (client.heard, client.silent) = (now, client.silent + 1);
            match client.is_answered {
                true => {
                    let packet = client.transfer.acknowledgement();
                    self.mail.put(client.own, client.server, &packet);
                }
                false => self.mail.put(client.own, self.server, self.request),
            }
        }
        Ok(())
    }

    /// Breaks off what is on its way.
    fn end(mut self) -> Result<u64, TftpError> {
        for client in &self.clients {
            self.bytes += client.transfer.bytes;
            if client.is_answered {
                self.mail.put(client.own, client.server, &BREAK_OFF);
            }
        }
        self.mail.send()?;
        Ok(self.bytes)
    }
}
