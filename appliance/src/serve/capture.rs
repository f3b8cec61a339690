//! What is said on the wire while machines boot, for the [`Recorder`].
//!
//! Recording is the least of the services: it takes frames in measured portions, and what does not fit
//! the kernel's buffer meanwhile is dropped there and counted, at next to no cost to the others. DHCP
//! that this appliance answers does not come this way: its service records what machines it is about.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hardway_model::cluster::DhcpMode;
use hardway_netboot::frame::filter;
use hardway_netboot::recorder::Recorder;
use tokio::time::sleep;

use super::packet_socket::{ALL, PacketSocket, hardware_address};
use super::{is_wanted, socket, thread};
use crate::clock;
use crate::context::Context;
use crate::metrics::Kind;

/// The kernel's buffer, in bytes.
const BUFFER: usize = 4 << 20;
/// Frames of one portion.
const PORTION: usize = 128;
/// The pause after each.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes that are kept of a frame; the filter asks for no more.
const LARGEST: usize = 1514;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    thread::own("capture", context, serve).await
}

async fn serve(context: Context) -> anyhow::Result<()> {
    let network = &socket::cluster(&context).await.network;
    let address = network.address;
    let server = answers_dhcp(&context, network.dhcp).then_some(address);
    let interface = socket::interface(&context, address)?;
    let program = filter::recording(context.options.http_port, server);
    let frames = match PacketSocket::open(&interface, ALL, Some(&program), BUFFER) {
        Err(error) if is_forbidden(&error) => {
            tracing::warn!("capture: boots are not recorded: {error:#}");
            std::future::pending().await
        }
        opened => opened?,
    };
    let own = hardware_address(&interface)?;
    recorder(&context).ignore(own);
    let mut buffer = [0; LARGEST];
    loop {
        let mut portion = Vec::new();
        let take = |frame: &[u8], length| portion.push((Box::<[u8]>::from(frame), length));
        let received = frames.receive(&mut buffer, PORTION, take).await;
        received.context("recording frames")?;
        keep(&portion, &context);
        let dropped = u64::from(frames.dropped().unwrap_or_default());
        let counters = &context.metrics.dropped;
        counters.get_or_create(&Kind::of("capture")).inc_by(dropped);
        socket::still_at(address, &context)?;
        let mode = socket::cluster(&context).await.network.dhcp;
        let is_the_same = answers_dhcp(&context, mode) == server.is_some();
        anyhow::ensure!(is_the_same, "cluster.yaml changes who answers DHCP");
        sleep(PAUSE).await;
    }
}

fn answers_dhcp(context: &Context, mode: DhcpMode) -> bool {
    mode != DhcpMode::Off && is_wanted("dhcp", context)
}

fn keep(portion: &[(Box<[u8]>, usize)], context: &Context) {
    let now = clock::now();
    let mut recorder = recorder(context);
    for (frame, length) in portion {
        recorder.record(frame, *length, now);
    }
}

fn recorder(context: &Context) -> MutexGuard<'_, Recorder> {
    let recorder = context.recorder.lock();
    recorder.unwrap_or_else(PoisonError::into_inner)
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}
