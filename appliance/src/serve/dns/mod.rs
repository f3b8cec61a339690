//! DNS on port 53, by UDP and TCP.
//!
//! | module | what it does |
//! | --- | --- |
//! | `names` | keeps the zone: cluster.yaml and the leases |
//! | `resolver` | answers a question: from the zone, the cache, or an upstream server |
//! | `upstream` | asks upstream servers |
//! | `tcp` | clients by TCP |
//! | `framing` | messages by TCP |

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use hardway_netboot::dns::{Reply, Transport};
use tokio::net::UdpSocket;

use self::resolver::Resolver;
use super::socket;
use crate::context::Context;

mod framing;
mod names;
mod resolver;
mod tcp;
#[cfg(test)]
mod tests;
mod upstream;

const PORT: u16 = 53;
/// The largest question by UDP that is taken; EDNS' options may make it long.
const LARGEST: usize = 4096;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let udp = Arc::new(socket::udp(address, PORT, context.interface())?);
    let listener = socket::tcp(address, PORT).await?;
    let names = names::Names::default();
    let resolver = Resolver::new(names.clone());
    tokio::select! {
        ended = names.keep(&context) => ended,
        ended = serve_udp(udp, address, &context, &resolver) => ended,
        ended = tcp::serve(listener, &resolver) => ended,
    }
}

async fn serve_udp(
    socket: Arc<UdpSocket>,
    address: Ipv4Addr,
    context: &Context,
    resolver: &Arc<Resolver>,
) -> anyhow::Result<()> {
    let mut buffer = [0; LARGEST];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        let (length, peer) = received.context("receiving DNS questions")?;
        socket::still_at(address, context)?;
        match resolver.respond(&buffer[..length], Transport::Udp) {
            Reply::Answer(bytes) => send(&socket, &bytes, peer).await,
            Reply::Forward(question) => {
                // What is more goes unanswered, and is asked again.
                let Some(room) = resolver.room() else {
                    continue;
                };
                let (socket, resolver) = (Arc::clone(&socket), Arc::clone(resolver));
                tokio::spawn(async move {
                    let bytes = resolver.forward(&question).await;
                    send(&socket, &bytes, peer).await;
                    drop(room);
                });
            }
            Reply::Silence => {}
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, peer).await {
        tracing::debug!("dns: sending to {peer}: {error}");
    }
}
