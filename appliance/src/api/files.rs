//! Boot files, modules, OS images and the toolbox: what a request for a file leads to, whichever server
//! it reached. [`find`] opens, `hardway_netboot::http::answer` decides what of it is sent; [`serve`] is
//! the way of the route table, which is for connections that it was given before.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::try_unfold;
use hardway_model::boot::{self, Protocol, TransferEnd};
use hardway_model::lifecycle::Event;
use hardway_netboot::http::{Conditions, Method, Reply, Resource, answer, file_path, media_type};
use prometheus_client::metrics::counter::Counter;

use super::{ApiError, boot as scripts};
use crate::context::Context;
use crate::fleet::Snapshot;
use crate::serve::boot_files::{self, Missing};
use crate::serve::content::{Content, Piece};
use crate::toolbox::Index;

/// Bytes read from a file at once by [`serve`].
const CHUNK: u64 = 256 << 10;

/// A request, as far as it decides which file is meant.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its target, as it was sent.
    pub target: &'a str,
    /// Its method.
    pub method: Method,
    /// Whether it goes on with a download.
    pub goes_on: bool,
    /// Who asks.
    pub peer: IpAddr,
}

/// A file that is there.
pub struct File {
    /// What is in it.
    pub content: Content,
    /// What is told of it.
    pub resource: Resource,
    /// Whose timeline its transfer is a line of.
    pub telling: Option<Telling>,
}

/// The file that a request means; `None` where its path is none of files.
pub async fn find(context: &Context, asked: Asked<'_>) -> Option<Result<File, ApiError>> {
    let (path, rest) = asked.target.strip_prefix('/')?.split_once('/')?;
    if rest.is_empty() {
        return None;
    }
    let folder = match path {
        "boot" | "uki" => None,
        "modules" => Some(context.options.payload.join("modules")),
        "images" => Some(context.options.images.clone()),
        "toolbox" => Some(context.options.toolbox()),
        _ => return None,
    };
    let missing = || Err(not_found(asked.target.split('?').next().unwrap_or(rest)));
    let Some(path) = file_path(asked.target) else {
        return Some(missing());
    };
    let (kind, name) = path.split_once('/')?;
    Some(match (kind, folder) {
        ("boot", _) => boot_file(context, name, asked).await,
        ("uki", _) => unified_kernel(context, name, asked).await,
        ("toolbox", Some(folder)) if !is_listed(&folder, name) => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("{name} is not of the toolbox"),
        )),
        (_, Some(folder)) => stored(&folder.join(name), name),
        _ => missing(),
    })
}

/// What of a file is sent, and how it is described.
pub fn reply(method: Method, conditions: &Conditions<'_>, file: &File) -> Reply {
    let mut reply = answer(method, conditions, &file.resource);
    reply
        .headers
        .push(("X-Content-Type-Options", "nosniff".to_owned()));
    reply
}

/// Each transfer of a boot file is a line of its machine's timeline.
async fn boot_file(context: &Context, name: &str, asked: Asked<'_>) -> Result<File, ApiError> {
    let content = boot_files::open(context, name, asked.peer)
        .await
        .map_err(|missing| {
            let status = match &missing {
                Missing::Unknown(_) => return not_found(&format!("/boot/{name}")),
                Missing::Refused(_) => StatusCode::FORBIDDEN,
                Missing::Unreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            };
            ApiError::new(status, missing.to_string())
        })?;
    let machine = machine_at(&context.fleet.snapshot(), asked.peer);
    let telling = machine.map(|machine| Telling::new(context, machine, name, content.size()));
    let resource = resource(&content, name)?;
    Ok(File {
        content,
        resource,
        telling,
    })
}

/// `MAC/agent.efi`: the agent for the machine with this NIC.
async fn unified_kernel(context: &Context, path: &str, asked: Asked<'_>) -> Result<File, ApiError> {
    let name = boot::AGENT_IMAGE;
    let mac = path
        .strip_suffix(name)
        .and_then(|path| path.strip_suffix('/'));
    let mac = mac.and_then(|mac| mac.parse().ok());
    let mac = mac.ok_or_else(|| not_found(&format!("/uki/{path}")))?;
    let (machine, content) = scripts::unified_kernel(context, mac, asked).await?;
    // Another token makes another image, so that no part of one goes on with another.
    let resource = Resource {
        size: content.size(),
        modified: None,
        etag: None,
        media_type: media_type(name),
    };
    let telling = Telling::new(context, machine, name, content.size());
    Ok(File {
        content,
        resource,
        telling: Some(telling),
    })
}

fn is_listed(folder: &Path, name: &str) -> bool {
    Index::read(folder).is_ok_and(|index| index.lists(name))
}

