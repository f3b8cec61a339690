//! A DHCP client (RFC 2131) for the minutes that an installation takes: it gets a lease, and the
//! lease outlives the agent.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_model::identity::MacAddress;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

mod message;

pub use message::Lease;
use message::{ACK, DISCOVER, NAK, OFFER, REQUEST, Reply, encode};

/// How long to ask before giving up for now.
const PATIENCE: Duration = Duration::from_secs(60);
/// RFC 2131 4.1 asks for 4 s and more; on a provisioning segment the first answer comes at once
/// or the first packet met a switch port that was still learning.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// How long a server is asked for what it offered: four times. Who then does not answer is a server that
/// nobody asked for, and another one's offer is taken.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// Gets a lease on `link`, retransmitting with growing pauses for a minute.
pub fn acquire(link: &str, mac: MacAddress) -> Result<Lease> {
    let socket = open(link).with_context(|| format!("opening a DHCP socket on {link}"))?;
    let deadline = Instant::now() + PATIENCE;
    let transaction = transaction_id(mac);
    let mut silent: Vec<Ipv4Addr> = Vec::new();
    while Instant::now() < deadline {
        let offer = exchange(
            &socket,
            deadline,
            |seconds| encode(DISCOVER, transaction, mac, seconds, None),
            |reply| {
                let is_offer = reply.transaction == transaction && reply.kind == OFFER;
                is_offer && !silent.contains(&reply.lease.server)
            },
        );
        let offer = offer.with_context(|| format!("asking for an address on {link}"))?;
        let Some(offer) = offer else { break };
        let answer = exchange(
            &socket,
            deadline.min(Instant::now() + REQUEST_PATIENCE),
            |seconds| encode(REQUEST, transaction, mac, seconds, Some(&offer.lease)),
            |reply| reply.transaction == transaction && matches!(reply.kind, ACK | NAK),
        );
        let requested = offer.lease.address;
        match answer.with_context(|| format!("requesting {requested} on {link}"))? {
            Some(answer) if answer.kind == ACK => return Ok(answer.lease),
            Some(_) => {}
            None => silent.push(offer.lease.server),
        }
    }
    bail!("no DHCP server on {link} gives a lease")
}

/// Sends until a fitting reply comes; `None` when none came.
fn exchange(
    socket: &Socket,
    deadline: Instant,
    request: impl Fn(u16) -> Vec<u8>,
    fits: impl Fn(&Reply) -> bool,
) -> Result<Option<Reply>> {
    let everybody = SockAddr::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
    let start = Instant::now();
    let mut wait = FIRST_WAIT;
    while Instant::now() < deadline {
        socket
            .send_to(&request(start.elapsed().as_secs() as u16), &everybody)
            .context("sending to 255.255.255.255:67")?;
        let next = Instant::now() + wait;
        while let Some(left) = next
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            if let Some(reply) = receive(socket, left)?.filter(&fits) {
                return Ok(Some(reply));
            }
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Ok(None)
}

fn receive(mut socket: &Socket, patience: Duration) -> Result<Option<Reply>> {
    let mut packet = [0; 2048];
    socket
        .set_read_timeout(Some(patience))
        .context("setting a timeout")?;
    match std::io::Read::read(&mut socket, &mut packet) {
        Ok(length) => Ok(Reply::decode(&packet[..length])),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error).context("receiving"),
    }
}

fn open(link: &str) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(link.as_bytes()))?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(
        Ipv4Addr::UNSPECIFIED,
        68,
    )))?;
    Ok(socket)
}

/// Unlike that of the firmware's client on the same card, and of the agent's boot before.
fn transaction_id(mac: MacAddress) -> u32 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let [.., a, b, c, d] = mac.0;
    u32::from_be_bytes([a, b, c, d]) ^ now.rotate_left(7)
}
