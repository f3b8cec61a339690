//! As much of an HTTP/1.1 server as the cases need: one request a connection, a thread each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request's head is no longer.
const LONGEST_HEAD: u64 = 64 * 1024;

/// A request, without a body.
#[derive(Debug, Default)]
pub struct Request {
    /// The path, or the whole URL where this is a proxy.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[cfg(test)]
    pub fn new(target: &str, headers: &[(&str, &str)]) -> Self {
        Self {
            target: target.to_owned(),
            headers: headers
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
        }
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Where else to look, with a 3xx.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the connection is held open before anything is said.
    pub delay: Duration,
}

impl Response {
    /// At once, with that status.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            location: None,
            body: Vec::new(),
            delay: Duration::ZERO,
        }
    }

    /// 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::status(200)
        }
    }

    /// The same, later.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// Serves in the background, until the process ends.
pub fn start(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (tls, answer) = (tls.clone(), Arc::clone(&answer));
            // A client that goes away is its own business.
            thread::spawn(move || {
                let _ = serve(stream, tls, &*answer);
            });
        }
    });
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: &dyn Fn(&Request) -> Response,
) -> std::io::Result<()> {
    match tls {
        None => exchange(stream, answer),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
            let mut stream = StreamOwned::new(connection, stream);
            exchange(&mut stream, answer)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

fn exchange(
    mut stream: impl Read + Write,
    answer: &dyn Fn(&Request) -> Response,
) -> std::io::Result<()> {
    let Some(request) = read(&mut stream)? else {
        return Ok(());
    };
    let response = answer(&request);
    thread::sleep(response.delay);
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason(response.status)
    );
    if let Some(location) = &response.location {
        head.push_str(&format!("Location: {location}\r\n"));
    }
    let length = response.body.len();
    head.push_str(&format!(
        "Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ));
    stream.write_all(head.as_bytes())?;
    stream.write_all(&response.body)?;
    stream.flush()
}

fn read(stream: &mut impl Read) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream.take(LONGEST_HEAD)).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(None);
    };
    let mut request = Request {
        target: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        ..Request::default()
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let header = (name.trim().to_owned(), value.trim().to_owned());
        request.headers.push(header);
    }
    Ok(Some(request))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        500 => "Internal Server Error",
        _ => "Service Unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_one_answer() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        start(listener, None, |request| {
            Response::ok(format!("{} {:?}", request.target, request.header("x-auth")))
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nX-Auth: b:c\r\n\r\n")
            .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.ends_with("\r\n\r\n/a Some(\"b:c\")"), "{said}");
    }
}
