//! DHCP: whole exchanges a second, and how long each takes.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;

use crate::peers::{self, Leases, Role};
use crate::perfdhcp::{self, Outcome, percentile};
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;
use crate::server::{Port, Recipe, Server};

/// Different clients: a large hall.
const CLIENTS: u32 = 4096;
/// How long each rate is held.
const PERIOD: Duration = Duration::from_secs(1);
/// The lowest rate that is tried.
const LOWEST: u32 = 100;
/// The highest; perfdhcp itself cannot do much more.
const HIGHEST: u32 = 40_000;
/// The share of exchanges that has to be completed.
const COMPLETE: f64 = 0.99;
/// The steps between two rates end at this ratio.
const FINE: f64 = 1.08;
/// How long clients get their first leases, and how often, until nearly every one has got its own.
const WARM_UP: Duration = Duration::from_secs(3);
const WARM_UPS: u32 = 4;
/// The turn of the peer that is slower by an order of magnitude.
const DNSMASQ: usize = 2;
/// How long latencies are taken.
const LATENCY_PERIOD: Duration = Duration::from_secs(2);
/// How long a server may finish what waits in its socket.
const SETTLE: Duration = Duration::from_millis(300);

/// Ours first, then Kea and dnsmasq.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (leases, how) in [
        (Leases::Written, "the peers' leases written"),
        (Leases::Durable, "the peers' leases as durable as ours"),
    ] {
        let what = format!("DHCP: exchanges of {CLIENTS} clients, {how}");
        let row = capacities(bench, what, leases)?;
        let best = row.peers.iter().map(|peer| peer.median);
        let half = (best.fold(0.0, f64::max) / 2.0) as u32;
        rows.push(row);
        rows.extend(latency(bench, leases, half, how)?);
    }
    Ok(rows)
}

/// What each server holds.
fn capacities(bench: &Bench, what: String, leases: Leases) -> anyhow::Result<Row> {
    let mut capacities = [const { Vec::new() }; 3];
    let mut versions = [const { (String::new(), String::new()) }; 3];
    for (repeat, index) in bench.turns(3) {
        let server = started(bench, index, leases)?;
        let began_at = capacities[index]
            .last()
            .map_or(LOWEST, |last: &f64| (last * 0.6) as u32);
        let found = capacity(bench, server.address, began_at)?;
        eprintln!("dhcp: {} {found:.0}/s (repeat {})", server.name, repeat + 1);
        capacities[index].push(found);
        versions[index] = (server.name.clone(), server.version.clone());
    }
    let mut figures = figures(&versions, capacities);
    let ours = figures.remove(0);
    let target = Target::AtLeast(2.0);
    Ok(Row::new(
        what,
        "DORA/s",
        Better::Higher,
        ours,
        figures,
        target,
    ))
}

fn recipe(bench: &Bench, index: usize, leases: Leases) -> anyhow::Result<Recipe> {
    match index {
        0 => bench.ours.recipe(bench, "dhcp", &[Port::Udp(67)], 0),
        1 => peers::kea(bench, leases),
        _ => peers::dnsmasq(bench, Role::Dhcp, leases),
    }
}

/// A server whose clients all have their leases already.
fn started(bench: &Bench, index: usize, leases: Leases) -> anyhow::Result<Server> {
    let mut server = Server::start(recipe(bench, index, leases)?, &bench.network)?;
    std::thread::sleep(SETTLE);
    // Slow enough for each; perfdhcp takes clients by chance, so that a few are new when it counts.
    let warm_up = perfdhcp::Run {
        server: server.address,
        rate: if index == DNSMASQ { 300 } else { 2000 },
        clients: CLIENTS,
        period: bench.duration(WARM_UP),
        times: false,
    };
    let mut share = 0.0;
    for _ in 0..WARM_UPS {
        let outcome = perfdhcp::run(warm_up);
        share = outcome
            .with_context(|| format!("warming up {}", server.name))?
            .share();
        std::thread::sleep(SETTLE);
        if share >= COMPLETE || index == DNSMASQ {
            break;
        }
    }
    server.check()?;
    anyhow::ensure!(share > 0.0, "{} completed no exchange", server.name);
    Ok(server)
}

/// The most exchanges a second of which at least [`COMPLETE`] are completed.
fn capacity(bench: &Bench, server: Ipv4Addr, first: u32) -> anyhow::Result<f64> {
    if bench.settings.smoke {
        return Ok(held(bench, server, first)?.unwrap_or_default());
    }
    // Somebody else's work on the machine may spoil one step.
    highest(first, |rate| match held(bench, server, rate)? {
        None => held(bench, server, rate),
        some => Ok(some),
    })
}

