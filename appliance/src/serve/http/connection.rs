//! One connection: requests for files one after another, until it asks for something else.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::response::IntoResponse as _;
use hardway_model::boot::TransferEnd;
use hardway_netboot::http::{Connection, Head, HeadError, LONGEST_HEAD, Method, head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use super::room::Place;
use super::send::{send, taken, unacknowledged};
use super::{Service, rest};
use crate::api::ApiError;
use crate::api::files::{self, Asked};
use crate::clock;

/// Bytes that a head is read into at first; most fit.
const USUAL_HEAD: usize = 1024;
/// How long a client that was refused has to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// What becomes of the connection after a request.
enum Next {
    Request,
    End,
    /// The route table, with what was read.
    Rest,
}

/// Serves a connection to its end, or to where the route table takes it over.
pub async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    service: &Service,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let length = match next_head(&mut stream, &mut buffer, &place, service).await? {
            Heard::Head(length) => length,
            Heard::Nothing => return Ok(()),
            Heard::Nonsense(error) => return refuse(stream, error, service).await,
        };
        // Parsed again, to borrow from what is no longer written to.
        let next = match head(&buffer) {
            Ok(Some(head)) => respond(&mut stream, &head, peer, service).await?,
            _ => Next::End,
        };
        match next {
            Next::Request => buffer.drain(..length),
            Next::End => return farewell(stream).await,
            Next::Rest => return rest::take_over(stream, buffer, peer, place, service),
        };
    }
}

enum Heard {
    /// A whole head of so many bytes.
    Head(usize),
    /// The client hung up, or was silent for too long.
    Nothing,
    Nonsense(HeadError),
}

/// Reads until a head is complete. An idle connection ends when its place is wanted.
async fn next_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    place: &Place,
    service: &Service,
) -> io::Result<Heard> {
    let deadline = Deadline::now() + service.patience.head;
    loop {
        match head(buffer) {
            Ok(Some(head)) => return Ok(Heard::Head(head.length)),
            Ok(None) => {}
            Err(error) => return Ok(Heard::Nonsense(error)),
        }
        let room = (LONGEST_HEAD - buffer.len()).min(USUAL_HEAD.max(buffer.len()));
        buffer.reserve(room);
        let is_idle = buffer.is_empty();
        let read = tokio::select! {
            read = timeout_at(deadline, stream.read_buf(buffer)) => read,
            () = place.wanted(), if is_idle => return Ok(Heard::Nothing),
        };
        match read {
            Ok(Ok(0)) | Err(_) => return Ok(Heard::Nothing),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

async fn respond(
    stream: &mut TcpStream,
    head: &Head<'_>,
    peer: SocketAddr,
    service: &Service,
) -> io::Result<Next> {
    if !head.is_plain || head.method == Method::Other {
        return Ok(Next::Rest);
    }
    let began = Instant::now();
    let asked = Asked {
        target: head.target,
        method: head.method,
        goes_on: head.conditions.goes_on(),
        peer: peer.ip(),
    };
    let bytes = match files::find(&service.context, asked).await {
        Some(Ok(file)) => return file_to(stream, head, file, began, service).await,
        Some(Err(error)) => rest::encoded(error.into_response(), head).await,
        None if rest::is_short(head.target) => rest::short(head, peer, service).await,
        None => return Ok(Next::Rest),
    };
    let bytes = bytes.map_err(io::Error::other)?;
    send(stream, &bytes, None, service.patience.progress, &mut 0).await?;
    Ok(after(head))
}

async fn file_to(
    stream: &TcpStream,
    head: &Head<'_>,
    file: files::File,
    began: Instant,
    service: &Service,
) -> io::Result<Next> {
    let reply = files::reply(head.method, &head.conditions, &file);
    let bytes = reply.encode(head.connection, clock::now() / 1000);
    let patience = service.patience.progress;
    let mut sent = 0;
    let content = reply.content.clone().map(|range| (&file.content, range));
    let has_content = content.is_some();
    let mut outcome = send(stream, &bytes, content, patience, &mut sent).await;
    service.context.metrics.http_bytes.inc_by(sent);
    // What firmware was sent and has not acknowledged tells where a boot is stuck.
    if let Some(telling) = file.telling.filter(|_| has_content) {
        if outcome.is_ok() {
            let (left, acknowledged) = taken(stream, sent, patience).await;
            sent = sent.saturating_sub(left);
            outcome = acknowledged;
        } else {
            sent = sent.saturating_sub(unacknowledged(stream));
        }
        telling.tell(sent, end(&outcome), began.elapsed());
    }
    outcome?;
    Ok(after(head))
}

fn end(outcome: &io::Result<()>) -> TransferEnd {
    match outcome {
        Ok(()) => TransferEnd::Complete,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => TransferEnd::Silence,
        Err(error) => TransferEnd::Aborted {
            code: None,
            message: error.to_string(),
        },
    }
}

fn after(head: &Head<'_>) -> Next {
    match head.connection {
        Connection::Stays | Connection::StaysByRequest => Next::Request,
        Connection::Ends => Next::End,
    }
}

async fn refuse(mut stream: TcpStream, error: HeadError, service: &Service) -> io::Result<()> {
    let status = axum::http::StatusCode::from_u16(error.status()).unwrap_or_default();
    let response = ApiError::new(status, error.to_string()).into_response();
    let bytes = rest::encoded_last(response).await;
    let bytes = bytes.map_err(io::Error::other)?;
    timeout(service.patience.head, stream.write_all(&bytes)).await??;
    farewell(stream).await
}

/// Hangs up so that the client can still read what it was sent: unread bytes would reset the
/// connection.
async fn farewell(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scrap = [0; 512];
    let mut left = LONGEST_HEAD;
    let read_off = async {
        while left > 0 {
            match stream.read(&mut scrap).await {
                Ok(0) | Err(_) => break,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    // Whoever does not hang up within that time is hung up on.
    let _ = timeout(FAREWELL, read_off).await;
    Ok(())
}
