//! HTTP: the listener under the route table.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::Context;
use crate::api;

/// Connections that may wait to be accepted: a rack that is powered on at once.
const BACKLOG: i32 = 1024;

/// Serves until the listener fails.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, context.options.http_port));
    let listener = listen(address).with_context(|| format!("binding TCP {address} for HTTP"))?;
    tracing::info!("HTTP on {address}");
    let service = api::router(context).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.context("serving HTTP")
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into())?)
}
