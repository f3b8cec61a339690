//! A server side, a client side, and the link between them: two network namespaces and a veth pair.
//!
//! The client side is the namespace of the bench itself, so that its sockets need nothing special;
//! servers are started in the other one.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// The servers' interface.
pub const SERVER_INTERFACE: &str = "server0";
/// The clients' interface.
pub const CLIENT_INTERFACE: &str = "client0";
/// Bits of the network's prefix: 10.99.0.0/16.
pub const PREFIX: u8 = 16;
/// The first client's own address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// Where the clients that have addresses of their own begin: 10.99.128.0/17.
const CLIENTS: [u8; 2] = [10, 99];

/// The address of the client with a number below 32,000.
pub fn client_address(number: usize) -> Ipv4Addr {
    let [_, _, high, low] = (number as u32 + 1).to_be_bytes();
    Ipv4Addr::new(CLIENTS[0], CLIENTS[1], 128 | high, low)
}

/// The servers' side; it goes with the process.
pub struct Network {
    servers: OwnedFd,
}

impl Network {
    /// Makes the other side and the link. The caller's namespace has to be a fresh one.
    pub fn new(servers: &[Ipv4Addr]) -> anyhow::Result<Self> {
        let made = std::thread::spawn(fresh_namespace).join();
        let other = made.map_err(|_| anyhow::anyhow!("making a namespace panicked"))??;
        let network = Self { servers: other };
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            network.servers.as_raw_fd()
        );
        ip(&format!(
            "link add {CLIENT_INTERFACE} type veth peer name {SERVER_INTERFACE} netns {path}"
        ))?;
        for address in servers {
            network.ip(&format!(
                "address add {address}/{PREFIX} dev {SERVER_INTERFACE}"
            ))?;
        }
        network.ip("link set lo up")?;
        network.ip(&format!("link set {SERVER_INTERFACE} up"))?;
        ip(&format!(
            "address add {CLIENT}/{PREFIX} dev {CLIENT_INTERFACE}"
        ))?;
        ip("link set lo up")?;
        ip(&format!("link set {CLIENT_INTERFACE} up"))?;
        Ok(network)
    }

    /// Lets sockets on the client side have any of [`client_address`]'s (AnyIP). Not during DHCP,
    /// since then the kernel answers ARP for all of them.
    pub fn many_clients(&self) -> anyhow::Result<ManyClients> {
        ip(&format!("route add local {CLIENTS_NETWORK} dev lo"))?;
        Ok(ManyClients)
    }

    /// Makes a command run on the servers' side, and end when the bench does.
    pub fn on_server_side(&self, command: &mut Command) -> anyhow::Result<()> {
        let servers = self
            .servers
            .try_clone()
            .context("duplicating a namespace")?;
        // SAFETY: between fork and exec only setns(2) and prctl(2) are called, which are
        // async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                setns(&servers, CloneFlags::CLONE_NEWNET)?;
                Ok(set_pdeathsig(Signal::SIGKILL)?)
            })
        };
        Ok(())
    }

    /// Tells the servers' side the hardware address of so many clients, and has the clients' side answer
    /// no ARP. Otherwise every machine of a storm would have the hardware address of the one interface
    /// that all share, which a DHCP server may take for a conflict; and the kernel keeps 1,024 learned
    /// neighbours at most (arp(7), gc_thresh3), for all namespaces together.
    pub fn introduce(&self, clients: usize) -> anyhow::Result<()> {
        let ignore = format!("/proc/sys/net/ipv4/conf/{CLIENT_INTERFACE}/arp_ignore");
        let mac = client_mac()?;
        std::fs::write(&ignore, "1").with_context(|| format!("writing {ignore}"))?;
        let lines: String = (0..clients)
            .map(|number| {
                let address = client_address(number);
                format!(
                    "neigh replace {address} lladdr {mac} nud permanent dev {SERVER_INTERFACE}\n"
                )
            })
            .collect();
        let mut command = Command::new("ip");
        self.on_server_side(&mut command)?;
        let mut file = tempfile::tempfile().context("making a temporary file")?;
        file.write_all(lines.as_bytes())
            .context("writing neighbours")?;
        file.rewind().context("rewinding a file")?;
        command.stdin(file);
        run(&mut command, "-batch -")
    }

    fn ip(&self, words: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        self.on_server_side(&mut command)?;
        run(&mut command, words)
    }
}

const CLIENTS_NETWORK: &str = "10.99.128.0/17";

/// While it lives, clients may have any address.
pub struct ManyClients;

impl Drop for ManyClients {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("route del local {CLIENTS_NETWORK} dev lo")) {
            eprintln!("warning: {error:#}");
        }
    }
}

/// As `ip` shows it: /sys is the host's.
fn client_mac() -> anyhow::Result<String> {
    let mut command = Command::new("ip");
    command.args(["-oneline", "link", "show", "dev", CLIENT_INTERFACE]);
    let output = command.output().context("starting `ip link show`")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, after) = text
        .split_once("link/ether ")
        .context("a link without an address")?;
    Ok(after.split(' ').next().unwrap_or_default().to_owned())
}

/// Runs on a thread of its own, whose namespace it replaces.
fn fresh_namespace() -> anyhow::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    let file = File::open("/proc/thread-self/ns/net").context("opening a network namespace")?;
    Ok(file.into())
}

fn ip(words: &str) -> anyhow::Result<()> {
    run(&mut Command::new("ip"), words)
}

fn run(command: &mut Command, words: &str) -> anyhow::Result<()> {
    let output = command
        .args(words.split(' '))
        .output()
        .with_context(|| format!("starting `ip {words}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`ip {words}`: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_addresses_of_their_own() {
        assert_eq!(client_address(0), Ipv4Addr::new(10, 99, 128, 1));
        assert_eq!(client_address(254), Ipv4Addr::new(10, 99, 128, 255));
        assert_eq!(client_address(999), Ipv4Addr::new(10, 99, 131, 232));
    }
}
