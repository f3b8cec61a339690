//! HTTP: connections that ask for files are served here, by the kernel's own copy; every other request
//! is handed to the route table.
//!
//! [`run`] accepts on the runtime of the pages and gives each connection to one of a few threads with
//! runtimes of their own, so that neither waits for the other. A connection costs no thread, whatever
//! its client does or leaves undone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use nix::sys::resource::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::api;
use crate::context::Context;
use crate::metrics::Kind;
use crate::serve::thread;

mod connection;
mod rest;
mod room;
mod send;
#[cfg(test)]
mod tests;

use room::{Place, Room};

/// Connections that may wait to be accepted: a rack that is powered on at once. The kernel takes at
/// most net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Connections at once, where the limit of open files allows them; more wait to be accepted.
const MOST: usize = 4096;
/// The part of the open files that connections may take. One that is served has up to two.
const SHARE: u64 = 4;
/// The part of all connections that one address may have.
const SHARE_OF_ONE: usize = 4;
/// Threads at most, one a processor. Copying is the kernel's work, and a few can keep any link of a
/// rack busy.
const THREADS: usize = 4;
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the head of its next request, from the end of the last answer on.
    head: Duration,
    /// Without taking anything of an answer.
    progress: Duration,
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(30),
    progress: Duration::from_secs(60),
};

/// What a connection is served with.
#[derive(Clone)]
struct Service {
    context: Context,
    routes: Router,
    /// The runtime of the route table.
    pages: Handle,
    patience: Patience,
}

/// A connection that was accepted, on its way to a thread.
struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    place: Place,
}

/// Serves until the process ends.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, context.options.http_port));
    let listener = listen(address).with_context(|| format!("binding TCP {address} for HTTP"))?;
    tracing::info!("HTTP on {address}");
    let most = most_connections();
    let room = Arc::new(Room::new(
        most,
        most / SHARE_OF_ONE,
        context.metrics.clone(),
    ));
    let service = Service {
        routes: api::router(context.clone()),
        pages: Handle::current(),
        patience: PATIENCE,
        context,
    };
    let mut queues = Vec::new();
    let mut threads = tokio::task::JoinSet::new();
    let count =
        std::thread::available_parallelism().map_or(1, |count| count.get().clamp(1, THREADS));
    for _ in 0..count {
        let (queue, accepted) = mpsc::unbounded_channel();
        queues.push(queue);
        let (service, context) = (service.clone(), service.context.clone());
        let work = move |_| work(service, accepted);
        threads.spawn(thread::own("http", context, work));
    }
    tokio::select! {
        outcome = accept(&listener, &room, &queues, &service.context) => outcome,
        Some(ended) = threads.join_next() => ended.context("serving HTTP")?,
    }
}

/// As many as the limit of open files leaves room for beside everything else.
fn most_connections() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let share = usize::try_from(files / SHARE).unwrap_or(MOST);
    share.saturating_mul(2).clamp(64, MOST)
}

fn listen(address: SocketAddr) -> anyhow::Result<AsyncFd<Socket>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    // SAFETY: the socket owns its descriptor, and stays the same one until the AsyncFd is dropped.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Accepts and hands out, to the threads in turn.
async fn accept(
    listener: &AsyncFd<Socket>,
    room: &Arc<Room>,
    queues: &[mpsc::UnboundedSender<Accepted>],
    context: &Context,
) -> anyhow::Result<()> {
    for queue in queues.iter().cycle() {
        let free = room.free().await?;
        let (stream, peer) = loop {
            let accepted = listener
                .async_io(tokio::io::Interest::READABLE, |socket| socket.accept())
                .await;
            match accepted {
                Ok((stream, peer)) => break (stream, peer),
                Err(error) => {
                    tracing::warn!("http: accepting a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let Some(peer) = peer.as_socket() else {
            continue;
        };
        context.metrics.http_connections.inc();
        let Some(place) = room.admit(free, peer.ip()) else {
            context
                .metrics
                .http_refused
                .get_or_create(&Kind::of("too-many-of-one"))
                .inc();
            tracing::debug!("http: {peer} has too many connections");
            continue;
        };
        stream.set_nonblocking(true)?;
        let accepted = Accepted {
            stream: stream.into(),
            peer,
            place,
        };
        // A thread that has ended is seen by whoever waits for it.
        let _ = queue.send(accepted);
    }
    anyhow::bail!("there is no thread to serve HTTP")
}

/// One thread's work: a task for each connection.
async fn work(
    service: Service,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
) -> anyhow::Result<()> {
    while let Some(accepted) = accepted.recv().await {
        let service = service.clone();
        tokio::spawn(async move {
            let Accepted {
                stream,
                peer,
                place,
            } = accepted;
            let served = match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => connection::serve(stream, peer, place, &service).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::debug!("http: {peer}: {error}");
            }
        });
    }
    Ok(())
}
