//! NTP on UDP port 123.

use std::io::{self, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Instant;

use anyhow::Context as _;
use hardway_netboot::ntp::limiter::Limiter;
use hardway_netboot::ntp::{Nanoseconds, Times, respond};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::socket;
use crate::clock;
use crate::context::Context;

mod discipline;

const PORT: u16 = 123;
/// Longer than any request of versions 1 to 4 with its authentication.
const LARGEST: usize = 512;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let socket = socket::udp(address, PORT, context.interface())?;
    // The kernel's own time of a packet's arrival: this program may be busy then.
    setsockopt(&socket, ReceiveTimestampns, &true).context("asking for times of arrival")?;
    let mut watch = discipline::Watch::new();
    tracing::info!("ntp: {}", discipline::describe(watch.clock().discipline));
    let mut limiter = Limiter::default();
    let began = Instant::now();
    let mut buffer = [0; LARGEST];
    loop {
        let received = socket
            .async_io(Interest::READABLE, || {
                receive(socket.as_raw_fd(), &mut buffer)
            })
            .await;
        let request = received.context("receiving NTP")?;
        socket::still_at(address, &context)?;
        let Some(peer) = request.peer else {
            continue;
        };
        let turn = limiter.turn(*peer.ip(), began.elapsed().as_nanos() as Nanoseconds);
        let clock = watch.clock();
        let now = clock::nanoseconds();
        let times = Times {
            // A clock that was set back meanwhile must not make the reply older than the request.
            received: request.arrived.unwrap_or(now).min(now),
            now,
        };
        let reply = respond(&buffer[..request.length], clock, times, turn);
        if let Some(reply) = reply {
            send(&socket, &reply, peer);
        }
    }
}

/// A request's outside.
struct Request {
    length: usize,
    peer: Option<SocketAddrV4>,
    arrived: Option<Nanoseconds>,
}

fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<Request> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn>(socket, &mut parts, Some(&mut space), flags)?;
    let arrived = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => nanoseconds(time),
        _ => None,
    });
    Ok(Request {
        length: message.bytes,
        peer: message.address.map(SocketAddrV4::from),
        arrived,
    })
}

fn nanoseconds(time: TimeSpec) -> Option<Nanoseconds> {
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let rest = u64::try_from(time.tv_nsec()).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(rest)
}

/// At once or not at all: a reply that waits tells a wrong time.
fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddrV4) {
    if let Err(error) = socket.try_send_to(reply, peer.into()) {
        tracing::debug!("ntp: sending to {peer}: {error}");
    }
}
