//! One machine's boot.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::dhcp_client::{Exchange, LeaseError};
use super::dhcp_message::{Kind, Lease};
use crate::http_client::{Connection, HttpError};
use crate::ours::machine_mac;
use crate::tftp_client::{Options, TftpError, fetch};

/// What iPXE's ROM asks for.
const TFTP: Options = Options {
    block: 1432,
    window: 1,
};

/// Where a boot ended.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// No address.
    #[error("DHCP as {0}: {1}")]
    Dhcp(Kind, #[source] LeaseError),
    /// No boot file.
    #[error("TFTP: {0}")]
    Tftp(#[source] TftpError),
    /// No script, kernel or initramfs.
    #[error("HTTP, {0}: {1}")]
    Http(&'static str, #[source] HttpError),
    /// An answer that leads nowhere.
    #[error("{0}")]
    NoWay(&'static str),
}

/// A machine that is blank and starts by its BIOS.
pub struct Machine<'a> {
    mac: [u8; 6],
    dhcp: &'a Exchange,
    /// Where boot files are, if the DHCP server names no other.
    tftp: SocketAddrV4,
}

impl<'a> Machine<'a> {
    /// A machine by its number.
    pub fn new(number: usize, dhcp: &'a Exchange, tftp: SocketAddrV4) -> Self {
        Self {
            mac: machine_mac(number),
            dhcp,
            tftp,
        }
    }

    /// From the first packet to the last byte of the initramfs.
    pub fn boot(&self) -> Result<(), BootError> {
        let lease = self.lease(Kind::Firmware)?;
        let file = lease.file.as_deref();
        let file = file.ok_or(BootError::NoWay("PXE firmware was offered no boot file"))?;
        let fetched = fetch(lease.address, self.tftp, file, TFTP, None);
        fetched.map_err(BootError::Tftp)?;
        let lease = self.lease(Kind::Ipxe)?;
        let url = lease.file.as_deref();
        let first = url.ok_or(BootError::NoWay("iPXE was offered no script"))?;
        let (host, path) = split(first)?;
        let own = lease.address;
        text(own, host, path, "the first script")?;
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join("-");
        // What the first script has iPXE ask for, with the variables filled in.
        let path = format!("/ipxe?mac={mac}&uuid=&serial=&buildarch=x86_64&platform=pcbios");
        let script = text(own, host, &path, "the machine's script")?;
        for (command, what) in [("kernel ", "the kernel"), ("initrd ", "the initramfs")] {
            let line = script.lines().find_map(|line| line.strip_prefix(command));
            let words = line.into_iter().flat_map(|line| line.split(' '));
            let url = words.into_iter().find(|word| word.starts_with("http://"));
            let url = url.ok_or(BootError::NoWay("the script names no kernel and initramfs"))?;
            let (host, path) = split(url)?;
            let http = |error| BootError::Http(what, error);
            let mut connection = Connection::open(own, host).map_err(http)?;
            connection.drain(path, |_| true).map_err(http)?;
        }
        Ok(())
    }

    fn lease(&self, kind: Kind) -> Result<Lease, BootError> {
        let lease = self.dhcp.lease(self.mac, kind);
        lease.map_err(|error| BootError::Dhcp(kind, error))
    }
}

fn text(
    own: Ipv4Addr,
    host: SocketAddrV4,
    path: &str,
    what: &'static str,
) -> Result<String, BootError> {
    let http = |error| BootError::Http(what, error);
    let mut connection = Connection::open(own, host).map_err(http)?;
    connection.text(path).map_err(http)
}

/// Host and path of a URL whose host is an address.
fn split(url: &str) -> Result<(SocketAddrV4, &str), BootError> {
    let parse = || {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find('/')?);
        let host = host
            .parse()
            .or_else(|_| host.parse().map(|address| SocketAddrV4::new(address, 80)));
        Some((host.ok()?, path))
    };
    parse().ok_or(BootError::NoWay("a URL that is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_a_path() {
        let own = Ipv4Addr::new(10, 99, 0, 1);
        let (host, path) = split("http://10.99.0.1/boot.ipxe").unwrap();
        assert_eq!((host, path), (SocketAddrV4::new(own, 80), "/boot.ipxe"));
        let (host, _) = split("http://10.99.0.1:8080/x").unwrap();
        assert_eq!(host.port(), 8080);
        assert!(split("tftp://10.99.0.1/x").is_err());
    }
}
