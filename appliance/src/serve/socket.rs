//! Sockets on the provisioning network.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hardway_model::cluster::Cluster;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::context::Context;

/// How often a broken cluster.yaml is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until there is a cluster to serve.
pub async fn cluster(context: &Context) -> Arc<Cluster> {
    loop {
        if let Some(cluster) = &context.fleet.snapshot().cluster {
            return Arc::clone(cluster);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends a service whose socket belongs to an address that the appliance no longer has; it is then
/// started again with the new one.
pub fn still_at(address: Ipv4Addr, context: &Context) -> anyhow::Result<()> {
    match context.address() {
        Some(now) if now != address => {
            anyhow::bail!("the appliance's address changed from {address} to {now}")
        }
        _ => Ok(()),
    }
}

/// The interface that was named, else the one that has the appliance's address.
pub fn interface(context: &Context, address: Ipv4Addr) -> anyhow::Result<String> {
    if let Some(name) = context.interface() {
        return Ok(name.to_owned());
    }
    let interfaces = nix::ifaddrs::getifaddrs().context("listing the interfaces")?;
    let has_address = |interface: &nix::ifaddrs::InterfaceAddress| {
        let own = interface
            .address
            .as_ref()
            .and_then(|own| own.as_sockaddr_in());
        own.is_some_and(|own| own.ip() == address)
    };
    interfaces
        .into_iter()
        .find(has_address)
        .map(|interface| interface.interface_name)
        .with_context(|| format!("no interface has the appliance's address {address}"))
}

/// A UDP socket that may broadcast. With an interface it sends and receives there and nowhere else.
pub fn udp(address: Ipv4Addr, port: u16, interface: Option<&str>) -> anyhow::Result<UdpSocket> {
    let bind = || -> std::io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(interface.map(str::as_bytes))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV4::new(address, port).into())?;
        UdpSocket::from_std(socket.into())
    };
    bind().with_context(|| format!("binding UDP {address}:{port}"))
}

/// A listening TCP socket.
pub async fn tcp(address: Ipv4Addr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, port))
        .await
        .with_context(|| format!("binding TCP {address}:{port}"))
}

/// Asks for a receive buffer of this many bytes, past the system's limit where this process may. What
/// is not granted is no error: the socket works with less.
pub fn enlarge_receive_buffer(socket: &impl AsFd, bytes: usize) {
    let _ = setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes));
}

/// Datagrams that the kernel ever dropped at a socket, since its buffer was full (SO_MEMINFO, linux
/// include/uapi/linux/sock_diag.h).
pub fn dropped(socket: &impl AsRawFd) -> std::io::Result<u32> {
    const DROPS: usize = 8;
    let mut figures = [0_u32; 9];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the pointers are to an array of the size that is given, and to that size.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match outcome {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(figures[DROPS]),
    }
}
