//! A host with a DHCP server of its own on the lab's segment: dnsmasq in a network namespace, which a
//! QEMU without a machine joins to a port by a tap.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::namespace::Namespace;
use crate::segment::{PortKind, Segment};

/// Until the tap is there.
const PATIENCE: Duration = Duration::from_secs(20);
const TAP: &str = "tap0";

/// What the server is told.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Its own address, in a network of 24 bits.
    pub own: Ipv4Addr,
    /// The first address that it gives.
    pub first: Ipv4Addr,
    /// The last one.
    pub last: Ipv4Addr,
}

/// The host. Dropping it ends its programs.
pub struct Neighbour {
    programs: Vec<Child>,
    log: PathBuf,
    _host: Namespace,
}

impl Neighbour {
    /// Starts it; what its server says goes to `neighbour.log` in `folder`.
    ///
    /// # Errors
    /// Also where this program may make no network namespace.
    pub fn start(segment: &Segment, addresses: Addresses, folder: &Path) -> Result<Self> {
        let host = Namespace::new("neighbour")?;
        let port = segment.add_port("neighbour", PortKind::Machine)?;
        let log = folder.join("neighbour.log");
        let mut programs = vec![join(&host, &port, &folder.join("neighbour.qemu.log"))?];
        let address = format!("{}/24", addresses.own);
        let set_up = || -> Result<Child> {
            wait_for_tap(&host)?;
            host.run(["ip", "address", "add", &address, "dev", TAP])?;
            host.run(["ip", "link", "set", TAP, "up"])?;
            serve(&host, addresses, folder, &log)
        };
        let server = set_up();
        if server.is_err() {
            end(&mut programs);
        }
        programs.push(server?);
        Ok(Self {
            programs,
            log,
            _host: host,
        })
    }

    /// What its server has said so far, each DHCP message in a line.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.log)
            .with_context(|| format!("reading {}", self.log.display()))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        end(&mut self.programs);
    }
}

/// They may have ended already.
fn end(programs: &mut Vec<Child>) {
    for program in programs.iter_mut().rev() {
        let _ = program.kill();
        let _ = program.wait();
    }
    programs.clear();
}

fn join(host: &Namespace, port: &Path, log: &Path) -> Result<Child> {
    let messages = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let tap = format!("tap,id=tap,ifname={TAP},script=no,downscript=no");
    let segment = format!(
        "stream,id=segment,server=off,addr.type=unix,addr.path={}",
        port.display()
    );
    host.command("qemu-system-x86_64")
        .args(["-machine", "none", "-nodefaults", "-display", "none"])
        .args(["-netdev", &tap, "-netdev", &segment])
        .args(["-netdev", "hubport,id=in,hubid=0,netdev=tap"])
        .args(["-netdev", "hubport,id=out,hubid=0,netdev=segment"])
        .stdout(Stdio::null())
        .stderr(messages)
        .spawn()
        .context("starting qemu-system-x86_64 for the neighbour's tap")
}

fn wait_for_tap(host: &Namespace) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while host.run(["ip", "link", "show", TAP]).is_err() {
        ensure!(
            Instant::now() < deadline,
            "the neighbour has no tap after {} s; see neighbour.qemu.log",
            PATIENCE.as_secs()
        );
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// dnsmasq gives addresses only: no boot file, no DNS.
fn serve(host: &Namespace, addresses: Addresses, folder: &Path, log: &Path) -> Result<Child> {
    let file = |name: &str| folder.join(name).display().to_string();
    let Addresses { first, last, .. } = addresses;
    host.command("dnsmasq")
        // As a daemon it would change its groups, which nobody may in a user namespace.
        .args([
            "--conf-file=/dev/null",
            "--no-daemon",
            "--port=0",
            "--log-dhcp",
        ])
        .args(["--bind-interfaces", &format!("--interface={TAP}")])
        .arg(format!("--dhcp-range={first},{last},1h"))
        .arg(format!("--dhcp-leasefile={}", file("neighbour.leases")))
        .arg(format!("--log-facility={}", log.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting dnsmasq; package dnsmasq-base")
}
