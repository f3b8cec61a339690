//! TFTP: throughput of one client and of several.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::Context as _;

use crate::network::client_address;
use crate::payload::TFTP_FILE;
use crate::peers::{self, Leases, Role};
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;
use crate::server::{Port, Recipe, Server};
use crate::tftp_client::{Options, TftpError, fetch_for};

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

/// One server runs at a time: a packet socket of one would cost the others its share of every packet.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let _clients = bench.network.many_clients()?;
    let mut rows = Vec::new();
    for (options, clients) in CASES {
        rows.extend(pair(bench, options, clients)?);
    }
    Ok(rows)
}

const SERVERS: usize = 4;
/// The turn of the server that has a process for each transfer: the kernel forgets what a process took
/// when it ends, so that its cost cannot be told.
const TFTPD_HPA: usize = 2;

fn recipe(bench: &Bench, index: usize) -> anyhow::Result<Recipe> {
    match index {
        0 => bench.ours.recipe(bench, "tftp", &[Port::Udp(69)], 0),
        1 => peers::dnsmasq(bench, Role::Tftp, Leases::Written),
        2 => peers::tftpd_hpa(bench),
        _ => peers::async_tftp(bench),
    }
}

/// What was measured of one server.
#[derive(Default)]
struct Measured {
    name: String,
    version: String,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

/// Throughput, and what a GiB costs the server.
fn pair(bench: &Bench, options: Options, clients: usize) -> anyhow::Result<[Row; 2]> {
    let mut measured: [Measured; SERVERS] = Default::default();
    for (_, index) in bench.turns(SERVERS) {
        let mut server = Server::start(recipe(bench, index)?, &bench.network)?;
        let before = server.cpu_seconds();
        let mut spent = 0.0;
        let at_end = || spent = server.cpu_seconds() - before;
        let bytes = fetched(bench, server.address, options, clients, at_end);
        server.check()?;
        let Some(bytes) = bytes.with_context(|| format!("fetching from {}", server.name))? else {
            continue;
        };
        let seconds = bench.duration(PERIOD).as_secs_f64();
        let own = &mut measured[index];
        own.rates.push(bytes / seconds / f64::from(1 << 20));
        if index != TFTPD_HPA {
            own.costs.push(spent / (bytes / f64::from(1 << 30)));
        }
        (own.name, own.version) = (server.name.clone(), server.version.clone());
    }
    let window = match options.window {
        1 => String::new(),
        blocks => format!(", windowsize {blocks}"),
    };
    let noun = if clients == 1 { "client" } else { "clients" };
    let what = format!("TFTP: blksize {}{window}, {clients} {noun}", options.block);
    let figures = |values: fn(&Measured) -> &Vec<f64>| -> (Figure, Vec<Figure>) {
        let known = measured.iter().filter(|server| !values(server).is_empty());
        let figure =
            |server: &Measured| Figure::new(&server.name, &server.version, values(server).clone());
        let mut figures: Vec<Figure> = known.map(figure).collect();
        (figures.remove(0), figures)
    };
    let (ours, peers) = figures(|server| &server.rates);
    eprintln!("{what}: {:.0} MiB/s", ours.median);
    let target = Target::AtLeast(1.5);
    let rate = Row::new(what.clone(), "MiB/s", Better::Higher, ours, peers, target);
    let (ours, peers) = figures(|server| &server.costs);
    let what = what.replace("TFTP:", "TFTP: the server's CPU,");
    let cost = Row::new(what, "s/GiB", Better::Lower, ours, peers, Target::Known);
    Ok([rate, cost])
}

/// Bytes of all clients together; `None` where the server does not know an option.
fn fetched(
    bench: &Bench,
    server: Ipv4Addr,
    options: Options,
    clients: usize,
    at_end: impl FnOnce(),
) -> anyhow::Result<Option<f64>> {
    let host = SocketAddrV4::new(server, 69);
    let owns: Vec<Ipv4Addr> = (0..clients).map(client_address).collect();
    let period = bench.duration(PERIOD);
    match fetch_for(period, host, TFTP_FILE.0, options, &owns, at_end) {
        Err(TftpError::Unsupported(_)) => Ok(None),
        bytes => Ok(Some(bytes? as f64)),
    }
}
