//! `dig` asks for the cluster's names, and for some that are not its own.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{APPLIANCE, Options, Rack, Running, cluster_file};

/// What is asked, and what has to be in the answer.
const QUESTIONS: [(&[&str], &[&str]); 9] = [
    (
        &["node1.lab.internal", "A"],
        &["status: NOERROR", "flags: qr aa rd;", "10.77.0.11"],
    ),
    (
        &["+tcp", "node1.lab.internal", "A"],
        &["10.77.0.11", "(TCP)"],
    ),
    (
        &["+bufsize=4096", "hardway.lab.internal", "A"],
        &["EDNS: version: 0", "udp: 1232", APPLIANCE],
    ),
    (&["+noedns", "node1.lab.internal", "A"], &["10.77.0.11"]),
    (
        &["+edns=1", "+noednsnegotiation", "node1.lab.internal", "A"],
        &["status: BADVERS"],
    ),
    (&["-x", "10.77.0.11"], &["node1.lab.internal."]),
    (
        &["nobody.lab.internal", "A"],
        &["status: NXDOMAIN", "AUTHORITY: 1", "SOA"],
    ),
    (&["lab.internal", "AXFR"], &["Transfer failed"]),
    (&["example.org", "A"], &["status: REFUSED"]),
];

/// What the upstream server says of names that are not the cluster's.
const FORWARDED: [(&[&str], &[&str]); 4] = [
    (
        &["mirror.example.org", "A"],
        &["status: NOERROR", "flags: qr rd ra;", "192.0.2.7"],
    ),
    (
        &["+tcp", "MIRROR.example.org", "A"],
        &["MIRROR.example.org", "192.0.2.7"],
    ),
    // Longer than a datagram: from upstream by TCP, and to dig by TCP, too.
    (&["long.example.org", "TXT"], &["(TCP)", "the end of it"]),
    (&["nobody.example.org", "A"], &["status: NXDOMAIN"]),
];

/// How long a new lease's name may take.
const SOON: Duration = Duration::from_secs(10);

pub(super) fn run(options: &Options) -> Result<()> {
    let cluster = cluster_file(
        "  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.103}\n  dns: {upstream: []}\n",
    );
    let rack = start(options, &cluster, "http,dns,dhcp")?;
    ask(&rack, &QUESTIONS)?;
    leased_name(&rack)?;
    drop(rack);

    let cluster = cluster_file("  dhcp: {mode: off}\n  dns: {upstream: [10.77.0.2]}\n");
    let rack = start(options, &cluster, "http,dns")?;
    let upstream = upstream(&rack)?;
    ask(&rack, &FORWARDED)?;
    // What was asked once is known, though nobody can be asked any more.
    drop(upstream);
    ask(&rack, &FORWARDED[..1])?;
    ask(
        &rack,
        &[(
            &["+tries=1", "other.example.org", "A"],
            &["status: SERVFAIL"],
        )],
    )
}

fn start(options: &Options, cluster: &str, services: &str) -> Result<Rack> {
    let mut rack = Rack::start(options, cluster, services)?;
    rack.wait_for("an answer by DNS", |rack| {
        let said = dig(rack, &["+tries=1", "+time=1", "lab.internal", "SOA"])?;
        Ok(said.contains("NOERROR"))
    })?;
    Ok(rack)
}

fn ask(rack: &Rack, questions: &[(&[&str], &[&str])]) -> Result<()> {
    for (question, expected) in questions {
        let said = dig(rack, question)?;
        for part in *expected {
            ensure!(
                said.contains(part),
                "`dig {}` does not say `{part}`:\n{said}",
                question.join(" ")
            );
        }
    }
    Ok(())
}

/// A client that gives itself a name by DHCP has it in DNS.
fn leased_name(rack: &Rack) -> Result<()> {
    rack.client.run([
        "udhcpc",
        "-i",
        "eth0",
        "-n",
        "-q",
        "-x",
        "hostname:web7",
        "-s",
        "/bin/true",
    ])?;
    let deadline = Instant::now() + SOON;
    loop {
        let known = ask(
            rack,
            &[
                (
                    &["web7.lab.internal", "A"],
                    &["status: NOERROR", "10.77.0.10"],
                ),
                (&["-x", "10.77.0.100"], &["web7.lab.internal."]),
            ],
        );
        if known.is_ok() || Instant::now() > deadline {
            return known;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// dnsmasq as an upstream server on the client's host, until it is dropped.
fn upstream(rack: &Rack) -> Result<Running> {
    let long = format!(
        "--txt-record=long.example.org,{}the end of it",
        "text,".repeat(400)
    );
    let mut command = rack.client.command("dnsmasq");
    command
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file",
        ])
        .args([
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--bind-interfaces",
        ])
        .args(["--listen-address=10.77.0.2", "--local=/example.org/"])
        .args([
            "--host-record=mirror.example.org,192.0.2.7",
            "--local-ttl=300",
            &long,
        ])
        .stderr(Stdio::null());
    let running = Running(command.spawn().context("starting dnsmasq")?);
    let deadline = Instant::now() + SOON;
    while rack
        .client
        .inside(|| std::net::TcpStream::connect(("10.77.0.2", 53)).is_err())?
    {
        ensure!(Instant::now() < deadline, "dnsmasq does not listen");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(running)
}

/// What dig prints, whatever its status.
fn dig(rack: &Rack, question: &[&str]) -> Result<String> {
    let mut command = rack.client.command("dig");
    command.arg(format!("@{APPLIANCE}")).args(question);
    let output = command.output().context("starting dig")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
