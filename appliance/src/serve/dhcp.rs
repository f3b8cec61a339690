//! DHCP on UDP port 67: receive, decide, make durable, send.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::Context as _;
use hardway_model::cluster::DhcpMode;
use hardway_model::identity::{Identity, MacAddress};
use hardway_netboot::dhcp::{CLIENT_PORT, Destination, Input, Output, SERVER_PORT, Service, World};
use tokio::net::UdpSocket;

use super::socket;
use crate::clock;
use crate::context::Context;

/// The largest message that is looked at; Ethernet frames are smaller.
const LARGEST: usize = 2048;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let cluster = socket::cluster(&context).await;
    let address = cluster.network.address;
    let interface = socket::interface(&context, address)?;
    // The socket takes broadcasts, so it cannot be bound to the appliance's address.
    let socket = socket::udp(Ipv4Addr::UNSPECIFIED, SERVER_PORT, Some(&interface))?;
    let mut service = Service::new(context.fleet.leases().await?, MacAddress([0; 6]));
    announce(cluster.network.dhcp, &interface);
    let mut buffer = [0; LARGEST];
    loop {
        let (length, source) = socket
            .recv_from(&mut buffer)
            .await
            .context("receiving DHCP")?;
        socket::still_at(address, &context)?;
        let outputs = decide(&mut service, &buffer[..length], source, &context);
        if let Err(error) = carry_out(outputs, &socket, &context).await {
            tracing::warn!("dhcp: {error:#}");
        }
    }
}

fn announce(mode: DhcpMode, interface: &str) {
    match mode {
        DhcpMode::Server => tracing::info!("dhcp: serving on {interface}"),
        DhcpMode::Auto => tracing::warn!(
            "dhcp: serving on {interface} as the network's only DHCP server; `mode: auto` does not \
             look for others yet"
        ),
        DhcpMode::Proxy => tracing::warn!(
            "dhcp: silent; `mode: proxy` is not there yet, and another server has to give boot files"
        ),
        DhcpMode::Off => tracing::info!("dhcp: off"),
    }
}

/// While cluster.yaml is broken nobody is answered.
fn decide(
    service: &mut Service,
    bytes: &[u8],
    source: SocketAddr,
    context: &Context,
) -> Vec<Output> {
    let snapshot = context.fleet.snapshot();
    let Some(cluster) = &snapshot.cluster else {
        return Vec::new();
    };
    let world = World {
        cluster,
        http_port: context.options.http_port,
    };
    let find = |identity: &Identity| snapshot.find(identity);
    let SocketAddr::V4(source) = source else {
        return Vec::new();
    };
    let input = Input::Packet {
        bytes,
        source,
        port: SERVER_PORT,
    };
    service.handle(input, world, find, clock::now())
}

/// In order, and nothing after a failure: an acknowledged lease is a durable one.
async fn carry_out(
    outputs: Vec<Output>,
    socket: &UdpSocket,
    context: &Context,
) -> anyhow::Result<()> {
    for output in outputs {
        match output {
            Output::StoreLease(lease) => context.fleet.store_lease(lease).await?,
            Output::Send {
                bytes, destination, ..
            } => {
                let destination = match destination {
                    Destination::Address(address) => address,
                    Destination::Broadcast(port) => SocketAddrV4::new(Ipv4Addr::BROADCAST, port),
                    Destination::Station { .. } => {
                        SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
                    }
                };
                let sent = socket.send_to(&bytes, destination).await;
                sent.with_context(|| format!("sending to {destination}"))?;
            }
            Output::Observed { name, event } => context.fleet.record(&name, *event).await?,
            Output::Notice { text, .. } => tracing::warn!("dhcp: {text}"),
            Output::Probe(_) => {}
            Output::Ignored(reason) => tracing::debug!("dhcp: {reason}"),
        }
    }
    Ok(())
}