/// A file of a folder, and nothing else that may stand there: opening a pipe would wait for its other
/// end.
fn stored(path: &Path, name: &str) -> Result<File, ApiError> {
    let open = || {
        match std::fs::metadata(path)?.is_file() {
            true => {}
            false => return Err(io::ErrorKind::NotFound.into()),
        }
        Content::file(std::fs::File::open(path)?)
    };
    let content = open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => not_found(name),
        _ => unreadable(name, error),
    })?;
    let resource = resource(&content, name)?;
    Ok(File {
        content,
        resource,
        telling: None,
    })
}

fn resource(content: &Content, name: &str) -> Result<Resource, ApiError> {
    let metadata = match content.pieces() {
        [Piece::File { file, .. }] => Some(file.metadata()),
        _ => None,
    };
    let metadata = metadata
        .transpose()
        .map_err(|error| unreadable(name, error))?;
    // The appliance's own files are of 1970, so that two builds are the same: that is no date.
    let changed = metadata
        .as_ref()
        .map(|of| (of.mtime(), of.mtime_nsec(), of.ino()));
    let modified = changed.and_then(|(seconds, ..)| u64::try_from(seconds).ok());
    let etag = changed.map(|(seconds, nanoseconds, inode)| {
        format!(
            "\"{seconds:x}.{nanoseconds:x}-{inode:x}-{:x}\"",
            content.size()
        )
    });
    Ok(Resource {
        size: content.size(),
        modified: modified.filter(|seconds| *seconds > 0),
        etag,
        media_type: media_type(name),
    })
}

fn not_found(path: &str) -> ApiError {
    tracing::warn!("{path} was asked for and is not there");
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {path}"))
}

fn unreadable(name: &str, error: io::Error) -> ApiError {
    anyhow::Error::from(error)
        .context(format!("opening {name}"))
        .into()
}

/// Any request for a path of files that reached the route table.
pub async fn serve(State(context): State<Context>, request: Request) -> Response {
    let began = Instant::now();
    let method = match request.method().as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        other => {
            let refused = format!("{other} is nothing to do with a file");
            let allowed = [(header::ALLOW, "GET, HEAD")];
            let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, refused);
            return (allowed, error).into_response();
        }
    };
    let mut conditions = Conditions::default();
    for (name, value) in request.headers() {
        conditions.add(name.as_str(), value.as_bytes());
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let asked = Asked {
        target: request.uri().path(),
        method,
        goes_on: conditions.goes_on(),
        peer: peer.map_or(unknown, |ConnectInfo(address)| address.ip()),
    };
    match find(&context, asked).await {
        Some(Ok(file)) => respond(&context, reply(method, &conditions, &file), file, began),
        Some(Err(error)) => error.into_response(),
        None => not_found(asked.target).into_response(),
    }
}

fn respond(context: &Context, reply: Reply, file: File, began: Instant) -> Response {
    let body = match reply.content {
        Some(range) => Body::from_stream(try_unfold(
            Sending {
                content: file.content,
                next: range.start,
                start: range.start,
                end: range.end,
                began,
                sent: context.metrics.http_bytes.clone(),
                telling: file.telling,
            },
            Sending::chunk,
        )),
        None => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A file on its way through the route table's server.
struct Sending {
    content: Content,
    start: u64,
    next: u64,
    end: u64,
    began: Instant,
    sent: Counter,
    telling: Option<Telling>,
}

impl Sending {
    async fn chunk(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let length = (self.end - self.next).min(CHUNK);
        if length == 0 {
            return Ok(None);
        }
        let (content, offset) = (self.content.clone(), self.next);
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length as usize];
            content.read_exact_at(&mut buffer, offset).map(|()| buffer)
        });
        let bytes = read.await.map_err(io::Error::other)??;
        self.next += length;
        self.sent.inc_by(length);
        Ok(Some((bytes.into(), self)))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let end = match self.next == self.end {
            true => TransferEnd::Complete,
            false => TransferEnd::Aborted {
                code: None,
                message: "the connection was closed".to_owned(),
            },
        };
        if let Some(telling) = self.telling.take() {
            telling.tell(self.next - self.start, end, self.began.elapsed());
        }
    }
}

/// A transfer that a machine's timeline is told of.
pub struct Telling {
    context: Context,
    machine: String,
    file: String,
    size: u64,
}

impl Telling {
    fn new(context: &Context, machine: String, file: &str, size: u64) -> Self {
        let file = file.to_owned();
        let began = Event::TransferBegan { file: file.clone() };
        context.fleet.observe(machine.clone(), Box::new(began));
        Self {
            context: context.clone(),
            machine,
            file,
            size,
        }
    }

    /// How it ended, after how many bytes and how long.
    pub fn tell(self, bytes: u64, end: TransferEnd, took: Duration) {
        let event = Event::Transfer(boot::Transfer {
            file: self.file,
            protocol: Protocol::Http,
            bytes,
            size: self.size,
            end,
            took: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        self.context.fleet.observe(self.machine, Box::new(event));
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
