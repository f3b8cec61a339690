//! Clients by TCP. One may send further questions before the first is answered, and gets answers as they
//! are found (RFC 7766 section 6.2.1.1).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hardway_netboot::dns::{Reply, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::framing::{read_message, write_message};
use super::resolver::Resolver;

/// How long a client may say nothing, or take nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at once, in all and from one address.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 16;
/// Open questions of one client before no more are read.
const OPEN: usize = 16;
/// The pause when no file descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves every client.
pub async fn serve(listener: TcpListener, resolver: &Arc<Resolver>) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(MOST));
    let peers = Arc::new(Peers::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("dns: accepting a client: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let Some(seat) = Peers::seat(&peers, peer.ip()) else {
            continue;
        };
        let resolver = Arc::clone(resolver);
        tokio::spawn(async move {
            if let Err(error) = serve_client(stream, &resolver).await {
                tracing::debug!("dns: {peer}: {error:#}");
            }
            drop((permit, seat));
        });
    }
}

/// Returns when the client has hung up and has its answers, or has taken too long.
pub(super) async fn serve_client(
    stream: TcpStream,
    resolver: &Arc<Resolver>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reading, mut writing) = stream.into_split();
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(OPEN);
    let room = Arc::new(Semaphore::new(OPEN));
    let read = async {
        // The last sender's end is the writer's.
        let answers = answers;
        loop {
            let permit = Arc::clone(&room).acquire_owned().await?;
            let Ok(message) = timeout(PATIENCE, read_message(&mut reading)).await else {
                return Ok(());
            };
            let Some(query) = message? else {
                return Ok(());
            };
            match resolver.respond(&query, Transport::Tcp) {
                Reply::Answer(bytes) => answers.send(bytes).await?,
                Reply::Forward(question) => {
                    let room = resolver.room().context("too many questions at once")?;
                    let (answers, resolver) = (answers.clone(), Arc::clone(resolver));
                    tokio::spawn(async move {
                        // A client that is gone needs no answer.
                        let _ = answers.send(resolver.forward(&question).await).await;
                        drop((permit, room));
                    });
                }
                Reply::Silence => return anyhow::Ok(()),
            }
        }
    };
    let write = async {
        while let Some(bytes) = ready.recv().await {
            timeout(PATIENCE, write_message(&mut writing, &bytes)).await??;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// How many clients each address has.
#[derive(Debug, Default)]
struct Peers(Mutex<std::collections::HashMap<IpAddr, usize>>);

/// One client's place among those of its address.
struct Seat {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Peers {
    fn seat(peers: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut counts = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        let peers = Arc::clone(peers);
        Some(Seat { peers, address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
