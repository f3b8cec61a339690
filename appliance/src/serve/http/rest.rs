//! Requests that are not for files: answered by the route table.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::header;
use axum::response::Response;
use hardway_netboot::http::{Connection, Head, LONGEST_HEAD, MOST_HEADERS, Method, date};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Service;
use super::room::Place;
use crate::clock;

/// What iPXE and the agent ask between two files on one connection. Answered in its place, so that the
/// files after it are still the kernel's to copy.
const SHORT: [&str; 3] = ["/boot.ipxe", "/ipxe", "/agent/v1/time"];
/// No answer in its place is larger.
const LARGEST: usize = 1 << 20;

/// Whether a request for this target is answered in its place.
pub fn is_short(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    SHORT.contains(&path)
}

/// Asks the route table, and encodes its answer.
pub async fn short(
    head: &Head<'_>,
    peer: SocketAddr,
    service: &Service,
) -> Result<Vec<u8>, axum::Error> {
    let method = match head.method {
        Method::Head => axum::http::Method::HEAD,
        _ => axum::http::Method::GET,
    };
    let request = Request::builder().method(method).uri(head.target);
    let mut request = request.body(Body::empty()).map_err(axum::Error::new)?;
    request.extensions_mut().insert(ConnectInfo(peer));
    let routes = TowerToHyperService::new(service.routes.clone());
    // On the runtime that the route table is meant for.
    let answer = service
        .pages
        .spawn(async move { routes.call(request).await });
    let response = match answer.await.map_err(axum::Error::new)? {
        Ok(response) => response,
        Err(never) => match never {},
    };
    encoded(response, head).await
}

/// An answer as it is sent.
pub async fn encoded(response: Response, head: &Head<'_>) -> Result<Vec<u8>, axum::Error> {
    encode(response, head.connection, head.method == Method::Head).await
}

/// An answer after which the connection ends.
pub async fn encoded_last(response: Response) -> Result<Vec<u8>, axum::Error> {
    encode(response, Connection::Ends, false).await
}

async fn encode(
    response: Response,
    connection: Connection,
    is_head: bool,
) -> Result<Vec<u8>, axum::Error> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, LARGEST).await?;
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    let mut add = |name: &str, value: &[u8]| {
        bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    };
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH {
            add(name.as_str(), value.as_bytes());
        }
    }
    // What stands there already says how long the body of a HEAD would be.
    let length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .filter(|_| is_head);
    let counted = body.len().to_string();
    add(
        "content-length",
        length.map_or(counted.as_bytes(), |length| length.as_bytes()),
    );
    add("date", date(clock::now() / 1000).as_bytes());
    match connection {
        Connection::Stays => {}
        Connection::StaysByRequest => add("connection", b"keep-alive"),
        Connection::Ends => add("connection", b"close"),
    }
    bytes.extend_from_slice(b"\r\n");
    if !is_head {
        bytes.extend_from_slice(&body);
    }
    Ok(bytes)
}

/// Gives the connection to the route table for good, with the bytes that were read from it.
///
/// # Errors
/// Taking the socket from this thread's runtime.
pub fn take_over(
    stream: TcpStream,
    read: Vec<u8>,
    peer: SocketAddr,
    place: Place,
    service: &Service,
) -> io::Result<()> {
    let stream = stream.into_std()?;
    let (routes, patience) = (service.routes.clone(), service.patience);
    service.pages.spawn(async move {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("http: {peer}: {error}"),
        };
        let stream = Rewound {
            read: read.into(),
            stream,
            stuck: None,
            patience: patience.progress,
        };
        let routes = TowerToHyperService::new(routes);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience.head)
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!("http: {peer}: {error}");
        }
        drop(place);
    });
    Ok(())
}

/// A connection from which something was read already, and whose client has to go on taking what it
/// is sent.
struct Rewound {
    read: Bytes,
    stream: TcpStream,
    /// Set while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl Rewound {
    /// What a write came to, or that the client has had its time.
    fn unless_stuck<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        task: &mut task::Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let end = Instant::now() + self.patience;
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(stuck.as_mut().poll(task));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(task, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        let bytes = self.read.split_to(count);
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.unless_stuck(written, task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, slices);
        self.unless_stuck(written, task)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
