//! A server that is measured: started, watched, ended.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::network::Network;

/// How long a server may take to open its ports.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a failed server's log is repeated.
const SHOWN_LINES: usize = 8;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// A UDP port.
    Udp(u16),
    /// A TCP port that listens.
    Tcp(u16),
}

/// How a server is started.
pub struct Recipe {
    /// As it is shown.
    pub name: String,
    /// As it says itself.
    pub version: String,
    /// Stays in the foreground.
    pub command: Command,
    /// The address that it serves at.
    pub address: Ipv4Addr,
    /// Open when it is ready.
    pub ports: Vec<Port>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A server that runs. Dropping it ends it.
pub struct Server {
    /// As it is shown.
    pub name: String,
    /// As it says itself.
    pub version: String,
    /// The address that it serves at.
    pub address: Ipv4Addr,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server on the servers' side and waits until its ports are open.
    pub fn start(recipe: Recipe, network: &Network) -> anyhow::Result<Self> {
        let Recipe {
            name,
            version,
            mut command,
            address,
            ports,
            log,
        } = recipe;
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("opening {}", log.display()))?;
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().context("duplicating a log")?);
        command.stderr(output);
        command.process_group(0);
        network.on_server_side(&mut command)?;
        let child = command.spawn();
        let child = child.with_context(|| format!("starting {name}"))?;
        let mut server = Self {
            name,
            version,
            address,
            child,
            log,
        };
        server.wait_for(&ports)?;
        Ok(server)
    }

    /// CPU time of the server and all its processes since they were started, in seconds. The kernel
    /// tells it in steps of 10 ms.
    pub fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.processes().iter().filter_map(|id| ticks(*id)).sum();
        ticks as f64 / ticks_per_second()
    }

    /// The most memory that was resident, in bytes, summed over its processes. Pages of files that it
    /// maps count, those that it only sends do not.
    pub fn peak_memory(&self) -> u64 {
        let peaks = self.processes().into_iter().filter_map(|id| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        peaks.sum::<u64>() * 1024
    }

    /// Fails with the end of its log when it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait().context("looking for a server")?;
        match ended {
            None => Ok(()),
            Some(status) => anyhow::bail!(
                "{} ended with {status}:\n{}",
                self.name,
                last_lines(&self.log)
            ),
        }
    }

    fn wait_for(&mut self, ports: &[Port]) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.check()?;
            if ports.iter().all(|port| self.is_open(*port)) {
                return Ok(());
            }
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "{} did not open {ports:?} in {} s:\n{}",
                self.name,
                PATIENCE.as_secs(),
                last_lines(&self.log)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_open(&self, port: Port) -> bool {
        let (table, number) = match port {
            Port::Udp(number) => ("udp", number),
            Port::Tcp(number) => ("tcp", number),
        };
        let path = format!("/proc/{}/net/{table}", self.child.id());
        let sockets = fs::read_to_string(path).unwrap_or_default();
        has_socket(&sockets, self.address, number)
    }

    /// Its own process and those that it started: they share a process group.
    fn processes(&self) -> Vec<u32> {
        let group = self.child.id();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| field(*id, 5) == Some(u64::from(group)))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id() as i32);
        let _ = kill(group, Signal::SIGTERM);
        let began = Instant::now();
        while began.elapsed() < GRACE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                _ => break,
            }
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The last words of a log.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Whether a table in the format of /proc/net/udp has a socket at this address and port, or at the
/// port of every address.
fn has_socket(table: &str, address: Ipv4Addr, port: u16) -> bool {
    let own = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
    let any = format!("00000000:{port:04X}");
    table.lines().any(|line| {
        let local = line.split_whitespace().nth(1);
        local == Some(own.as_str()) || local == Some(any.as_str())
    })
}

/// User and system time of a process and of its children that ended.
fn ticks(id: u32) -> Option<u64> {
    (14..=17).map(|number| field(id, number)).sum()
}

/// A field of /proc/ID/stat by its number in proc(5).
fn field(id: u32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

fn ticks_per_second() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks.ok().flatten().unwrap_or(100) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_address_and_port() {
        let table = "  sl  local_address rem_address   st\n\
                     \x20  0: 0100630A:0045 00000000:0000 07\n\
                     \x20  1: 00000000:0043 00000000:0000 07\n";
        let own = Ipv4Addr::new(10, 99, 0, 1);
        assert!(has_socket(table, own, 69));
        assert!(has_socket(table, own, 67));
        assert!(!has_socket(table, Ipv4Addr::new(10, 99, 0, 3), 69));
        assert!(!has_socket(table, own, 80));
    }

    #[test]
    fn a_process_has_ticks_and_a_group() {
        let own = std::process::id();
        assert!(ticks(own).is_some());
        assert!(field(own, 5).is_some_and(|group| group > 0));
    }
}
