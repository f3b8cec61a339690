//! A packet socket (packet(7)): Ethernet frames of one interface, picked by a filter in the kernel.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::Context as _;
use hardway_model::identity::MacAddress;
use hardway_netboot::frame::filter::Instruction;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::unix::AsyncFd;

/// Every protocol, what this host sends included.
pub const ALL: u16 = libc::ETH_P_ALL as u16;

/// A packet socket in a runtime.
pub struct PacketSocket(AsyncFd<OwnedFd>);

impl PacketSocket {
    /// Opens a socket for frames of one protocol (an EtherType, or [`ALL`]) that come by an interface.
    /// Needs CAP_NET_RAW.
    ///
    /// Only with [`ALL`] are the frames that this host sends among them.
    pub fn open(
        interface: &str,
        protocol: u16,
        filter: Option<&[Instruction]>,
        buffer: usize,
    ) -> anyhow::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)
            .with_context(|| format!("looking for the interface {interface}"))?;
        let open = || -> io::Result<Self> {
            // With protocol 0 nothing arrives before the filter is there.
            let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: the call takes no pointer.
            let socket = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
            // SAFETY: the descriptor is new, and nobody else has it.
            let socket = unsafe { OwnedFd::from_raw_fd(socket) };
            if let Some(filter) = filter {
                attach(&socket, filter)?;
            }
            // Half of it does where more is not allowed.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &buffer)
                .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &buffer));
            bind(&socket, protocol, index)?;
            // SAFETY: an owned descriptor stays open, and the same, as long as it lives.
            Ok(Self(unsafe { AsyncFd::register(socket) }?))
        };
        open().with_context(|| format!("opening a packet socket on {interface}"))
    }

    /// Waits until a frame may be there, then takes frames until there is none or `most` were taken:
    /// each is handed over with its length on the wire, and cut to the buffer.
    pub async fn receive(
        &self,
        buffer: &mut [u8],
        most: usize,
        mut take: impl FnMut(&[u8], usize),
    ) -> io::Result<()> {
        let mut taken = 0;
        loop {
            let mut ready = self.0.readable().await?;
            while taken < most {
                match ready.try_io(|socket| receive(socket.get_ref(), buffer)) {
                    Ok(Ok(length)) => take(&buffer[..length.min(buffer.len())], length),
                    // The interface went down, which is said once; it may come up again.
                    Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(_would_block) => break,
                }
                taken += 1;
            }
            if taken > 0 {
                return Ok(());
            }
        }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let socket = self.0.as_fd().as_raw_fd();
        // SAFETY: the pointer and the length are the slice's.
        let sent = unsafe { libc::send(socket, frame.as_ptr().cast(), frame.len(), 0) };
        usize::try_from(sent).map_or_else(|_| Err(io::Error::last_os_error()), |_| Ok(()))
    }

    /// Frames that were dropped since this was asked last, since nobody took those before them.
    pub fn dropped(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointers are to a structure of the option's type, and to its size.
        check(unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        })?;
        Ok(statistics.tp_drops)
    }
}

/// The hardware address of an interface.
pub fn hardware_address(interface: &str) -> anyhow::Result<MacAddress> {
    let interfaces = nix::ifaddrs::getifaddrs().context("listing the interfaces")?;
    interfaces
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr()?.addr())
        .map(MacAddress)
        .with_context(|| format!("{interface} has no hardware address"))
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are the buffer's.
    let length = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            // The length is the frame's, however much of it there was room for.
            libc::MSG_TRUNC,
        )
    };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn attach(socket: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        // An instruction is laid out as the kernel's, and the kernel only reads it.
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the program points to as many instructions as it says, and outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn bind(socket: &OwnedFd, protocol: u16, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to an address of the size that is given.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn check(outcome: libc::c_int) -> io::Result<libc::c_int> {
    match outcome {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(other),
    }
}
