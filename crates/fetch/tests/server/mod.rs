//! Servers on the loopback device that answer each connection from a list.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a server does with a connection, after it has read a request's head.
#[derive(Clone)]
pub enum Answer {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Says nothing, and keeps the connection until the client goes.
    Silence,
}

/// A status and a body, with its length.
pub fn answer(status: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    Answer::Bytes(text.into_bytes())
}

/// A redirect.
pub fn redirect(location: &str) -> Answer {
    let text = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    Answer::Bytes(text.into_bytes())
}

/// A server, and the heads of the requests that it has read.
pub struct Server {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers one connection after the other; the last answer is repeated. `dress` makes the stream
    /// that requests come over from each connection.
    pub fn dressed<S: Read + Write>(
        answers: Vec<Answer>,
        dress: impl Fn(TcpStream) -> Option<S> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            let mut last = None;
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(stream) = dress(stream) else {
                    continue;
                };
                last = answers.next().or(last);
                let mut stream = BufReader::new(stream);
                if let Some(head) = read_head(&mut stream) {
                    seen.lock().expect("no panic").push(head);
                    respond(stream.get_mut(), last.as_ref());
                }
            }
        });
        Self { address, heads }
    }

    /// Over plain TCP.
    pub fn start(answers: Vec<Answer>) -> Self {
        Self::dressed(answers, Some)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

fn respond(stream: &mut (impl Read + Write), answer: Option<&Answer>) {
    match answer {
        Some(Answer::Bytes(bytes)) => {
            // A client that has gone is none of the server's business.
            let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        }
        Some(Answer::Silence) => while matches!(stream.read(&mut [0; 64]), Ok(1..)) {},
        None => {}
    }
}

/// The request's lines up to the empty one.
pub fn read_head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return Some(head),
            line => {
                head.push_str(line);
                head.push('\n');
            }
        }
    }
}
