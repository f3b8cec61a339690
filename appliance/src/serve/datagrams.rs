//! Many datagrams by one system call (recvmmsg and sendmmsg), IPv4.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Datagrams that one call takes at most.
pub const BATCH: usize = 64;

/// Room for the datagrams that one call receives.
pub struct Inbox {
    buffers: Box<[u8]>,
    largest: usize,
    received: Vec<(usize, SocketAddrV4)>,
}

impl Inbox {
    /// `largest` is the size of the largest datagram that is looked at, in bytes; a longer one is cut.
    pub fn new(largest: usize) -> Self {
        Self {
            buffers: vec![0; BATCH * largest].into_boxed_slice(),
            largest,
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits in a non-blocking socket, in the place of what was there.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.received.clear();
        let mut addresses = [NOBODY; BATCH];
        let mut vectors = [NOTHING; BATCH];
        let mut headers = [EMPTY; BATCH];
        let buffers = self.buffers.chunks_exact_mut(self.largest);
        for (index, buffer) in buffers.enumerate() {
            vectors[index] = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            headers[index].msg_hdr.msg_name = (&raw mut addresses[index]).cast();
            headers[index].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to an address, a vector and a buffer that outlive the call, and
        // no buffer is pointed to twice.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (header, address) in headers.iter().zip(&addresses).take(count) {
            let length = (header.msg_len as usize).min(self.largest);
            self.received.push((length, peer(address)));
        }
        Ok(())
    }

    /// Whether there may be more than what was received.
    pub fn is_full(&self) -> bool {
        self.received.len() == BATCH
    }

    /// What was received, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddrV4)> {
        let buffers = self.buffers.chunks_exact(self.largest);
        let received = self.received.iter().zip(buffers);
        received.map(|((length, source), buffer)| (&buffer[..*length], *source))
    }
}

/// Sends the first datagrams, and tells how many: at least one and at most [`BATCH`]. An error is that
/// of the first; those behind it were not tried.
pub fn send<B: AsRef<[u8]>>(
    socket: BorrowedFd<'_>,
    datagrams: &[(B, SocketAddrV4)],
) -> io::Result<usize> {
    let mut addresses = [NOBODY; BATCH];
    let mut vectors = [NOTHING; BATCH];
    let mut headers = [EMPTY; BATCH];
    let count = datagrams.len().min(BATCH);
    if count == 0 {
        return Ok(0);
    }
    for (index, (bytes, destination)) in datagrams[..count].iter().enumerate() {
        let bytes = bytes.as_ref();
        addresses[index] = address(*destination);
        vectors[index] = libc::iovec {
            // The kernel only reads it.
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        headers[index].msg_hdr.msg_name = (&raw mut addresses[index]).cast();
        headers[index].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
        headers[index].msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` headers point to an address, a vector and bytes that outlive the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as u32,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

const NOBODY: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: 0,
    sin_port: 0,
    sin_addr: libc::in_addr { s_addr: 0 },
    sin_zero: [0; 8],
};

const NOTHING: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// All-zero bytes are a message header that points to nothing.
// SAFETY: every field is an integer or a pointer.
const EMPTY: libc::mmsghdr = unsafe { std::mem::zeroed() };

fn address(destination: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: destination.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*destination.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn peer(address: &libc::sockaddr_in) -> SocketAddrV4 {
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsFd as _;

    use super::*;

    fn socket() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        (socket, address)
    }

    #[test]
    fn datagrams_arrive_whole_in_order_and_with_their_sender() {
        let (sender, from) = socket();
        let (receiver, to) = socket();
        let datagrams: Vec<(Vec<u8>, SocketAddrV4)> = (0..100_u8)
            .map(|index| (vec![index; usize::from(index)], to))
            .collect();
        let mut sent = 0;
        while sent < datagrams.len() {
            sent += send(sender.as_fd(), &datagrams[sent..]).unwrap();
        }
        let mut inbox = Inbox::new(50);
        let mut received = Vec::new();
        for count in [BATCH, 100 - BATCH] {
            inbox.receive(receiver.as_fd()).unwrap();
            assert_eq!(inbox.iter().count(), count);
            for (bytes, source) in inbox.iter() {
                assert_eq!(source, from);
                received.push(bytes.to_vec());
            }
        }
        let cut = |(bytes, _): &(Vec<u8>, SocketAddrV4)| bytes[..bytes.len().min(50)].to_vec();
        assert_eq!(received, datagrams.iter().map(cut).collect::<Vec<_>>());
        let nothing = inbox.receive(receiver.as_fd()).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(inbox.iter().count(), 0);
    }

    #[test]
    fn an_error_is_the_first_datagrams() {
        let (sender, _) = socket();
        let (_receiver, to) = socket();
        let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let datagrams = [(b"a", to), (b"b", nowhere), (b"c", to)];
        assert_eq!(send(sender.as_fd(), &datagrams).unwrap(), 1);
        assert!(send(sender.as_fd(), &datagrams[1..]).is_err());
        assert_eq!(send(sender.as_fd(), &datagrams[2..]).unwrap(), 1);
    }
}
