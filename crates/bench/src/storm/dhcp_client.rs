//! The machines' side of DHCP: one socket on port 68, and a thread that hands each reply to the
//! machine that waits for it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};

use super::dhcp_message::{self, Kind, Lease, Reply};
use crate::network::CLIENT_INTERFACE;

const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
/// Replies to a thousand machines may come before one is read.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The first wait for a reply; it doubles (RFC 2131 section 4.1: 4, 8, 16, 32 s; PXE firmware alike).
const FIRST_WAIT: Duration = Duration::from_secs(4);
/// How often a message is sent, as by PXE firmware.
const TRIES: u32 = 4;

/// Why a machine has no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The socket failed.
    #[error("sending")]
    Socket(#[from] io::Error),
    /// Nobody answered.
    #[error("no reply")]
    Silence,
    /// The server said no.
    #[error("NAK")]
    Refused,
}

/// The socket, and who waits for a reply.
pub struct Exchange {
    socket: UdpSocket,
    waiting: Mutex<HashMap<u32, Sender<Reply>>>,
    transaction: AtomicU32,
    ended: AtomicBool,
}

impl Exchange {
    /// Opens port 68.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(CLIENT_INTERFACE.as_bytes()))?;
        // More than the sysctl allows, which root may ask for.
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self {
            socket: socket.into(),
            waiting: Mutex::default(),
            transaction: AtomicU32::new(1),
            ended: AtomicBool::new(false),
        })
    }

    /// Starts handing out replies, until [`Exchange::end`].
    pub fn listen(self: &Arc<Self>) -> JoinHandle<()> {
        let exchange = Arc::clone(self);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !exchange.ended.load(Ordering::Relaxed) {
                let Ok(length) = exchange.socket.recv(&mut buffer) else {
                    continue;
                };
                let Some((transaction, reply)) = dhcp_message::reply(&buffer[..length]) else {
                    continue;
                };
                let waiting = exchange.waiting.lock();
                let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
                if let Some(machine) = waiting.get(&transaction) {
                    // A machine that has what it waited for no longer listens.
                    let _ = machine.send(reply);
                }
            }
        })
    }

    /// Ends the listener.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    pub fn lease(&self, mac: [u8; 6], kind: Kind) -> Result<Lease, LeaseError> {
        let transaction = self.transaction.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = channel();
        self.waiting().insert(transaction, sender);
        let lease = self.exchange(transaction, mac, kind, &replies);
        self.waiting().remove(&transaction);
        lease
    }

    fn exchange(
        &self,
        transaction: u32,
        mac: [u8; 6],
        kind: Kind,
        replies: &Receiver<Reply>,
    ) -> Result<Lease, LeaseError> {
        let discover = dhcp_message::request(transaction, mac, kind, None);
        let offer = self.ask(&discover, replies, |reply| match reply {
            Reply::Offer(lease) => Some(Ok(lease)),
            _ => None,
        })?;
        let request = dhcp_message::request(transaction, mac, kind, Some(&offer));
        self.ask(&request, replies, |reply| match reply {
            Reply::Ack(lease) => Some(Ok(lease)),
            Reply::Nak => Some(Err(LeaseError::Refused)),
            Reply::Offer(_) => None,
        })
    }

    /// Sends until a fitting reply comes; later copies of earlier replies are passed over.
    fn ask(
        &self,
        message: &[u8],
        replies: &Receiver<Reply>,
        fits: impl Fn(Reply) -> Option<Result<Lease, LeaseError>>,
    ) -> Result<Lease, LeaseError> {
        let mut wait = FIRST_WAIT;
        for number in 0..TRIES {
            let jitter = jitter(message, number);
            self.socket.send_to(message, SERVER)?;
            while let Ok(reply) = replies.recv_timeout(wait + jitter) {
                if let Some(outcome) = fits(reply) {
                    return outcome;
                }
            }
            wait *= 2;
        }
        Err(LeaseError::Silence)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 2131 section 4.1 spreads waits by a second to either side; here by up to two seconds more, by
/// the machine and the try, so that runs are alike.
fn jitter(message: &[u8], number: u32) -> Duration {
    let mut hash = u64::from(number).wrapping_add(0xcbf2_9ce4_8422_2325);
    // FNV-1a.
    for byte in &message[28..34] {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    Duration::from_millis((hash >> 20) % 2000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_do_not_ask_again_in_step() {
        let wait = |machine: u8, number| {
            let message = dhcp_message::request(1, [2, 0, 0, 0, 0, machine], Kind::Firmware, None);
            jitter(&message, number)
        };
        assert_ne!(wait(1, 0), wait(2, 0));
        assert_ne!(wait(1, 0), wait(1, 1));
        assert_eq!(wait(1, 0), wait(1, 0));
        assert!((0..100).all(|machine| wait(machine, 3) < Duration::from_secs(2)));
    }
}
