//! A boot storm: a rack of machines that all start in the same moment.
//!
//! Each machine plays what BIOS, iPXE and the kernel's start do: DHCP as PXE firmware, the boot file
//! by TFTP, DHCP as iPXE, two scripts, the kernel and the initramfs by HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::peers::{self, Leases, Role};
use crate::perfdhcp::percentile;
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;
use crate::server::{Port, Server};

mod dhcp_client;
mod dhcp_message;
mod machine;

use dhcp_client::Exchange;
use machine::{BootError, Machine};

/// Machines at once.
const MACHINES: usize = 1000;
/// In a smoke test.
const FEW: usize = 30;
/// The most memory that the appliance may take, in MiB.
const MEMORY: f64 = 256.0;
/// How long a server may sort itself out before it counts.
const SETTLE: Duration = Duration::from_millis(500);
/// A machine's thread needs little.
const STACK: usize = 128 << 10;

/// What one storm came to.
struct Storm {
    /// Seconds from the start to each machine's last byte, sorted.
    times: Vec<f64>,
    /// What went wrong, and how often.
    refusals: BTreeMap<String, u64>,
    /// The servers' peak memory in MiB, summed.
    memory: f64,
}

/// Ours beside dnsmasq and nginx together.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let _clients = bench.network.many_clients()?;
    let machines = if bench.settings.smoke { FEW } else { MACHINES };
    bench.network.introduce(machines)?;
    let mut versions = [const { (String::new(), String::new()) }; 2];
    let mut storms = [const { Vec::new() }; 2];
    for (repeat, index) in bench.turns(2) {
        let servers = start(bench, index, machines)?;
        std::thread::sleep(SETTLE);
        let storm = play(&servers, machines)?;
        eprintln!(
            "storm: {} (repeat {}): last after {:.1} s, {:.0} MiB, {} refusals {:?}",
            joined(&servers, |server| &server.name),
            repeat + 1,
            storm.times.last().copied().unwrap_or(f64::NAN),
            storm.memory,
            storm.refusals.values().sum::<u64>(),
            storm.refusals
        );
        let name = joined(&servers, |server| &server.name);
        versions[index] = (name, joined(&servers, |server| &server.version));
        storms[index].push(storm);
    }
    Ok(rows(machines, &versions, &storms))
}

fn rows(machines: usize, versions: &[(String, String); 2], storms: &[Vec<Storm>; 2]) -> Vec<Row> {
    let row = |what: &str, unit, target, value: &dyn Fn(&Storm) -> f64| {
        let figure = |index: usize| {
            let (name, version) = &versions[index];
            Figure::new(name, version, storms[index].iter().map(value).collect())
        };
        let what = format!("Storm of {machines}: {what}");
        Row::new(
            what,
            unit,
            Better::Lower,
            figure(0),
            vec![figure(1)],
            target,
        )
    };
    let time = |share: f64| move |storm: &Storm| percentile(&storm.times, share);
    let refused = |storm: &Storm| storm.refusals.values().sum::<u64>() as f64;
    vec![
        row("time to the last", "s", Target::AtMost(1.0), &time(1.0)),
        row("p50", "s", Target::Known, &time(0.5)),
        row("p99", "s", Target::Known, &time(0.99)),
        row("peak memory", "MiB", Target::Limit(MEMORY), &|storm| {
            storm.memory
        }),
        row("refusals", "machines", Target::Limit(0.0), &refused),
    ]
}

fn start(bench: &Bench, index: usize, machines: usize) -> anyhow::Result<Vec<Server>> {
    let recipes = if index == 0 {
        let ports = [Port::Udp(67), Port::Udp(69), Port::Tcp(80)];
        let services = "dhcp,tftp,http,dns,ntp";
        vec![bench.ours.recipe(bench, services, &ports, machines)?]
    } else {
        vec![
            peers::dnsmasq(bench, Role::Both(machines), Leases::Written)?,
            peers::nginx(bench)?,
        ]
    };
    recipes
        .into_iter()
        .map(|recipe| Server::start(recipe, &bench.network))
        .collect()
}

fn play(servers: &[Server], machines: usize) -> anyhow::Result<Storm> {
    let dhcp = Arc::new(Exchange::open().context("opening the machines' DHCP socket")?);
    let listener = dhcp.listen();
    let tftp = SocketAddrV4::new(servers[0].address, 69);
    let barrier = Barrier::new(machines);
    let one = |number: usize| -> Result<f64, BootError> {
        barrier.wait();
        let began = Instant::now();
        Machine::new(number, &dhcp, tftp).boot()?;
        Ok(began.elapsed().as_secs_f64())
    };
    let results = std::thread::scope(|scope| -> anyhow::Result<Vec<_>> {
        let mut started = Vec::new();
        for number in 0..machines {
            let builder = std::thread::Builder::new().stack_size(STACK);
            let one = &one;
            let machine = builder.spawn_scoped(scope, move || one(number));
            started.push(machine.context("starting a machine")?);
        }
        let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        Ok(ended.collect())
    })?;
    dhcp.end();
    let _ = listener.join();
    let mut times = Vec::new();
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    for result in results {
        match result.map_err(|_| anyhow::anyhow!("a machine panicked"))? {
            Ok(time) => times.push(time),
            Err(error) => *refusals.entry(error.to_string()).or_default() += 1,
        }
    }
    times.sort_by(f64::total_cmp);
    let memory: u64 = servers.iter().map(Server::peak_memory).sum();
    Ok(Storm {
        times,
        refusals,
        memory: memory as f64 / f64::from(1 << 20),
    })
}

fn joined(servers: &[Server], what: impl Fn(&Server) -> &String) -> String {
    let words: Vec<&str> = servers.iter().map(|server| what(server).as_str()).collect();
    words.join(" + ")
}
