//! TFTP on UDP port 69, on an operating system thread of its own.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`server`] | the loop: requests, transfers, timers |
//! | [`doors`] | where it gets files from, and says what became of them |
//! | [`pause`] | when it sleeps, and when it looks again at once |
//! | [`packets`] | data packets, made ready once for everybody |
//! | [`datagrams`] | many datagrams by one system call |
//!
//! Two sockets: the one that takes requests, and one that all transfers share, which are told apart by
//! their clients' addresses. A rack that is powered on costs two files, not a thousand.

use std::net::{IpAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use hardway_model::boot::{self, Protocol, TransferEnd};
use hardway_model::lifecycle::Event;
use hardway_netboot::tftp::Outcome;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{mpsc, oneshot};

use super::socket;
use crate::api::files::machine_at;
use crate::context::Context;
use crate::metrics::Kind;

mod datagrams;
mod doors;
mod packets;
mod pause;
mod server;
#[cfg(test)]
mod tests;

use doors::Doors;
use server::Server;

const PORT: u16 = 69;
/// Ends of transfers that may wait to be recorded. More are only logged.
const MOST_ENDS: usize = 4096;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let interface = context.interface();
    let open = |port| -> anyhow::Result<UdpSocket> {
        let socket = socket::udp(address, port, interface)?;
        socket.into_std().context("taking a TFTP socket")
    };
    let (listener, socket) = (open(PORT)?, open(0)?);
    let (ends, ended) = mpsc::channel(MOST_ENDS);
    let doors = Doors::new(context.clone(), ends)?;
    let server = Server::new(listener, socket, doors.clone(), address)?;
    let _stop = Stop(doors);
    let running = on_a_thread(server)?;
    tokio::select! {
        result = running => result.context("the TFTP thread has ended without a word")?,
        () = tell_all(ended, &context) => anyhow::bail!("nobody sends ends of transfers any more"),
    }
}

/// Ends the thread when the service's task is dropped.
struct Stop(Doors);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.bell.stop.store(true, Ordering::Relaxed);
        self.0.bell.ring();
    }
}

fn on_a_thread(server: Server) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (done, running) = oneshot::channel();
    std::thread::Builder::new()
        .name("tftp".to_owned())
        .spawn(move || {
            // Nobody waits for it any more where the task was dropped.
            let _ = done.send(server.run());
        })
        .context("starting the TFTP thread")?;
    Ok(running)
}

/// What wakes the thread.
#[derive(Debug)]
struct Bell {
    event: EventFd,
    stop: AtomicBool,
}

impl Bell {
    fn new() -> anyhow::Result<Arc<Self>> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let event = EventFd::from_flags(flags).context("making an eventfd")?;
        let stop = AtomicBool::new(false);
        Ok(Arc::new(Self { event, stop }))
    }

    /// A bell that was rung often enough to be full still rings.
    fn ring(&self) {
        let _ = self.event.write(1);
    }
}

/// What becomes of a transfer.
#[derive(Debug)]
enum Told {
    Began { peer: SocketAddrV4, file: String },
    Ended(Ended),
}

/// A transfer that is over.
#[derive(Debug)]
struct Ended {
    peer: SocketAddrV4,
    file: String,
    outcome: Outcome,
    size: u64,
    /// Milliseconds.
    took: u64,
}

async fn tell_all(mut told: mpsc::Receiver<Told>, context: &Context) {
    while let Some(told) = told.recv().await {
        match told {
            Told::Began { peer, file } => tell_beginning(peer, file, context),
            Told::Ended(ended) => tell(ended, context),
        }
    }
}

/// What lasts is no silence.
fn tell_beginning(peer: SocketAddrV4, file: String, context: &Context) {
    let machine = machine_at(&context.fleet.snapshot(), IpAddr::V4(*peer.ip()));
    if let Some(name) = machine.filter(|_| !file.contains('/')) {
        let event = Event::TransferBegan { file };
        context.fleet.observe(name, Box::new(event));
    }
}

fn tell(ended: Ended, context: &Context) {
    let (bytes, word) = ended.summary();
    let labels = Kind::of(word);
    context.metrics.tftp_transfers.get_or_create(&labels).inc();
    context.metrics.tftp_bytes.inc_by(bytes);
    let Ended { peer, .. } = ended;
    let Some(transfer) = ended.transfer() else {
        return;
    };
    match machine_at(&context.fleet.snapshot(), IpAddr::V4(*peer.ip())) {
        Some(name) => {
            let event = Box::new(Event::Transfer(transfer));
            context.fleet.observe(name, event);
        }
        None => tracing::info!("tftp: {peer}: {transfer:?}"),
    }
}

impl Ended {
    /// Bytes that the client has, and how the transfer ended, for the metrics.
    fn summary(&self) -> (u64, &'static str) {
        match self.outcome {
            Outcome::Complete { bytes } => (bytes, "complete"),
            Outcome::Aborted { bytes, .. } => (bytes, "aborted"),
            Outcome::HungUp { bytes } => (bytes, "hung-up"),
            Outcome::TimedOut { bytes } => (bytes, "silence"),
        }
    }

    /// `None` for what is no boot file of the payload (a script is recorded when it is made), and for
    /// what is no transfer: edk2 asks for the size first, and breaks off.
    fn transfer(self) -> Option<boot::Transfer> {
        if self.file.contains('/') {
            return None;
        }
        let (bytes, end) = match self.outcome {
            Outcome::Complete { bytes } => (bytes, TransferEnd::Complete),
            Outcome::Aborted { bytes: 0, .. } => return None,
            Outcome::Aborted {
                code,
                message,
                bytes,
            } => {
                let code = Some(code);
                (bytes, TransferEnd::Aborted { code, message })
            }
            Outcome::HungUp { bytes } => {
                let message = "its port is closed".to_owned();
                (
                    bytes,
                    TransferEnd::Aborted {
                        code: None,
                        message,
                    },
                )
            }
            Outcome::TimedOut { bytes } => (bytes, TransferEnd::Silence),
        };
        Some(boot::Transfer {
            file: self.file,
            protocol: Protocol::Tftp,
            bytes,
            size: self.size,
            end,
            took: self.took,
        })
    }
}
