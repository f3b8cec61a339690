//! Everything that DHCP listens to and sends by.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use hardway_model::identity::MacAddress;
use hardway_netboot::dhcp::{PROXY_PORT, SERVER_PORT};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::super::datagrams::{self, Inbox};
use super::super::socket;
use super::link::{Link, Seen};
use crate::metrics::{Kind, Metrics};

/// The largest message that is looked at; Ethernet frames are smaller.
const LARGEST: usize = 2048;
/// A receive buffer for ten thousand messages: what arrives while the machines of a rack are switched
/// on together, and the appliance does something else for a moment.
const BUFFER: usize = 8 << 20;
/// How long a full send buffer is waited for, before what is to be sent is dropped as the network may
/// drop it anyway.
const PATIENCE: Duration = Duration::from_millis(50);

/// What there is to decide about.
#[derive(Debug)]
pub enum Arrival {
    /// The time alone.
    Nothing,
    /// Datagrams on this port, in the inbox.
    Datagrams(u16),
    /// Frames.
    Seen(Vec<Seen>),
}

/// The sockets.
pub struct Ports {
    server: UdpSocket,
    proxy: Option<UdpSocket>,
    link: Option<Link>,
    inbox: Inbox,
    /// What the kernel had dropped when it was last asked.
    dropped: u32,
}

impl Ports {
    /// Opens the sockets. They take broadcasts, so they cannot be bound to the appliance's address.
    ///
    /// Without the second port PXE clients that ask a boot server again go unanswered; without packet
    /// sockets answers are broadcast. Neither stops the service.
    pub fn open(interface: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let open = |port| {
            let socket = socket::udp(Ipv4Addr::UNSPECIFIED, port, Some(interface))?;
            socket::enlarge_receive_buffer(&socket, BUFFER);
            anyhow::Ok(socket)
        };
        let warn = |error: &anyhow::Error| tracing::warn!("dhcp: {error:#}");
        Ok(Self {
            server: open(SERVER_PORT)?,
            proxy: open(PROXY_PORT).inspect_err(warn).ok(),
            link: Link::open(interface, address).inspect_err(warn).ok(),
            inbox: Inbox::new(LARGEST),
            dropped: 0,
        })
    }

    /// The appliance's hardware address on the segment; all zero where it is not to be had.
    pub fn mac(&self) -> MacAddress {
        self.link.as_ref().map_or(MacAddress([0; 6]), Link::mac)
    }

    /// What the last [`Arrival::Datagrams`] brought.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The packet sockets.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Waits for something to decide about.
    pub async fn receive(&mut self) -> anyhow::Result<Arrival> {
        loop {
            let (socket, port) = tokio::select! {
                ready = self.server.readable() => (ready.map(|()| &self.server), SERVER_PORT),
                ready = readable(self.proxy.as_ref()) => (ready, PROXY_PORT),
                seen = seen(self.link.as_ref()) => {
                    return Ok(Arrival::Seen(seen.context("watching the segment")?));
                }
            };
            let socket = socket.context("waiting for DHCP")?;
            if take(socket, &mut self.inbox)? {
                return Ok(Arrival::Datagrams(port));
            }
        }
    }

    /// What more there is on the server's port, without waiting.
    pub fn more(&mut self) -> anyhow::Result<Option<Arrival>> {
        // Not by way of the runtime, which looks at the socket only when it has nothing to run.
        let is_there = match self.inbox.receive(self.server.as_fd()) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error).context("receiving DHCP"),
        };
        Ok(is_there.then_some(Arrival::Datagrams(SERVER_PORT)))
    }

    /// Sends datagrams from one port, and tells how many of them left.
    pub async fn send(&self, port: u16, parcels: &[(Vec<u8>, SocketAddrV4)]) -> usize {
        let own = self.proxy.as_ref().filter(|_| port == PROXY_PORT);
        let socket = own.unwrap_or(&self.server);
        let (mut next, mut sent) = (0, 0);
        while next < parcels.len() {
            let rest = &parcels[next..];
            let outcome =
                socket.try_io(Interest::WRITABLE, || datagrams::send(socket.as_fd(), rest));
            match outcome {
                Ok(count) => {
                    next += count;
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if timeout(PATIENCE, socket.writable()).await.is_err() {
                        tracing::warn!(
                            "dhcp: {} answers not sent: the interface is full",
                            rest.len()
                        );
                        return sent;
                    }
                }
                Err(error) => {
                    tracing::warn!("dhcp: sending to {}: {error}", rest[0].1);
                    next += 1;
                }
            }
        }
        sent
    }

    /// Counts what the kernel dropped since this was called last.
    pub fn count_dropped(&mut self, metrics: &Metrics) {
        let dropped = socket::dropped(&self.server).unwrap_or(self.dropped);
        let more = dropped.wrapping_sub(self.dropped);
        if more > 0 {
            let counter = metrics.dropped.get_or_create(&Kind::of("dhcp"));
            counter.inc_by(u64::from(more));
            tracing::warn!("dhcp: {more} messages came faster than they were read, and are lost");
        }
        self.dropped = dropped;
    }
}

/// Fills the inbox, and tells whether there was something.
fn take(socket: &UdpSocket, inbox: &mut Inbox) -> anyhow::Result<bool> {
    let mut is_there = false;
    let received = socket.try_io(Interest::READABLE, || {
        inbox.receive(socket.as_fd())?;
        is_there = true;
        match inbox.is_full() {
            true => Ok(()),
            // Nothing was left. Saying so here spares the call that would find it out: what arrives
            // from now on is told by the kernel.
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match received {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(error).context("receiving DHCP")
        }
        _ => Ok(is_there),
    }
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<&UdpSocket> {
    match socket {
        Some(socket) => socket.readable().await.map(|()| socket),
        None => std::future::pending().await,
    }
}

async fn seen(link: Option<&Link>) -> io::Result<Vec<Seen>> {
    match link {
        Some(link) => link.receive().await,
        None => std::future::pending().await,
    }
}
