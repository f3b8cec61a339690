//! The host's way onto the segment: a QEMU without a machine that joins its user-mode network
//! (slirp) to a port of the hub.
//!
//! slirp finds the machines by ARP under the address that is theirs on the segment, so each keeps its
//! one NIC and knows nothing of the host. Its own DHCP is dropped by the segment
//! ([`crate::segment::PortKind::Host`]), and it is `restrict`ed: the machines reach nothing outside.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::vm::end_with_parent;

/// A TCP port of a machine that the host can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The machine's address on the segment.
    pub address: Ipv4Addr,
    /// The machine's port.
    pub port: u16,
    /// The port on 127.0.0.1 that leads there.
    pub host_port: u16,
}

impl Forward {
    /// Forwards to each of these ports of machines, from ports of 127.0.0.1 that are free now. All are held
    /// until the last is found, so that none is found twice.
    pub fn to_all(wanted: &[(Ipv4Addr, u16)]) -> Result<Vec<Self>> {
        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let held: Result<Vec<_>, _> = wanted.iter().map(listen).collect();
        let looking = "looking for a free port on 127.0.0.1";
        let forward = |(listener, (address, port)): (&TcpListener, &(Ipv4Addr, u16))| {
            Ok(Self {
                address: *address,
                port: *port,
                host_port: listener.local_addr().context(looking)?.port(),
            })
        };
        held.context(looking)?
            .iter()
            .zip(wanted)
            .map(forward)
            .collect()
    }
}

/// The port on 127.0.0.1 that leads to `port` of `address`.
pub fn find(forwards: &[Forward], address: Ipv4Addr, port: u16) -> Option<u16> {
    forwards
        .iter()
        .find(|forward| forward.address == address && forward.port == port)
        .map(|forward| forward.host_port)
}

/// The network and the addresses on it that nobody else uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressing {
    network: Ipv4Addr,
    prefix: u8,
    free: [Ipv4Addr; 3],
}

impl Addressing {
    /// Picks three addresses from the top of the network for slirp's gateway, name server and
    /// (unheard) DHCP, passing over those that `is_used` names.
    pub fn choose(
        network: Ipv4Addr,
        prefix: u8,
        is_used: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<Self> {
        let first = u32::from(network);
        let last = first | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let free: Vec<Ipv4Addr> = (first + 1..last)
            .rev()
            .map(Ipv4Addr::from)
            .filter(|address| !is_used(*address))
            .take(3)
            .collect();
        let free = free.try_into().map_err(|_| {
            anyhow!("{network}/{prefix} has no three addresses left for the lab's way in")
        })?;
        Ok(Self {
            network,
            prefix,
            free,
        })
    }
}

/// The running port. Dropping it ends the process.
pub struct HostPort {
    process: Child,
    log: PathBuf,
}

impl HostPort {
    /// Joins the segment at `socket`. QEMU's messages go to `log`.
    pub fn start(
        socket: &Path,
        addressing: &Addressing,
        forwards: &[Forward],
        log: &Path,
    ) -> Result<Self> {
        let messages = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-machine", "none", "-nodefaults", "-display", "none"])
            .args(["-netdev", &user_network(addressing, forwards)])
            .args(["-netdev", "hubport,id=in,hubid=0,netdev=user"])
            .arg("-netdev")
            .arg(format!(
                "stream,id=segment,server=off,addr.type=unix,addr.path={}",
                socket.display()
            ))
            .args(["-netdev", "hubport,id=out,hubid=0,netdev=segment"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            .process_group(0);
        end_with_parent(&mut command);
        let process = command
            .spawn()
            .context("starting qemu-system-x86_64 for the host's port")?;
        Ok(Self {
            process,
            log: log.to_owned(),
        })
    }

    /// Fails with QEMU's own words if it has ended: somebody has taken a port in between, say.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self
            .process
            .try_wait()
            .context("asking for the host's port")?
        else {
            return Ok(());
        };
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        // QEMU repeats its long argument before it says what is wrong.
        let (_, last) = said.rsplit_once(",hostfwd=").unwrap_or(("", &said));
        bail!(
            "the host's way onto the segment ended with {status}: {}",
            last.trim()
        );
    }
}

impl Drop for HostPort {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn user_network(addressing: &Addressing, forwards: &[Forward]) -> String {
    let Addressing {
        network,
        prefix,
        free: [gateway, names, pool],
    } = addressing;
    let mut options = format!(
        "user,id=user,ipv6=off,restrict=on,net={network}/{prefix},host={gateway},dns={names},dhcpstart={pool}"
    );
    for forward in forwards {
        options += &format!(
            ",hostfwd=tcp:127.0.0.1:{}-{}:{}",
            forward.host_port, forward.address, forward.port
        );
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forward_has_a_port_of_its_own() {
        let wanted: Vec<_> = (0..200)
            .map(|number| (Ipv4Addr::new(10, 77, 0, number), 22))
            .collect();
        let forwards = Forward::to_all(&wanted).unwrap();
        let mut ports: Vec<u16> = forwards.iter().map(|forward| forward.host_port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), wanted.len());
        let found = find(&forwards, wanted[7].0, 22);
        assert_eq!(found, Some(forwards[7].host_port));
    }

    #[test]
    fn used_addresses_are_passed_over() {
        let network = Ipv4Addr::new(10, 77, 0, 0);
        let used = Ipv4Addr::new(10, 77, 0, 253);
        let addressing = Addressing::choose(network, 24, |address| address == used).unwrap();
        assert_eq!(
            addressing.free.map(|address| address.octets()[3]),
            [254, 252, 251]
        );
        assert!(Addressing::choose(network, 30, |_| false).is_err());
    }
}
