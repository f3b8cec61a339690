//! HTTP: throughput, and what a GiB costs the server.

use std::net::SocketAddrV4;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::http_client::{Connection, HttpError, Tally};
use crate::network::client_address;
use crate::payload::HTTP_FILE;
use crate::peers;
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;
use crate::server::{Port, Server};

/// How long each figure is taken.
const PERIOD: Duration = Duration::from_secs(2);
/// Clients at once.
const CLIENTS: [usize; 3] = [1, 16, 256];
/// A reader needs little.
const STACK: usize = 128 << 10;

/// One server runs at a time: a packet socket of one would cost the other its share of every packet.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let _clients = bench.network.many_clients()?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        rows.extend(pair(bench, clients)?);
    }
    Ok(rows)
}

fn started(bench: &Bench, index: usize) -> anyhow::Result<(Server, u16)> {
    let (recipe, port) = match index {
        0 => (bench.ours.recipe(bench, "http", &[Port::Tcp(80)], 0)?, 80),
        _ => (peers::nginx(bench)?, peers::NGINX_PORT),
    };
    Ok((Server::start(recipe, &bench.network)?, port))
}

fn pair(bench: &Bench, clients: usize) -> anyhow::Result<[Row; 2]> {
    let mut rates = [const { Vec::new() }; 2];
    let mut costs = [const { Vec::new() }; 2];
    let mut versions = [const { (String::new(), String::new()) }; 2];
    for (_, index) in bench.turns(2) {
        let (mut server, port) = started(bench, index)?;
        let taken = take(bench, &server, port, clients);
        let taken = taken.with_context(|| format!("fetching from {}", server.name))?;
        server.check()?;
        eprintln!(
            "http: {} {clients}: {:.0} MiB/s, {:.3} s/GiB",
            server.name, taken.rate, taken.cost
        );
        rates[index].push(taken.rate);
        costs[index].push(taken.cost);
        versions[index] = (server.name.clone(), server.version.clone());
    }
    let figures = |values: [Vec<f64>; 2]| {
        let [ours, peer] = values;
        let figure =
            |(name, version): &(String, String), values| Figure::new(name, version, values);
        (figure(&versions[0], ours), vec![figure(&versions[1], peer)])
    };
    let noun = if clients == 1 { "client" } else { "clients" };
    let (ours, peers) = figures(rates);
    let (better, target) = (Better::Higher, Target::AtLeast(1.0));
    let what = format!("HTTP: throughput, {clients} {noun}");
    let rate = Row::new(what, "MiB/s", better, ours, peers, target);
    let (ours, peers) = figures(costs);
    let (better, target) = (Better::Lower, Target::AtMost(1.0));
    let what = format!("HTTP: the server's CPU, {clients} {noun}");
    let cost = Row::new(what, "s/GiB", better, ours, peers, target);
    Ok([rate, cost])
}

struct Taken {
    /// MiB/s of all clients together.
    rate: f64,
    /// CPU seconds of the server for each GiB.
    cost: f64,
}

/// Every client on a connection of its own, kept alive.
fn take(bench: &Bench, server: &Server, port: u16, clients: usize) -> anyhow::Result<Taken> {
    let host = SocketAddrV4::new(server.address, port);
    let path = format!("/boot/{}", HTTP_FILE.0);
    let period = bench.duration(PERIOD);
    let barrier = Barrier::new(clients + 1);
    let one = |number: usize| -> Result<u64, HttpError> {
        let opened = Connection::open(client_address(number), host);
        barrier.wait();
        let mut connection = opened?;
        let mut tally = Tally {
            end: Instant::now() + period,
            bytes: 0,
        };
        while Instant::now() < tally.end {
            connection.drain(&path, |bytes| tally.add(bytes))?;
        }
        Ok(tally.bytes)
    };
    let mut spent = 0.0;
    let results = std::thread::scope(|scope| -> anyhow::Result<Vec<_>> {
        let mut started = Vec::new();
        for number in 0..clients {
            let builder = std::thread::Builder::new().stack_size(STACK);
            let one = &one;
            let client = builder.spawn_scoped(scope, move || one(number));
            started.push(client.context("starting a client")?);
        }
        barrier.wait();
        let before = server.cpu_seconds();
        std::thread::sleep(period);
        spent = server.cpu_seconds() - before;
        let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        Ok(ended.collect())
    })?;
    let mut bytes = 0;
    for result in results {
        bytes += result.map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    anyhow::ensure!(bytes > 0, "nothing was received");
    Ok(Taken {
        rate: bytes as f64 / period.as_secs_f64() / f64::from(1 << 20),
        cost: spent / (bytes as f64 / f64::from(1 << 30)),
    })
}
