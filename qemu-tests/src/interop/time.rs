//! `chronyd -Q` asks the appliance for the time once and says how far it is off.

use anyhow::{Context, Result, ensure};

use super::{APPLIANCE, Options, Rack, cluster_file};

/// The clock is the same on both hosts: what is off is the way between them.
const MOST_SECONDS: f64 = 0.1;

pub(super) fn run(options: &Options) -> Result<()> {
    let cluster = cluster_file("  dhcp: {mode: off}\n");
    let rack = Rack::start(options, &cluster, "http,ntp")?;
    let source = format!("server {APPLIANCE} iburst maxsamples 4");
    let mut command = rack.client.command("chronyd");
    // Not as a daemon, without setting the clock, without its files and its own user.
    command
        .args(["-Q", "-t", "20", "-u", "root", "-f", "/dev/null"])
        .arg(source)
        .arg("local stratum 15");
    let output = command.output().context("starting chronyd")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let offset = said
        .lines()
        .find_map(|line| line.split("System clock wrong by ").nth(1))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<f64>().ok());
    let offset = offset.with_context(|| format!("chronyd took no time from it:\n{said}"))?;
    ensure!(
        offset.abs() < MOST_SECONDS,
        "chronyd finds it wrong by {offset} s"
    );
    Ok(())
}
