//! HTTP: the listener under the route table.
//!
//! An own loop around hyper's connections, since axum's leaves clients that never finish a request
//! all the time that they want, and with it the files that every other service needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api;
use crate::context::Context;

/// Connections that may wait to be accepted: a rack that is powered on at once.
const BACKLOG: i32 = 1024;
/// Connections at once, well below the 1024 files that a process may have open; more have to wait.
const MOST: usize = 384;
/// How long a client has for the head of its next request.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until the process ends.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, context.options.http_port));
    let listener = listen(address).with_context(|| format!("binding TCP {address} for HTTP"))?;
    tracing::info!("HTTP on {address}");
    let routes = api::router(context);
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        let permit = permit.context("waiting for room")?;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    serve_client(stream, peer, routes, PATIENCE).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("http: accepting a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve_client(stream: TcpStream, peer: SocketAddr, routes: Router, patience: Duration) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("http: {peer}: {error}");
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into())?)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::fixture::Appliance;

    /// What a client reads until the appliance hangs up, which it has to do by itself.
    async fn answer_to(sent: &[u8]) -> String {
        let appliance = Appliance::start().await;
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let routes = api::router(appliance.context.clone());
        tokio::spawn(serve_client(
            stream,
            peer,
            routes,
            Duration::from_millis(100),
        ));
        client.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_is_hung_up_on() {
        assert_eq!(answer_to(b"GET / HTTP/1.1\r\nHost: ").await, "");
    }

    #[tokio::test]
    async fn a_client_that_asks_nothing_more_is_hung_up_on() {
        let answer = answer_to(b"GET /boot/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("a kernel"), "{answer}");
    }
}
