//! TFTP: throughput of one client and of several.

use std::net::SocketAddrV4;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::network::client_address;
use crate::payload::TFTP_FILE;
use crate::peers::{self, Role};
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;
use crate::server::{Port, Server};
use crate::tftp_client::{Options, TftpError, fetch};

/// How long each figure is taken.
const PERIOD: Duration = Duration::from_millis(1500);

/// Rows: options and clients.
const CASES: [(Options, usize); 6] = [
    (plain(512), 1),
    (plain(512), 16),
    (plain(1468), 1),
    (plain(1468), 16),
    (windowed(), 1),
    (windowed(), 16),
];

const fn plain(block: usize) -> Options {
    Options { block, window: 1 }
}

const fn windowed() -> Options {
    Options {
        block: 1468,
        window: 16,
    }
}

/// All servers run, each at its own address, and one is asked at a time.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let _clients = bench.network.many_clients()?;
    let recipes = [
        bench.ours.recipe(bench, "tftp", &[Port::Udp(69)], 0)?,
        peers::dnsmasq(bench, Role::Tftp)?,
        peers::tftpd_hpa(bench)?,
        peers::async_tftp(bench)?,
    ];
    let mut servers = Vec::new();
    for recipe in recipes {
        servers.push(Server::start(recipe, &bench.network)?);
    }
    CASES
        .iter()
        .map(|(options, clients)| row(bench, &mut servers, *options, *clients))
        .collect()
}

fn row(
    bench: &Bench,
    servers: &mut [Server],
    options: Options,
    clients: usize,
) -> anyhow::Result<Row> {
    let mut values = vec![Vec::new(); servers.len()];
    for (_, index) in bench.turns(servers.len()) {
        let server = &mut servers[index];
        server.check()?;
        let rate = throughput(bench, server, options, clients);
        match rate.with_context(|| format!("fetching from {}", server.name))? {
            Some(rate) => values[index].push(rate),
            None => continue,
        }
    }
    let figures = servers.iter().zip(values);
    let mut figures: Vec<Figure> = figures
        .filter(|(_, values)| !values.is_empty())
        .map(|(server, values)| Figure::new(&server.name, &server.version, values))
        .collect();
    let ours = figures.remove(0);
    let window = match options.window {
        1 => String::new(),
        blocks => format!(", windowsize {blocks}"),
    };
    let noun = if clients == 1 { "client" } else { "clients" };
    let what = format!("TFTP: blksize {}{window}, {clients} {noun}", options.block);
    eprintln!("{what}: {:.0} MiB/s", ours.median);
    Ok(Row::new(
        what,
        "MiB/s",
        Better::Higher,
        ours,
        figures,
        Target::AtLeast(1.5),
    ))
}

/// MiB/s of all clients together; `None` where the server does not know an option.
fn throughput(
    bench: &Bench,
    server: &Server,
    options: Options,
    clients: usize,
) -> anyhow::Result<Option<f64>> {
    let host = SocketAddrV4::new(server.address, 69);
    let period = bench.duration(PERIOD);
    let barrier = Barrier::new(clients);
    let one = |number: usize| -> Result<u64, TftpError> {
        barrier.wait();
        let end = Instant::now() + period;
        let mut bytes = 0;
        while Instant::now() < end {
            let own = client_address(number);
            bytes += fetch(own, host, TFTP_FILE.0, options, Some(end))?.bytes;
        }
        Ok(bytes)
    };
    let results: Vec<Result<u64, TftpError>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..clients)
            .map(|number| {
                scope.spawn({
                    let one = &one;
                    move || one(number)
                })
            })
            .collect();
        let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended
            .map(|joined| joined.unwrap_or(Err(TftpError::Garbled)))
            .collect()
    });
    let mut bytes = 0;
    for result in results {
        match result {
            Err(TftpError::Unsupported(_)) => return Ok(None),
            other => bytes += other?,
        }
    }
    Ok(Some(
        bytes as f64 / period.as_secs_f64() / f64::from(1 << 20),
    ))
}
