//! Answers router solicitations, so that iPXE does not wait 13 s for IPv6.

use std::net::{Ipv6Addr, SocketAddrV6};

use anyhow::Context as _;
use hardway_netboot::router_advertisement::{advertisement, is_solicitation};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::socket;
use crate::context::Context;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What every neighbour discovery message has to arrive with (RFC 4861 section 6.1).
const HOP_LIMIT: u32 = 255;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let interface = socket::interface(&context, address)?;
    let socket = open(&interface)?;
    // To everybody: the solicitation may come from the unspecified address.
    let destination = SocketAddrV6::new(ALL_NODES, 0, 0, index(&interface)?);
    let mut buffer = [0; 256];
    loop {
        let length = socket.recv(&mut buffer).await.context("receiving ICMPv6")?;
        socket::still_at(address, &context)?;
        if !is_solicitation(&buffer[..length]) {
            continue;
        }
        // Right after the link came up there is no link-local address to send from. The client asks
        // again.
        if let Err(error) = socket.send_to(&advertisement(), destination).await {
            tracing::debug!("router-advertisement: {error}");
        }
    }
}

/// A raw socket. Tokio's type for datagrams does for it: what differs is in the kernel.
fn open(interface: &str) -> anyhow::Result<UdpSocket> {
    let index = index(interface)?;
    let open = || -> std::io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(HOP_LIMIT)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into())
    };
    open().with_context(|| format!("opening an ICMPv6 socket on {interface}"))
}

fn index(interface: &str) -> anyhow::Result<u32> {
    nix::net::if_::if_nametoindex(interface)
        .with_context(|| format!("asking for the index of {interface}"))
}
