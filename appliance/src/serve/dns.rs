//! DNS on port 53, by UDP and TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hardway_model::cluster::Cluster;
use hardway_netboot::dns::{Reply, Transport, Zone, respond};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::socket;
use crate::clock;
use crate::context::Context;

const PORT: u16 = 53;
/// How long an upstream server has for its answer before the next is asked.
const UPSTREAM: Duration = Duration::from_secs(2);
/// How long a TCP client is served before it has to connect again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Forwarded questions and TCP clients at once; what is more goes unanswered, and is asked again.
const MOST: usize = 256;
/// The largest datagram that is taken from an upstream server.
const LARGEST: usize = 4096;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let udp = Arc::new(socket::udp(address, PORT, context.interface())?);
    let tcp = socket::tcp(address, PORT).await?;
    let room = Arc::new(Semaphore::new(MOST));
    tokio::select! {
        ended = serve_udp(udp, address, &context, &room) => ended,
        ended = serve_tcp(tcp, &context, &room) => ended,
    }
}

async fn serve_udp(
    socket: Arc<UdpSocket>,
    address: Ipv4Addr,
    context: &Context,
    room: &Arc<Semaphore>,
) -> anyhow::Result<()> {
    let mut buffer = [0; LARGEST];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        let (length, peer) = received.context("receiving DNS questions")?;
        socket::still_at(address, context)?;
        let query = &buffer[..length];
        match answer(query, Transport::Udp, context) {
            Some((Reply::Answer(bytes), _)) => send(&socket, &bytes, peer).await,
            Some((Reply::Forward, cluster)) => {
                let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                    continue;
                };
                let (socket, query) = (Arc::clone(&socket), query.to_vec());
                tokio::spawn(async move {
                    if let Some(bytes) = forward_udp(&query, &cluster).await {
                        send(&socket, &bytes, peer).await;
                    }
                    drop(permit);
                });
            }
            Some((Reply::Silence, _)) | None => {}
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    context: &Context,
    room: &Arc<Semaphore>,
) -> anyhow::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await.context("accepting DNS clients")?;
        let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
            continue;
        };
        let context = context.clone();
        tokio::spawn(async move {
            match timeout(PATIENCE, serve_client(stream, &context)).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(error)) => tracing::debug!("dns: {peer}: {error:#}"),
            }
            drop(permit);
        });
    }
}

/// One TCP client: messages with a two-byte length before each (RFC 1035 section 4.2.2).
async fn serve_client(mut stream: TcpStream, context: &Context) -> anyhow::Result<()> {
    loop {
        let Some(query) = read_message(&mut stream).await? else {
            return Ok(());
        };
        let bytes = match answer(&query, Transport::Tcp, context) {
            Some((Reply::Answer(bytes), _)) => bytes,
            Some((Reply::Forward, cluster)) => forward_tcp(&query, &cluster).await?,
            Some((Reply::Silence, _)) | None => return Ok(()),
        };
        write_message(&mut stream, &bytes).await?;
    }
}

/// While cluster.yaml is broken nobody is answered.
fn answer(query: &[u8], transport: Transport, context: &Context) -> Option<(Reply, Arc<Cluster>)> {
    let cluster = context.fleet.snapshot().cluster.clone()?;
    let zone = match Zone::of(&cluster) {
        Ok(zone) => zone,
        Err(error) => {
            tracing::warn!("dns: {error}");
            return None;
        }
    };
    let forwards = !cluster.network.dns_upstream.is_empty();
    Some((
        respond(query, &zone, forwards, transport, clock::now()),
        cluster,
    ))
}

async fn send(socket: &UdpSocket, bytes: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, peer).await {
        tracing::debug!("dns: sending to {peer}: {error}");
    }
}

/// The first upstream server that answers. Each question has a socket, and so a port, of its own.
async fn forward_udp(query: &[u8], cluster: &Cluster) -> Option<Vec<u8>> {
    for upstream in &cluster.network.dns_upstream {
        match timeout(UPSTREAM, ask_udp(query, *upstream)).await {
            Ok(Ok(bytes)) => return Some(bytes),
            Ok(Err(error)) => tracing::debug!("dns: asking {upstream}: {error}"),
            Err(_) => tracing::debug!("dns: {upstream} does not answer"),
        }
    }
    None
}

async fn ask_udp(query: &[u8], upstream: Ipv4Addr) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((upstream, PORT)).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything with another id is not the answer to this question.
        if length >= 12 && buffer[..2] == query[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn forward_tcp(query: &[u8], cluster: &Cluster) -> anyhow::Result<Vec<u8>> {
    for upstream in &cluster.network.dns_upstream {
        match timeout(UPSTREAM, ask_tcp(query, *upstream)).await {
            Ok(Ok(Some(bytes))) => return Ok(bytes),
            Ok(Ok(None)) => tracing::debug!("dns: {upstream} hung up"),
            Ok(Err(error)) => tracing::debug!("dns: asking {upstream}: {error}"),
            Err(_) => tracing::debug!("dns: {upstream} does not answer"),
        }
    }
    anyhow::bail!("no upstream server answers")
}

async fn ask_tcp(query: &[u8], upstream: Ipv4Addr) -> std::io::Result<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect((upstream, PORT)).await?;
    write_message(&mut stream, query).await?;
    read_message(&mut stream).await
}

/// `None` when the peer hung up between two messages.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Messages are at most 65535 bytes; a longer one is cut, which no encoder here makes.
async fn write_message(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&message[..usize::from(length)]);
    stream.write_all(&bytes).await
}