/// Doubles the rate, and then halves what is left between the last that worked and the first that did
/// not. `held` gives what was completed at a rate, where the rate was held.
fn highest(
    first: u32,
    mut held: impl FnMut(u32) -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<f64> {
    let mut rate = first.clamp(LOWEST, HIGHEST);
    let (mut low, mut high, mut best) = (0_u32, None, 0.0_f64);
    loop {
        match held(rate)? {
            Some(completed) => {
                best = best.max(completed);
                low = rate;
            }
            None => high = Some(rate),
        }
        rate = match high {
            None if low >= HIGHEST => return Ok(best),
            None => (low * 2).min(HIGHEST),
            Some(high) if high <= LOWEST => return Ok(best),
            Some(high) if low == 0 => (high / 2).max(LOWEST),
            Some(high) if f64::from(high) / f64::from(low) < FINE => return Ok(best),
            Some(high) => (f64::from(low) * f64::from(high)).sqrt() as u32,
        };
    }
}

/// Exchanges a second that were completed, if the server held the rate.
fn held(bench: &Bench, server: Ipv4Addr, rate: u32) -> anyhow::Result<Option<f64>> {
    let outcome = perfdhcp::run(perfdhcp::Run {
        server,
        rate,
        clients: CLIENTS,
        period: bench.duration(PERIOD),
        times: false,
    })?;
    std::thread::sleep(SETTLE);
    let wanted = f64::from(rate) * PERIOD.as_secs_f64();
    let is_held = outcome.share() >= COMPLETE && outcome.completed as f64 >= wanted * 0.95;
    Ok(is_held.then(|| outcome.completed as f64 / PERIOD.as_secs_f64()))
}

/// All at one rate, of which the better peer can do twice as much.
fn latency(bench: &Bench, leases: Leases, rate: u32, how: &str) -> anyhow::Result<Vec<Row>> {
    let rate = rate.max(LOWEST);
    let mut versions = [const { (String::new(), String::new()) }; 3];
    let mut taken = [const { Vec::new() }; 3];
    for (_, index) in bench.turns(3) {
        // dnsmasq cannot hold this rate; its latency would be that of a full queue.
        if index == DNSMASQ {
            continue;
        }
        let server = started(bench, index, leases)?;
        versions[index] = (server.name.clone(), server.version.clone());
        let before = server.cpu_seconds();
        let outcome: Outcome = perfdhcp::run(perfdhcp::Run {
            server: server.address,
            rate,
            clients: CLIENTS,
            period: bench.duration(LATENCY_PERIOD),
            times: true,
        })?;
        let spent = server.cpu_seconds() - before;
        let share = outcome.share() * 100.0;
        eprintln!("dhcp: {} at {rate}/s: {share:.1} % completed", server.name);
        taken[index].push([
            percentile(&outcome.latencies, 0.5),
            percentile(&outcome.latencies, 0.99),
            spent * 1e6 / outcome.completed.max(1) as f64,
        ]);
    }
    let row = |at: usize, what: &str, unit, target| {
        let values = taken
            .each_ref()
            .map(|repeats| repeats.iter().map(|values| values[at]).collect());
        let mut figures = figures(&versions, values);
        figures.retain(|figure| !figure.repeats.is_empty());
        let ours = figures.remove(0);
        let what = format!("DHCP: {what}, at {rate}/s, {how}");
        Row::new(what, unit, Better::Lower, ours, figures, target)
    };
    Ok(vec![
        row(0, "p50 of the time for an exchange", "ms", Target::Known),
        row(
            1,
            "p99 of the time for an exchange",
            "ms",
            Target::AtMost(1.0),
        ),
        row(2, "the server's CPU for an exchange", "µs", Target::Known),
    ])
}

fn figures(versions: &[(String, String); 3], values: [Vec<f64>; 3]) -> Vec<Figure> {
    let named = versions.iter().zip(values);
    named
        .map(|((name, version), values)| Figure::new(name, version, values))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a server that holds so many, and in how many steps.
    fn found(limit: u32, first: u32) -> (f64, u32) {
        let mut steps = 0;
        let best = highest(first, |rate| {
            steps += 1;
            assert!(steps < 100, "the search does not end");
            Ok((rate <= limit).then_some(f64::from(rate)))
        });
        (best.unwrap(), steps)
    }

    #[test]
    fn the_search_ends_close_below_what_a_server_holds() {
        for limit in [100, 400, 10_300, 23_000, 26_000, 39_999, 40_000, 90_000] {
            for first in [1, 100, 6_000, 30_000, 50_000] {
                let (best, _) = found(limit, first);
                let most = f64::from(limit.min(HIGHEST));
                assert!(
                    best <= most && best * FINE >= most * 0.999,
                    "{limit} from {first}: {best}"
                );
            }
        }
        assert_eq!(found(99, 6_000).0, 0.0);
    }
}
