//! Messages to a DHCP server, off the wire and into a text.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::namespace::Namespace;

/// Bytes in a line of the text.
const LINE: usize = 32;
const LARGEST_FRAME: usize = 2048;
const ETHERNET: usize = 14;
const UDP: usize = 8;

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Since the first one.
    at: Duration,
    source: (Ipv4Addr, u16),
    port: u16,
    bytes: Vec<u8>,
}

/// What is recorded on one host.
pub struct Recording {
    messages: Arc<Mutex<Vec<(Instant, Message)>>>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Recording {
    /// Records what arrives at a host's ports 67 and 4011 from now on.
    pub fn start(host: &Namespace) -> Result<Self> {
        let open = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let every = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, every)?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, 100_000))?;
            Ok(socket)
        };
        let socket = host.inside(open)?.context("opening a packet socket")?;
        let messages = Arc::<Mutex<Vec<(Instant, Message)>>>::default();
        let ends = Arc::<AtomicBool>::default();
        let (heard, ended) = (Arc::clone(&messages), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let mut frame = [0; LARGEST_FRAME];
            while !ended.load(Ordering::Relaxed) {
                let received = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame);
                // The appliance's own search for other servers is none of the client's messages.
                let is_own = |from: &LinkAddr| from.pkttype() == libc::PACKET_OUTGOING;
                let message = match received {
                    Ok((_, Some(from))) if is_own(&from) => None,
                    Ok((length, _)) => message(&frame[..length]),
                    Err(_) => None,
                };
                if let Some(message) = message {
                    lock(&heard).push((Instant::now(), message));
                }
            }
        });
        Ok(Self {
            messages,
            ends,
            thread,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.messages).len()
    }

    /// Every one of them, in order.
    pub fn end(self) -> Vec<Message> {
        self.ends.store(true, Ordering::Relaxed);
        // A thread that panicked leaves what it had.
        let _ = self.thread.join();
        let messages = lock(&self.messages);
        let first = messages.first().map(|(time, _)| *time);
        let since = |time: Instant| first.map_or(Duration::ZERO, |first| time - first);
        messages
            .iter()
            .map(|(time, message)| Message {
                at: since(*time),
                ..message.clone()
            })
            .collect()
    }
}

/// The text that the test of `crates/netboot` reads.
pub fn text(title: &str, messages: &[Message]) -> String {
    let mut text = format!("# {title}\n");
    for message in messages {
        let (address, port) = message.source;
        let milliseconds = message.at.as_millis();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\nrequest at {milliseconds} ms from {address}:{port} to port {}",
            message.port
        );
        for line in message.bytes.chunks(LINE) {
            let line: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// The message in a frame that is one: Ethernet II, IPv4 without fragments, UDP.
fn message(frame: &[u8]) -> Option<Message> {
    let packet = frame.get(ETHERNET..)?;
    let is_udp =
        frame[12..14] == [0x08, 0x00] && *packet.first()? >> 4 == 4 && *packet.get(9)? == 17;
    if !is_udp {
        return None;
    }
    let header = usize::from(packet[0] & 15) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let datagram = packet.get(header..)?;
    let number = |at: usize| {
        Some(u16::from_be_bytes([
            *datagram.get(at)?,
            *datagram.get(at + 1)?,
        ]))
    };
    let (from, port, length) = (number(0)?, number(2)?, usize::from(number(4)?));
    matches!(port, 67 | 4011).then_some(())?;
    Some(Message {
        at: Duration::ZERO,
        source: (Ipv4Addr::from(source), from),
        port,
        bytes: datagram.get(UDP..length)?.to_vec(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
