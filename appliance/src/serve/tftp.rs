//! TFTP on UDP port 69: one task and one socket for each transfer.

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hardway_model::boot::{self, Protocol, TransferEnd};
use hardway_model::lifecycle::Event;
use hardway_netboot::tftp::{
    ErrorCode, Outcome, Output, Refusal, Request, Transfer, encode_data, encode_error,
};
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

use super::socket;
use crate::api::files::machine_at;
use crate::context::Context;

const PORT: u16 = 69;
/// Transfers at once. A rack that powers on asks for one file a machine.
const MOST_TRANSFERS: usize = 512;
/// The largest packet that a client has reason to send.
const LARGEST: usize = 1024;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let socket = socket::udp(address, PORT, context.interface())?;
    let mut transfers = JoinSet::new();
    let mut peers: HashMap<SocketAddr, AbortHandle> = HashMap::new();
    let mut buffer = [0; LARGEST];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        let (length, peer) = received.context("receiving TFTP requests")?;
        socket::still_at(address, &context)?;
        while transfers.try_join_next().is_some() {}
        peers.retain(|_, transfer| !transfer.is_finished());
        match open(&buffer[..length], &context.options.payload, peers.len()) {
            Ok((request, file)) => {
                let transfer = transfer(request, file, address, peer, context.clone());
                let started = transfers.spawn(transfer);
                // A client that asks again has forgotten its first request.
                if let Some(former) = peers.insert(peer, started) {
                    former.abort();
                }
            }
            Err(Refusal::Silence) => {}
            Err(Refusal::Error { code, message }) => {
                // iPXE asks for an autoexec.ipxe at every start.
                tracing::debug!("tftp: refused {peer}: {message}");
                // A lost error packet is a client that asks again.
                let _ = socket.send_to(&encode_error(code, &message), peer).await;
            }
        }
    }
}

fn open(packet: &[u8], payload: &Path, under_way: usize) -> Result<(Request, File), Refusal> {
    let request = Request::decode(packet)?;
    if under_way >= MOST_TRANSFERS {
        return Err(Refusal::Error {
            code: ErrorCode::NotDefined,
            message: "too many transfers are under way; ask again".to_owned(),
        });
    }
    match File::open(payload.join("boot").join(&request.file)) {
        Ok(file) => Ok((request, file)),
        Err(error) => Err(Refusal::Error {
            code: ErrorCode::FileNotFound,
            message: format!("{}: {error}", request.file),
        }),
    }
}

async fn transfer(request: Request, file: File, own: Ipv4Addr, peer: SocketAddr, context: Context) {
    let name = request.file.clone();
    match carry_over(request, &file, own, peer, context.interface()).await {
        Ok((outcome, size, took)) => tell(&name, outcome, size, took, peer, &context).await,
        Err(error) => tracing::warn!("tftp: sending {name} to {peer}: {error:#}"),
    }
}

/// The transfer's own socket is its transfer id (RFC 1350 section 4).
async fn carry_over(
    request: Request,
    file: &File,
    own: Ipv4Addr,
    peer: SocketAddr,
    interface: Option<&str>,
) -> anyhow::Result<(Outcome, u64, u64)> {
    let socket = socket::udp(own, 0, interface)?;
    socket.connect(peer).await.context("connecting")?;
    let size = file.metadata().context("asking for its size")?.len();
    let began = Instant::now();
    let mut transfer = Transfer::new(&request, size);
    let mut buffer = [0; LARGEST];
    loop {
        let now = began.elapsed().as_millis() as u64;
        match transfer.poll(now) {
            Output::Send(packet) => send(&socket, &packet).await?,
            Output::SendBlock {
                block,
                offset,
                length,
            } => {
                let mut data = vec![0; length];
                tokio::task::block_in_place(|| file.read_exact_at(&mut data, offset))
                    .with_context(|| format!("reading {length} bytes at {offset}"))?;
                send(&socket, &encode_data(block, &data)).await?;
            }
            Output::Wait(until) => {
                let pause = Duration::from_millis(until.saturating_sub(now));
                match tokio::time::timeout(pause, socket.recv(&mut buffer)).await {
                    Ok(Ok(length)) => transfer.handle(&buffer[..length]),
                    Ok(Err(error)) => hung_up(error)?,
                    Err(_) => {}
                }
            }
            Output::Done(outcome) => return Ok((outcome, size, now)),
        }
    }
}

async fn send(socket: &UdpSocket, packet: &[u8]) -> anyhow::Result<()> {
    match socket.send(packet).await {
        Ok(_) => Ok(()),
        Err(error) => hung_up(error),
    }
}

/// A port that is closed says so by ICMP: the client has gone on to the next stage.
fn hung_up(error: std::io::Error) -> anyhow::Result<()> {
    Err(error).context("the client's port")
}

async fn tell(
    file: &str,
    outcome: Outcome,
    size: u64,
    took: u64,
    peer: SocketAddr,
    context: &Context,
) {
    let (bytes, end) = match outcome {
        Outcome::Complete { bytes } => (bytes, TransferEnd::Complete),
        // edk2 asks for the size first, and breaks off.
        Outcome::Aborted { bytes: 0, .. } => return,
        Outcome::Aborted {
            code,
            message,
            bytes,
        } => {
            let code = Some(code);
            (bytes, TransferEnd::Aborted { code, message })
        }
        Outcome::TimedOut { bytes } => (bytes, TransferEnd::Silence),
    };
    let transfer = boot::Transfer {
        file: file.to_owned(),
        protocol: Protocol::Tftp,
        bytes,
        size,
        end,
        took,
    };
    let Some(name) = machine_at(&context.fleet.snapshot(), peer.ip()) else {
        tracing::info!("tftp: {peer}: {transfer:?}");
        return;
    };
    let recorded = context.fleet.record(&name, Event::Transfer(transfer)).await;
    if let Err(error) = recorded {
        tracing::warn!("tftp: recording a transfer of {name}: {error:#}");
    }
}
