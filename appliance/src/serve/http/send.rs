//! An answer on its way into a socket: memory by send(2), files by sendfile(2), never more than the
//! client takes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use axum::body::Bytes;
use nix::sys::sendfile::sendfile;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::serve::content::{Content, Piece};

/// Bytes of a file by one call: what is not in memory is read meanwhile, and the thread's other
/// connections wait for that.
const LARGEST: u64 = 2 << 20;
/// Bytes after which the other connections of the thread have their turn, where a client takes
/// everything at once. A socket's buffer holds less (tcp_wmem), so only a client on this very machine
/// comes so far.
const TURN: u64 = 16 << 20;
/// The pauses between looks at what a client has taken.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(50);
/// What may be left unacknowledged by a client that has everything: iPXE on UEFI starts the kernel without
/// a word about the last segments, and the kernel knows nothing of the connection. At most this many bytes,
/// and at most this part of what was sent.
const TAIL: u64 = 64 << 10;
const TAIL_PART: u64 = 8;
/// How long such a client has to say that it does lack them.
const TAIL_PATIENCE: Duration = Duration::from_secs(2);

/// Sends an answer. `sent` grows by the bytes of content that the kernel took.
///
/// # Errors
/// The connection's; `TimedOut` where the client took nothing for `patience`; `UnexpectedEof` where a
/// file has become shorter.
pub async fn send(
    stream: &TcpStream,
    head: &[u8],
    content: Option<(&Content, Range<u64>)>,
    patience: Duration,
    sent: &mut u64,
) -> io::Result<()> {
    let Some((content, range)) = content.filter(|(_, range)| !range.is_empty()) else {
        return memory(stream, head, patience, &mut 0).await;
    };
    let _whole_segments = Corked::new(stream);
    memory(stream, head, patience, &mut 0).await?;
    for (piece, part) in content.parts(range) {
        match piece {
            Piece::Bytes(bytes) => {
                let bytes = part_of(bytes, part);
                memory(stream, &bytes, patience, sent).await?;
            }
            Piece::File { file, offset, .. } => {
                let part = offset + part.start..offset + part.end;
                from_file(stream, file, part, patience, sent).await?;
            }
        }
    }
    Ok(())
}

/// While it lives the kernel holds back segments that are not full (tcp(7), TCP_CORK). Without it every
/// call of sendfile(2) ends with a short one, and each costs as much as a full one: a third of the
/// processor time of a file.
struct Corked<'s>(SockRef<'s>);

impl<'s> Corked<'s> {
    /// Where it is refused the segments are shorter, and no more.
    fn new(stream: &'s TcpStream) -> Self {
        let socket = SockRef::from(stream);
        let _ = socket.set_tcp_cork(true);
        Self(socket)
    }
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        let _ = self.0.set_tcp_cork(false);
    }
}

/// A range of bytes in memory, whose length therefore fits.
fn part_of(bytes: &Bytes, part: Range<u64>) -> Bytes {
    bytes.slice(part.start as usize..part.end as usize)
}

async fn memory(
    stream: &TcpStream,
    mut bytes: &[u8],
    patience: Duration,
    sent: &mut u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let send = || SockRef::from(stream).send(bytes);
        match stream.try_io(Interest::WRITABLE, send) {
            Ok(count) => {
                bytes = &bytes[count..];
                *sent += count as u64;
            }
            Err(error) => wait(stream, error, patience).await?,
        }
    }
    Ok(())
}

async fn from_file(
    stream: &TcpStream,
    file: &File,
    part: Range<u64>,
    patience: Duration,
    sent: &mut u64,
) -> io::Result<()> {
    let mut position = part.start;
    let mut turn = 0;
    while position < part.end {
        let most = (part.end - position).min(LARGEST) as usize;
        // A file's size fits.
        let mut offset = position as libc::off_t;
        let send = || Ok(sendfile(stream, file, Some(&mut offset), most)?);
        match stream.try_io(Interest::WRITABLE, send) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                position += count as u64;
                *sent += count as u64;
                turn += count as u64;
            }
            Err(error) => {
                wait(stream, error, patience).await?;
                turn = 0;
            }
        }
        if turn >= TURN {
            tokio::task::yield_now().await;
            turn = 0;
        }
    }
    Ok(())
}

async fn wait(stream: &TcpStream, error: io::Error, patience: Duration) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock => timeout(patience, stream.writable()).await?,
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// Waits until the client has acknowledged everything, or all but a tail that it stays silent about, and
/// gives back how many of the `sent` bytes it lacks.
///
/// # Errors
/// The connection's; `TimedOut` where it acknowledged nothing for `patience`.
pub async fn taken(stream: &TcpStream, sent: u64, patience: Duration) -> (u64, io::Result<()>) {
    let tail = TAIL.min(sent / TAIL_PART);
    let mut left = unacknowledged(stream);
    let mut pause = FIRST_LOOK;
    let mut waited = Duration::ZERO;
    let mut may_hear = true;
    while left > 0 {
        let error = stream.take_error().ok().flatten();
        if left <= tail && (error.is_some() || waited >= TAIL_PATIENCE) {
            return (0, Ok(()));
        }
        if let Some(error) = error {
            return (left, Err(error));
        }
        if waited >= patience {
            return (left, Err(io::ErrorKind::TimedOut.into()));
        }
        // Whoever asks for more has what came before. Once: what is heard is not read here.
        tokio::select! {
            _ = stream.readable(), if may_hear => may_hear = false,
            () = tokio::time::sleep(pause) => waited += pause,
        }
        pause = (pause * 2).min(LAST_LOOK);
        let now = unacknowledged(stream);
        if now < left {
            waited = Duration::ZERO;
        }
        left = now;
    }
    (0, Ok(()))
}

/// Bytes in the socket that the client has not acknowledged (tcp(7), SIOCOUTQ).
pub fn unacknowledged(stream: &TcpStream) -> u64 {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as the stream lives, and TIOCOUTQ, which is SIOCOUTQ
    // by another name, writes one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    match result {
        0 => u64::try_from(count).unwrap_or(0),
        _ => 0,
    }
}
