//! A TFTP client that costs little: it looks at four bytes of each datagram and has the kernel drop
//! the rest (MSG_TRUNC), and takes all that have come in one system call.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long an answer may take before the last packet is sent again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a packet is sent again before the server counts as silent.
const TRIES: u32 = 6;
/// Datagrams taken at once.
const BATCH: usize = 32;
/// Bytes looked at of each: a header, or an error's message, or the options that were accepted.
const HEAD: usize = 128;

const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

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
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut client = Client {
        socket,
        options,
        expected: 1,
        in_window: 0,
        bytes: 0,
        repeats: 0,
        batch: Batch::new(),
    };
    client.ask(server, file)?;
    client.take(end)
}

struct Client {
    socket: Socket,
    options: Options,
    /// The next block's number; numbers start over after 65,535.
    expected: u16,
    in_window: u16,
    bytes: u64,
    repeats: u32,
    batch: Batch,
}

/// What one datagram means for the transfer.
enum Step {
    Continue,
    Complete,
}

impl Client {
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
            let count = match self.batch.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if timed_out(&error) && silent < TRIES => {
                    silent += 1;
                    self.repeats += 1;
                    self.acknowledge()?;
                    continue;
                }
                Err(error) if timed_out(&error) => return Err(TftpError::Silent(self.bytes)),
                Err(error) => return Err(error.into()),
            };
            silent = 0;
            for at in 0..count {
                if let Step::Complete = self.handle(at)? {
                    return Ok(self.fetched(true));
                }
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                self.socket.send(&error_packet())?;
                return Ok(self.fetched(false));
            }
        }
    }

    fn fetched(&self, complete: bool) -> Fetched {
        Fetched {
            bytes: self.bytes,
            complete,
            repeats: self.repeats,
        }
    }

    fn handle(&mut self, at: usize) -> Result<Step, TftpError> {
        let (head, length) = self.batch.datagram(at);
        let [kind, number] = match *head {
            [a, b, c, d, ..] => [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])],
            _ => return Err(TftpError::Garbled),
        };
        match kind {
            DATA if number == self.expected => {
                let data = length - 4;
                self.bytes += data as u64;
                self.expected = self.expected.wrapping_add(1);
                self.in_window += 1;
                let is_last = data < self.options.block;
                if is_last || self.in_window == self.options.window {
                    self.acknowledge()?;
                }
                Ok(if is_last {
                    Step::Complete
                } else {
                    Step::Continue
                })
            }
            // A gap: the server goes on after the last block that came in order (RFC 7440 section 4).
            // A block that came before is not answered (RFC 1123 section 4.2.3.1).
            DATA => {
                let ahead = number.wrapping_sub(self.expected) < 1 << 15;
                if ahead && self.in_window > 0 {
                    self.acknowledge()?;
                }
                Ok(Step::Continue)
            }
            OACK => {
                let said = String::from_utf8_lossy(&head[2..]).to_ascii_lowercase();
                if self.options.window > 1 && !said.contains("windowsize\0") {
                    return Err(TftpError::Unsupported("windowsize"));
                }
                if self.options.block != 512 && !said.contains("blksize\0") {
                    return Err(TftpError::Unsupported("blksize"));
                }
                self.acknowledge()?;
                Ok(Step::Continue)
            }
            ERROR => {
                let message = String::from_utf8_lossy(&head[4..]);
                let message = message.trim_end_matches('\0').to_owned();
                Err(TftpError::Refused(number, message))
            }
            _ => Err(TftpError::Garbled),
        }
    }

    /// Acknowledges the last block that came in order; block 0 accepts the options.
    fn acknowledge(&mut self) -> io::Result<()> {
        self.in_window = 0;
        let [high, low] = self.expected.wrapping_sub(1).to_be_bytes();
        let [first, second] = ACK.to_be_bytes();
        self.socket.send(&[first, second, high, low]).map(drop)
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

/// What ends a transfer at once, on the server's side too.
fn error_packet() -> [u8; 5] {
    [0, 5, 0, 0, 0]
}

fn timed_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Room for the heads of several datagrams.
struct Batch {
    heads: Box<[[u8; HEAD]; BATCH]>,
    lengths: [usize; BATCH],
}

impl Batch {
    fn new() -> Self {
        Self {
            heads: Box::new([[0; HEAD]; BATCH]),
            lengths: [0; BATCH],
        }
    }

    /// Waits for one datagram, and takes those that are there besides.
    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let mut pieces = self.heads.each_mut().map(|head| libc::iovec {
            iov_base: head.as_mut_ptr().cast(),
            iov_len: HEAD,
        });
        // SAFETY: a message header of zeros is a valid one that points to nothing.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for (message, piece) in messages.iter_mut().zip(&mut pieces) {
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to one piece of HEAD bytes, and both outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (length, message) in self.lengths.iter_mut().zip(&messages[..count]) {
            *length = message.msg_len as usize;
        }
        Ok(count)
    }

    /// What was kept of a datagram, and its whole length.
    fn datagram(&self, at: usize) -> (&[u8], usize) {
        let length = self.lengths[at];
        (&self.heads[at][..length.min(HEAD)], length)
    }
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
            assert_eq!(
                (fetched.bytes, fetched.complete),
                (100_000, true),
                "{options:?}"
            );
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
