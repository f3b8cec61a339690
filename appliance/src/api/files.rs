//! Boot files, modules and OS images, with ranges; boot files are counted for their machine.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{self, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hardway_model::boot::{self, Protocol, TransferEnd};
use hardway_model::lifecycle::Event;
use hyper::body::{Frame, SizeHint};
use tower_http::services::ServeDir;

use super::ApiError;
use crate::context::Context;
use crate::fleet::Snapshot;
use crate::toolbox::Index;

/// Bytes read from a file at once: a large buffer halves the CPU that a large file costs.
const CHUNK: usize = 1 << 20;

/// `/boot/NAME`: what firmware and iPXE fetch. Each transfer is a line of the machine's timeline.
pub fn boot(context: &Context) -> Router {
    folder(&context.options.payload.join("boot"))
        .layer(middleware::from_fn_with_state(context.clone(), count))
}

/// `/modules/NAME`: kernel modules for the agent, which counts them itself.
pub fn modules(context: &Context) -> Router {
    folder(&context.options.payload.join("modules"))
}

/// `/images/NAME`: OS images.
pub fn images(context: &Context) -> Router {
    folder(&context.options.images)
}

/// `/toolbox/NAME`: the files that the toolbox's index names.
pub fn toolbox(context: &Context) -> Router {
    let folder_path = context.options.toolbox();
    folder(&folder_path).layer(middleware::from_fn_with_state(folder_path, only_listed))
}

async fn only_listed(State(folder): State<PathBuf>, request: Request, next: Next) -> Response {
    let file = request.uri().path().trim_start_matches('/').to_owned();
    let index = tokio::task::spawn_blocking(move || Index::read(&folder)).await;
    match index {
        Ok(Ok(index)) if index.lists(&file) => next.run(request).await,
        _ => ApiError::new(
            StatusCode::NOT_FOUND,
            format!("{file} is not of the toolbox"),
        )
        .into_response(),
    }
}

fn folder(path: &Path) -> Router {
    let files = ServeDir::new(path)
        .append_index_html_on_directories(false)
        .with_buf_chunk_size(CHUNK);
    Router::new()
        .fallback_service(files)
        .layer(middleware::from_fn(name_what_is_missing))
}

async fn name_what_is_missing(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    match response.status() {
        StatusCode::NOT_FOUND => {
            tracing::warn!("{path} was asked for and is not there");
            ApiError::new(StatusCode::NOT_FOUND, format!("there is no {path}")).into_response()
        }
        _ => response,
    }
}

async fn count(State(context): State<Context>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.ip());
    let file = request.uri().path().trim_start_matches('/').to_owned();
    let is_get = request.method() == Method::GET;
    let response = next.run(request).await;
    let name = peer.and_then(|peer| machine_at(&context.fleet.snapshot(), peer));
    match name {
        Some(name) if is_get && response.status().is_success() => response.map(|body| {
            Body::new(Counted {
                body,
                sent: 0,
                transfer: Some(Transfer {
                    context,
                    name,
                    file,
                }),
            })
        }),
        _ => response,
    }
}

/// The machine that was given an address. Declared addresses come first: another machine's state may
/// remember the same one from earlier.
pub fn machine_at(snapshot: &Snapshot, peer: IpAddr) -> Option<String> {
    let IpAddr::V4(peer) = peer else { return None };
    let mut declared = snapshot
        .cluster
        .iter()
        .flat_map(|cluster| &cluster.machines);
    if let Some(machine) = declared.find(|machine| machine.address == Some(peer)) {
        return Some(machine.name.clone());
    }
    let holders = snapshot.machines.iter();
    holders
        .filter(|(_, state)| state.address == Some(peer))
        .max_by_key(|(_, state)| state.last_seen)
        .map(|(name, _)| name.clone())
}

struct Transfer {
    context: Context,
    name: String,
    file: String,
}

/// A body that tells the machine's timeline how much of it was taken, when it is finished or dropped.
struct Counted {
    body: Body,
    sent: u64,
    transfer: Option<Transfer>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(task);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.sent += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(Transfer {
            context,
            name,
            file,
        }) = self.transfer.take()
        else {
            return;
        };
        let bytes = self.sent;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let event = Event::Transfer(boot::Transfer {
                file,
                protocol: Protocol::Http,
                bytes,
                size: bytes,
                end: TransferEnd::Complete,
                took: 0,
            });
            if let Err(error) = context.fleet.record(&name, event).await {
                tracing::error!("recording a transfer to {name}: {error:#}");
            }
        });
    }
}
