//! Questions to upstream servers.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hardway_netboot::dns::forward::{Answer, Asked, Entropy, Question, Verdict};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{PORT, framing};

/// How long an upstream server has for its answer before the next is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest datagram that is taken from an upstream server.
const LARGEST: usize = 4096;

/// Which upstream server answered last: it is asked first, so that one that is down costs its wait
/// once and not with every question.
#[derive(Debug, Default)]
pub struct Preference(AtomicUsize);

/// The answer of the first upstream server that gives one.
pub async fn ask(
    question: &Question,
    servers: &[Ipv4Addr],
    preference: &Preference,
) -> Option<Answer> {
    let first = preference.0.load(Ordering::Relaxed);
    for turn in 0..servers.len() {
        let index = (first + turn) % servers.len();
        let server = servers[index];
        match timeout(2 * PATIENCE, ask_one(question, server, PORT)).await {
            Ok(Ok(answer)) => {
                preference.0.store(index, Ordering::Relaxed);
                return Some(answer);
            }
            Ok(Err(error)) => tracing::debug!("dns: asking {server}: {error:#}"),
            Err(_) => tracing::debug!("dns: {server} does not answer by TCP"),
        }
    }
    None
}

pub(super) async fn ask_one(
    question: &Question,
    server: Ipv4Addr,
    port: u16,
) -> anyhow::Result<Answer> {
    let asked = question.ask(entropy()?);
    match timeout(PATIENCE, ask_udp(&asked, server, port)).await {
        Err(_) => bail!("no answer"),
        Ok(verdict) => match verdict? {
            Verdict::Answer(answer) => Ok(answer),
            Verdict::AskByTcp => ask_tcp(&asked, server, port).await,
            Verdict::Refused | Verdict::Foreign => bail!("it cannot say"),
        },
    }
}

/// Each question has a socket, and so a random port, of its own. It is connected, so that the kernel
/// lets through what comes from the server's address and port alone.
async fn ask_udp(asked: &Asked, server: Ipv4Addr, port: u16) -> anyhow::Result<Verdict> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((server, port)).await?;
    socket.send(&asked.bytes).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match asked.judge(&buffer[..length]) {
            Verdict::Foreign => tracing::debug!("dns: {server} sent what is no answer"),
            verdict => return Ok(verdict),
        }
    }
}

async fn ask_tcp(asked: &Asked, server: Ipv4Addr, port: u16) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect((server, port)).await?;
    framing::write_message(&mut stream, &asked.bytes).await?;
    let message = framing::read_message(&mut stream).await?;
    match asked.judge_tcp(&message.context("it hung up")?) {
        Verdict::Answer(answer) => Ok(answer),
        Verdict::AskByTcp | Verdict::Refused | Verdict::Foreign => bail!("it cannot say by TCP"),
    }
}

fn entropy() -> anyhow::Result<Entropy> {
    let mut bytes = [0; 34];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    let [first, second, case @ ..] = bytes;
    let id = u16::from_be_bytes([first, second]);
    Ok(Entropy { id, case })
}
