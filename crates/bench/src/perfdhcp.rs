//! perfdhcp, of Kea's administration tools: how it is run, and what it reports.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;

use crate::peers;

/// How long perfdhcp listens for late replies after the last request.
const TAIL: Duration = Duration::from_millis(300);

/// One run at a constant rate.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The server. perfdhcp plays a relay: it asks by unicast, and is answered the same way.
    pub server: Ipv4Addr,
    /// Exchanges begun each second.
    pub rate: u32,
    /// Different clients, which take turns.
    pub clients: u32,
    /// How long exchanges are begun.
    pub period: Duration,
    /// Whether each packet's time is asked for.
    pub times: bool,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// DISCOVERs that were sent.
    pub begun: u64,
    /// ACKs that came.
    pub completed: u64,
    /// From DISCOVER to ACK, in milliseconds, the time that perfdhcp itself took between OFFER and
    /// REQUEST left out; sorted. Empty unless the times were asked for.
    pub latencies: Vec<f64>,
}

impl Outcome {
    /// The share of begun exchanges that were completed.
    pub fn share(&self) -> f64 {
        self.completed as f64 / (self.begun.max(1)) as f64
    }
}

/// Runs perfdhcp to its end.
pub fn run(run: Run) -> anyhow::Result<Outcome> {
    let mut command = peers::tool("perfdhcp");
    // A thread for receiving costs it more than it gains: 30,000 exchanges a second without, 20,000
    // with it, on two cores.
    command.args(["-4", "-g", "single"]);
    command.args(["-r", &run.rate.to_string(), "-R", &run.clients.to_string()]);
    command.args(["-p", &format!("{:.0}", run.period.as_secs_f64().max(1.0))]);
    command.args(["-W", &TAIL.as_micros().to_string()]);
    if run.times {
        command.args(["-x", "t"]);
    }
    command.arg(run.server.to_string());
    // It ends with status 3 when not every exchange was completed.
    let text = peers::said(&mut command)?;
    parse(&text).with_context(|| {
        format!(
            "perfdhcp said:\n{}",
            text.chars().take(600).collect::<String>()
        )
    })
}

fn parse(text: &str) -> anyhow::Result<Outcome> {
    let (_, offers) = text
        .split_once("***Statistics for: DISCOVER-OFFER***")
        .context("no statistics of DISCOVER")?;
    let (offers, acks) = offers
        .split_once("***Statistics for: REQUEST-ACK***")
        .context("no statistics of REQUEST")?;
    Ok(Outcome {
        begun: count(offers, "sent packets: ")?,
        completed: count(acks, "received packets: ")?,
        latencies: latencies(text),
    })
}

fn count(text: &str, label: &str) -> anyhow::Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(label));
    let value = value.with_context(|| format!("no line `{label}`"))?;
    value
        .trim()
        .parse()
        .with_context(|| format!("{label}{value}"))
}

/// An exchange's two waits together. perfdhcp tells each by itself; a REQUEST belongs to the last
/// OFFER that came before it was sent, since it is sent at once.
fn latencies(text: &str) -> Vec<f64> {
    let mut offers = stage(text, "DISCOVER-OFFER");
    let mut acks = stage(text, "REQUEST-ACK");
    offers.sort_by(|a, b| a.1.total_cmp(&b.1));
    acks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut latencies = Vec::with_capacity(acks.len());
    let mut offers = offers.into_iter().peekable();
    for (sent, received) in acks {
        let mut offer = None;
        while let Some(next) = offers.next_if(|(_, came)| *came <= sent) {
            offer = Some(next);
        }
        if let Some((asked, came)) = offer {
            latencies.push((came - asked + received - sent) * 1000.0);
        }
    }
    latencies.sort_by(f64::total_cmp);
    latencies
}

/// Sent and received, in seconds since the start, of every packet of a stage that was answered.
fn stage(text: &str, name: &str) -> Vec<(f64, f64)> {
    let title = format!("***Timestamps for packets: {name}***");
    let Some((_, rest)) = text.split_once(&title) else {
        return Vec::new();
    };
    rest.lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("sent / received: "))
        .filter_map(|times| {
            let (sent, received) = times.split_once(" / ")?;
            Some((sent.parse().ok()?, received.parse().ok()?))
        })
        .collect()
}

/// The value below which a share of sorted values lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As perfdhcp 2.2.0 prints it, shortened.
    const REPORT: &str = "Running: perfdhcp -4 -r 10 10.99.0.1\n\
        ***Rate statistics***\n\
        Rate: 9 4-way exchanges/second, expected rate: 10\n\
        \n\
        ***Statistics for: DISCOVER-OFFER***\n\
        sent packets: 3\n\
        received packets: 3\n\
        drops: 0\n\
        \n\
        ***Statistics for: REQUEST-ACK***\n\
        sent packets: 3\n\
        received packets: 2\n\
        drops: 1\n\
        \n\
        ***Timestamps for packets: DISCOVER-OFFER***\n\
        sent / received: 000000.100000 / 000000.101000\n\
        sent / received: 000000.200000 / 000000.204000\n\
        sent / received: 000000.300000 / 000000.301000\n\
        \n\
        ***Timestamps for packets: REQUEST-ACK***\n\
        sent / received: 000000.101010 / 000000.103010\n\
        sent / received: 000000.301010 / 000000.302010\n";

    #[test]
    fn a_report_is_read() {
        let outcome = parse(REPORT).unwrap();
        assert_eq!((outcome.begun, outcome.completed), (3, 2));
        assert!((outcome.share() - 2.0 / 3.0).abs() < 1e-9);
        let rounded: Vec<f64> = outcome.latencies.iter().map(|ms| ms.round()).collect();
        assert_eq!(rounded, [2.0, 3.0]);
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        assert!(parse("cannot open interface\n").is_err());
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&values, 0.5), 2.0);
        assert_eq!(percentile(&values, 0.99), 4.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
