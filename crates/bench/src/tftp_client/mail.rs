//! Datagrams of several own addresses by one socket: recvmmsg, sendmmsg, and IP_PKTINFO (ip(7)), which
//! says to which address one came, and from which one leaves.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use libc::{in_pktinfo, iovec, mmsghdr, sockaddr_in};
use socket2::{Domain, Protocol, Socket, Type};

use super::timed_out;

/// Datagrams by one call.
const BATCH: usize = 64;
/// Bytes looked at of each: a header, or an error's message, or the options that were accepted.
const HEAD: usize = 128;
/// What sixteen windows hold and more, in bytes: a packet lost here would tell of the client, and not
/// of the server.
const BUFFER: usize = 4 << 20;

/// A control message that holds an address, as cmsg(3) lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    info: in_pktinfo,
    padding: [u8; 4],
}

/// Where one datagram's parts lie for the kernel.
#[derive(Clone, Copy)]
struct Slot {
    head: [u8; HEAD],
    length: usize,
    name: sockaddr_in,
    control: Control,
}

/// A datagram that came.
pub struct Letter<'m> {
    /// To which address.
    pub own: Ipv4Addr,
    /// From whom.
    pub from: SocketAddrV4,
    /// Its first bytes.
    pub head: &'m [u8],
    /// Its whole length.
    pub length: usize,
}

/// The socket, what came last, and what is to leave.
pub struct Mail {
    socket: Socket,
    received: Box<[Slot; BATCH]>,
    waiting: Vec<Slot>,
}

impl Mail {
    /// On a port of every address.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(BUFFER)?;
        let on: libc::c_int = 1;
        // SAFETY: the value is a c_int that outlives the call, and its size is given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            socket,
            received: Box::new([empty(); BATCH]),
            waiting: Vec::with_capacity(BATCH),
        })
    }

    /// Takes what has come, and says how many they are.
    pub fn receive(&mut self) -> io::Result<usize> {
        let mut pieces = pieces(&mut self.received[..], |_| HEAD);
        let mut messages = messages(&mut self.received[..], &mut pieces);
        // SAFETY: every header points to a slot and a piece that outlive the call, with their sizes.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if timed_out(&error) { Ok(0) } else { Err(error) };
        };
        for (slot, message) in self.received.iter_mut().zip(&messages[..count]) {
            slot.length = message.msg_len as usize;
        }
        Ok(count)
    }

    /// One of those that the last call took.
    pub fn letter(&self, at: usize) -> Letter<'_> {
        let slot = &self.received[at];
        let ip = |address: libc::in_addr| Ipv4Addr::from(u32::from_be(address.s_addr));
        Letter {
            own: ip(slot.control.info.ipi_addr),
            from: SocketAddrV4::new(ip(slot.name.sin_addr), u16::from_be(slot.name.sin_port)),
            head: &slot.head[..slot.length.min(HEAD)],
            length: slot.length,
        }
    }

    /// Lets a datagram of at most [`HEAD`] bytes leave from an address with the next call of
    /// [`Mail::send`].
    pub fn put(&mut self, own: Ipv4Addr, to: SocketAddrV4, packet: &[u8]) {
        let mut slot = empty();
        slot.head[..packet.len()].copy_from_slice(packet);
        slot.length = packet.len();
        slot.name.sin_port = to.port().to_be();
        slot.name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        slot.control.info.ipi_spec_dst.s_addr = u32::from(own).to_be();
        self.waiting.push(slot);
    }

    /// Sends what waits.
    pub fn send(&mut self) -> io::Result<()> {
        let mut pieces = pieces(&mut self.waiting, |slot| slot.length);
        let mut messages = messages(&mut self.waiting, &mut pieces);
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            // SAFETY: every header points to a slot and a piece that outlive the call, with their sizes.
            let sent = unsafe {
                let descriptor = self.socket.as_raw_fd();
                libc::sendmmsg(descriptor, rest.as_mut_ptr(), rest.len() as u32, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => rest = &mut rest[sent..],
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if !timed_out(&error) {
                        return Err(error);
                    }
                }
            }
        }
        self.waiting.clear();
        Ok(())
    }
}

fn empty() -> Slot {
    // SAFETY: all zeros are a valid name, control message and array.
    let mut slot: Slot = unsafe { std::mem::zeroed() };
    slot.name.sin_family = libc::AF_INET as libc::sa_family_t;
    slot.control.header.cmsg_len = size_of::<libc::cmsghdr>() + size_of::<in_pktinfo>();
    slot.control.header.cmsg_level = libc::IPPROTO_IP;
    slot.control.header.cmsg_type = libc::IP_PKTINFO;
    slot
}

fn pieces(slots: &mut [Slot], length: impl Fn(&Slot) -> usize) -> Vec<iovec> {
    let piece = |slot: &mut Slot| iovec {
        iov_len: length(slot),
        iov_base: slot.head.as_mut_ptr().cast(),
    };
    slots.iter_mut().map(piece).collect()
}

/// A header for each slot and its piece.
fn messages(slots: &mut [Slot], pieces: &mut [iovec]) -> Vec<mmsghdr> {
    let message = |(slot, piece): (&mut Slot, &mut iovec)| {
        // SAFETY: a message header of zeros is a valid one that points to nothing.
        let mut message: mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_name = (&raw mut slot.name).cast();
        message.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as libc::socklen_t;
        message.msg_hdr.msg_iov = piece;
        message.msg_hdr.msg_iovlen = 1;
        message.msg_hdr.msg_control = (&raw mut slot.control).cast();
        message.msg_hdr.msg_controllen = size_of::<Control>() as _;
        message
    };
    slots.iter_mut().zip(pieces).map(message).collect()
}
