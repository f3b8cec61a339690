//! Three TFTP clients fetch files over a cable that loses a tenth of the frames.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{APPLIANCE, Options, Rack, cluster_file};
use crate::namespace::Namespace;

/// Of a thousand frames each way.
const LOST: u32 = 100;
/// Ends inside a block and at the end of one; the last is of many windows. None is empty: curl 7.88 fails
/// on an empty file from this server, which the others fetch.
const SIZES: [usize; 4] = [1, 512 * 40, 1468 * 16, 150_001];
/// A client on a cable like this one may lose its first request, and then waits for seconds.
const PATIENCE: &str = "120";

/// A client: its name, and how it fetches a file of a name from the appliance to a place.
type Client = (&'static str, fn(&mut Command, &str, &Path));

const CLIENTS: [Client; 4] = [
    ("tftp", |command, file, to| {
        command
            .args(["-m", "binary", APPLIANCE, "-c", "get", file])
            .arg(to);
    }),
    ("atftp", |command, file, to| {
        command
            .args(["--get", "--remote-file", file, "--local-file"])
            .arg(to)
            .arg(APPLIANCE);
    }),
    ("atftp", |command, file, to| {
        // It breaks off at a second option acknowledgement, which any server sends when the client's
        // answer to the first was lost. Its own timer is to repair that before the server's does.
        command.args(["--tftp-timeout", "1", "--option", "timeout 8"]);
        command.args(["--option", "blksize 1468", "--option", "windowsize 16"]);
        command
            .args(["--get", "--remote-file", file, "--local-file"])
            .arg(to)
            .arg(APPLIANCE);
    }),
    ("curl", |command, file, to| {
        command
            .args(["--silent", "--show-error", "--output"])
            .arg(to);
        command.arg(format!("tftp://{APPLIANCE}/{file}"));
    }),
];

pub(super) fn run(options: &Options) -> Result<()> {
    let payload = tempfile::tempdir().context("making a folder of boot files")?;
    let boot = payload.path().join("boot");
    fs::create_dir(&boot).with_context(|| format!("making {}", boot.display()))?;
    for size in SIZES {
        let content: Vec<u8> = (0..size)
            .map(|index| (index * 7 + index / 251) as u8)
            .collect();
        fs::write(boot.join(name(size)), content).context("writing a boot file")?;
    }
    let options = Options {
        payload: Some(payload.path().to_owned()),
        ..options.clone()
    };
    let cluster = cluster_file("  dhcp: {mode: off}\n");
    let rack = Rack::start_over_lossy_cable(&options, &cluster, "http,tftp", LOST)?;
    for (number, (program, arguments)) in CLIENTS.iter().enumerate() {
        for size in SIZES {
            let to = rack.folder().join(format!("{number}-{size}"));
            let fetched = fetch(&rack.client, program, |command| {
                arguments(command, &name(size), &to);
            });
            fetched.with_context(|| format!("fetching {size} bytes; {}", rack.log()))?;
            let got = fs::read(&to).unwrap_or_default();
            let sent = fs::read(boot.join(name(size))).context("reading a boot file")?;
            ensure!(
                got == sent,
                "{program} ({number}) was given {size} bytes and has {} that differ; {}",
                got.len(),
                rack.log()
            );
        }
    }
    let lost = rack.lost();
    ensure!(
        lost > 100,
        "the cable lost {lost} frames: nothing is proven"
    );
    Ok(())
}

fn name(size: usize) -> String {
    format!("file-{size}.bin")
}

fn fetch(host: &Namespace, program: &str, arguments: impl FnOnce(&mut Command)) -> Result<()> {
    let mut command = host.command("timeout");
    command.args([PATIENCE, program]);
    arguments(&mut command);
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!(
            "{program}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
