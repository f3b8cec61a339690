//! A TFTP client that costs little: it looks at four bytes of each datagram and has the kernel drop
//! the rest (MSG_TRUNC), and takes all that have come in one system call.
//!
//! [`fetch`] is one client, which waits for what comes; [`fetch_for`] is many of them, which do not.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

mod batch;
mod crowd;
mod mail;
mod transfer;

use batch::Batch;
pub use crowd::fetch_for;
use transfer::{BREAK_OFF, Transfer};

/// How long an answer may take before the last packet is sent again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a packet is sent again before the server counts as silent.
const TRIES: u32 = 6;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a block; 512 is not asked for, since it is what there is without asking.
    pub block: usize,
    /// Blocks between acknowledgements; 1 is not asked for.
    pub window: u16,
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it was all of it, and not the end of the time.
    pub complete: bool,
    /// Packets sent again since nothing came.
    pub repeats: u32,
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// A socket failed.
    #[error("a socket of the TFTP client")]
    Socket(#[from] io::Error),
    /// The server said no.
    #[error("the server refused, with code {0}: {1}")]
    Refused(u16, String),
    /// The server did not accept an option.
    #[error("the server does not know the option {0}")]
    Unsupported(&'static str),
    /// Nothing came any more.
    #[error("the server fell silent in mid-file")]
    Silent(u64),
    /// What came was not to be understood.
    #[error("the server sent something that is no TFTP")]
    Garbled,
}

/// Fetches a file from port 69 of a server, until it is whole or it is time to end.
pub fn fetch(
    own: Ipv4Addr,
    server: SocketAddrV4,
    file: &str,
    options: Options,
    end: Option<Instant>,
) -> Result<Fetched, TftpError> {
    let mut client = Client::new(own, options)?;
    client.ask(server, file)?;
    client.take(end)
}

struct Client {
    socket: Socket,
    options: Options,
    transfer: Transfer,
    repeats: u32,
    batch: Batch,
}

impl Client {
    fn new(own: Ipv4Addr, options: Options) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddrV4::new(own, 0).into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            options,
            transfer: Transfer::new(options),
            repeats: 0,
            batch: Batch::new(),
        })
    }

    /// Sends the request until something comes back, and connects to the port that it came from.
    fn ask(&mut self, server: SocketAddrV4, file: &str) -> Result<(), TftpError> {
        let request = request(file, self.options);
        for _ in 0..TRIES {
            self.socket.send_to(&request, &server.into())?;
            // Left in the queue: what it says is read with the rest.
            let mut nothing = [MaybeUninit::uninit(); 1];
            match self.socket.peek_from(&mut nothing) {
                Ok((_, peer)) => return Ok(self.socket.connect(&peer)?),
                Err(error) if timed_out(&error) => self.repeats += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Err(TftpError::Silent(0))
    }

    fn take(&mut self, end: Option<Instant>) -> Result<Fetched, TftpError> {
        let mut silent = 0;
        loop {
            match self.receive()? {
                Some(true) => return Ok(self.fetched(true)),
                Some(false) => silent = 0,
                None if silent < TRIES => {
                    silent += 1;
                    self.repeats += 1;
                    self.acknowledge()?;
                }
                None => return Err(TftpError::Silent(self.transfer.bytes)),
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                self.socket.send(&BREAK_OFF)?;
                return Ok(self.fetched(false));
            }
        }
    }

    /// Takes what has come, and says whether the file is whole; `None` where nothing has come.
    fn receive(&mut self) -> Result<Option<bool>, TftpError> {
        let most = usize::from(self.options.window);
        let count = match self.batch.receive(&self.socket, most) {
            Ok(count) => count,
            Err(error) if timed_out(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for at in 0..count {
            let (head, length) = self.batch.datagram(at);
            let step = self.transfer.handle(head, length)?;
            if step.acknowledge {
                self.acknowledge()?;
            }
            if step.complete {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    fn fetched(&self, complete: bool) -> Fetched {
        Fetched {
            bytes: self.transfer.bytes,
            complete,
            repeats: self.repeats,
        }
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        let packet = self.transfer.acknowledgement();
        self.socket.send(&packet).map(drop)
    }
}

fn request(file: &str, options: Options) -> Vec<u8> {
    let mut packet = vec![0, 1];
    let mut push = |word: &str| {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    };
    push(file);
    push("octet");
    if options.block != 512 {
        push("blksize");
        push(&options.block.to_string());
    }
    if options.window > 1 {
        push("windowsize");
        push(&options.window.to_string());
    }
    packet
}

fn timed_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_the_default_is_asked_for() {
        let plain = Options {
            block: 512,
            window: 1,
        };
        assert_eq!(request("a", plain), b"\0\x01a\0octet\0");
        let both = Options {
            block: 1468,
            window: 16,
        };
        assert_eq!(
            request("a", both),
            b"\0\x01a\0octet\0blksize\x001468\0windowsize\x0016\0"
        );
    }

    /// Against a real server, the peer that is a library.
    #[test]
    fn a_file_comes_whole_with_and_without_options() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), vec![7; 100_000]).unwrap();
        let builder = async_tftp::server::TftpServerBuilder::with_dir_ro(folder.path()).unwrap();
        let builder = builder.bind((Ipv4Addr::LOCALHOST, 0).into());
        let server = async_io::block_on(builder.build()).unwrap();
        let port = server.listen_addr().unwrap().port();
        std::thread::spawn(move || async_io::block_on(server.serve()));
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        for (block, window) in [(512, 1), (1468, 1), (1468, 16), (1000, 1)] {
            let options = Options { block, window };
            let fetched = fetch(Ipv4Addr::LOCALHOST, server, "file", options, None).unwrap();
            let expected = (100_000, true);
            assert_eq!((fetched.bytes, fetched.complete), expected, "{options:?}");
            let period = Duration::from_millis(300);
            let owns = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
            let bytes = fetch_for(period, server, "file", options, &owns, || ()).unwrap();
            assert!(bytes > 100_000, "{bytes} by two clients, {options:?}");
        }
        let options = Options {
            block: 512,
            window: 1,
        };
        let missing = fetch(Ipv4Addr::LOCALHOST, server, "missing", options, None);
        assert!(
            matches!(missing, Err(TftpError::Refused(..))),
            "{missing:?}"
        );
    }
}
