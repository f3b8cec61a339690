//! Many datagrams by one system call: recvmmsg, sendmmsg, and UDP_SEGMENT (udp(7)), with which the
//! kernel carries a window of equal blocks through its layers as one packet.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use libc::{c_int, c_void, iovec, mmsghdr, msghdr, sockaddr_in, socklen_t};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Datagrams that are received at once.
const BATCH: usize = 64;
/// The largest datagram that a client has reason to send.
const LARGEST: usize = 1024;
/// How long a full send buffer is waited for, in milliseconds. What does not fit then is lost, as it
/// would be on the wire, and is repeated like that.
const PATIENCE: u16 = 20;
/// Bytes that may wait in a socket, either way: a rack's requests, or its windows.
const SOCKET_BUFFER: c_int = 4 << 20;

/// An address as the kernel takes it.
fn to_kernel(address: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn from_kernel(address: &sockaddr_in) -> SocketAddrV4 {
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port))
}

const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// Lets a socket hold what a rack sends at once. Without root the kernel's bounds stay.
pub fn enlarge_buffers(socket: &UdpSocket) {
    for (forced, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        if set(socket, libc::SOL_SOCKET, forced, SOCKET_BUFFER).is_err() {
            let _ = set(socket, libc::SOL_SOCKET, plain, SOCKET_BUFFER);
        }
    }
}

/// Has the kernel keep whose ports were found closed, for [`closed_ports`].
pub fn report_closed_ports(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
}

fn set(socket: &UdpSocket, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the value is a c_int that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A control message that holds what an error is about, as ip(7) lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Reported {
    header: libc::cmsghdr,
    error: libc::sock_extended_err,
    offender: sockaddr_in,
}

/// Takes the errors that the kernel has kept, and says whose ports were found closed. A host that
/// cannot be reached at the moment (a rack that is powered on overflows tables of neighbours) has not
/// ended anything.
pub fn closed_ports(socket: &UdpSocket) -> Vec<SocketAddrV4> {
    std::iter::from_fn(|| next_error(socket))
        .filter(|(_, error)| is_closed_port(error))
        .map(|(peer, _)| peer)
        .collect()
}

fn next_error(socket: &UdpSocket) -> Option<(SocketAddrV4, libc::sock_extended_err)> {
    let mut name = to_kernel(NOBODY);
    // SAFETY: all zeros are an empty control message and an empty msghdr.
    let (mut reported, mut message): (Reported, msghdr) = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
    message.msg_control = (&raw mut reported).cast();
    message.msg_controllen = size_of::<Reported>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the message points to a name and a control message that outlive the call, with their sizes.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    (received >= 0).then(|| (from_kernel(&name), reported.error))
}

fn is_closed_port(error: &libc::sock_extended_err) -> bool {
    error.ee_origin == libc::SO_EE_ORIGIN_ICMP && error.ee_errno == libc::ECONNREFUSED as u32
}

/// Receives datagrams.
pub struct Receiver {
    /// Where the headers below point to: never moved or resized.
    buffers: Vec<[u8; LARGEST]>,
    names: Vec<sockaddr_in>,
    _iovecs: Vec<iovec>,
    headers: Vec<mmsghdr>,
    received: usize,
}

impl Receiver {
    /// With room for a batch.
    pub fn new() -> Self {
        let mut buffers = vec![[0; LARGEST]; BATCH];
        let mut names = vec![to_kernel(NOBODY); BATCH];
        let mut iovecs: Vec<iovec> = buffers
            .iter_mut()
            .map(|buffer| iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: LARGEST,
            })
            .collect();
        let header = |(name, part): (&mut sockaddr_in, &mut iovec)| {
            // SAFETY: all zeros is an empty mmsghdr.
            let mut header: mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = (name as *mut sockaddr_in).cast();
            header.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let headers = names.iter_mut().zip(&mut iovecs).map(header).collect();
        Self {
            buffers,
            names,
            _iovecs: iovecs,
            headers,
            received: 0,
        }
    }

    /// Takes what has arrived; says whether anything has.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        for header in &mut self.headers[..self.received] {
            header.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
        }
        self.received = 0;
        // SAFETY: the headers point into the vectors beside them, which are neither moved nor resized.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => {
                self.received = received;
                Ok(received > 0)
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.kind() {
                    // Of a packet that was sent before: see `closed_ports`.
                    ErrorKind::WouldBlock
                    | ErrorKind::Interrupted
                    | ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable => Ok(false),
                    _ => Err(error),
                }
            }
        }
    }

    /// Whether there may be more than what was taken.
    pub fn is_full(&self) -> bool {
        self.received == BATCH
    }

    /// What was taken, and from whom.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddrV4, &[u8])> {
        let received = &self.headers[..self.received];
        received.iter().enumerate().map(|(index, header)| {
            let length = (header.msg_len as usize).min(LARGEST);
            (
                from_kernel(&self.names[index]),
                &self.buffers[index][..length],
            )
        })
    }
}

/// Bytes of packets that lie one after another.
#[derive(Debug, Clone)]
pub struct Part {
    /// The packets, and others.
    pub packets: Arc<[u8]>,
    /// Where the first begins, in bytes.
    pub start: usize,
    /// Where the last ends, in bytes.
    pub end: usize,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        &self.packets[self.start..self.end]
    }
}

/// Datagrams for one peer.
#[derive(Debug)]
struct Run {
    peer: SocketAddrV4,
    parts: Vec<Part>,
    /// Bytes of each datagram but the last.
    segment: usize,
    length: usize,
}

/// Sends datagrams.
#[derive(Debug)]
pub struct Sender {
    waiting: Vec<Run>,
    /// Whether the kernel and the interface take several datagrams as one packet.
    segments: bool,
}

/// What the kernel takes as one packet: 64 datagrams (UDP_MAX_SEGMENTS of Linux 4.18), and no more
/// bytes than a UDP datagram has.
const MOST_SEGMENTS: usize = 64;
const MOST_BYTES: usize = 65_000;

/// A control message that holds a u16, as cmsg(3) lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct SegmentSize {
    header: libc::cmsghdr,
    size: u16,
    padding: [u8; 6],
}

impl SegmentSize {
    fn of(bytes: usize) -> Self {
        // SAFETY: all zeros is an empty control message.
        let mut message: Self = unsafe { std::mem::zeroed() };
        message.header.cmsg_len = size_of::<libc::cmsghdr>() + size_of::<u16>();
        message.header.cmsg_level = libc::SOL_UDP;
        message.header.cmsg_type = libc::UDP_SEGMENT;
        // At most a block and its header.
        message.size = bytes as u16;
        message
    }
}

impl Sender {
    /// With nothing to be sent.
    pub fn new() -> Self {
        Self {
            waiting: Vec::new(),
            segments: true,
        }
    }

    /// One packet.
    pub fn push(&mut self, peer: SocketAddrV4, packet: Vec<u8>) {
        let end = packet.len();
        let part = Part {
            packets: packet.into(),
            start: 0,
            end,
        };
        self.push_part(peer, part, end);
    }

    /// One packet that lies among others. Where it follows the one before it, to the same peer, the two
    /// are sent as one; `full` is the size of every packet but a file's last.
    pub fn push_part(&mut self, peer: SocketAddrV4, part: Part, full: usize) {
        let length = part.end - part.start;
        if self.segments
            && let Some(run) = self.waiting.last_mut()
            && run.peer == peer
            && run.segment == full
            && run.length % full == 0
            && run.length / full < MOST_SEGMENTS
            && run.length + length <= MOST_BYTES
        {
            run.length += length;
            match run.parts.last_mut() {
                Some(last)
                    if last.end == part.start && Arc::ptr_eq(&last.packets, &part.packets) =>
                {
                    last.end = part.end;
                }
                _ => run.parts.push(part),
            }
            return;
        }
        self.waiting.push(Run {
            peer,
            parts: vec![part],
            segment: full,
            length,
        });
    }

    /// Sends everything.
    pub fn flush(&mut self, socket: &UdpSocket) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut done = 0;
        let mut is_second = false;
        while done < waiting.len() {
            let error = match transmit(socket, &waiting[done..]) {
                Ok(sent) => {
                    done += sent;
                    is_second = false;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    if !has_room(socket) {
                        break;
                    }
                }
                // Perhaps of a packet that was sent before, to somebody else: an error is told once.
                _ if !is_second => is_second = true,
                // An interface without checksum offload, or with a small MTU.
                _ if waiting[done].length > waiting[done].segment => {
                    self.segments = false;
                    let whole = waiting.remove(done);
                    waiting.splice(done..done, single(&whole));
                }
                _ => {
                    tracing::debug!("tftp: sending to {}: {error}", waiting[done].peer);
                    done += 1;
                    is_second = false;
                }
            }
        }
        waiting.clear();
        self.waiting = waiting;
    }
}

/// The datagrams of a run, each by itself. A part begins and ends with a datagram.
fn single(run: &Run) -> Vec<Run> {
    let datagrams = |part: &Part| {
        let (packets, end) = (Arc::clone(&part.packets), part.end);
        (part.start..part.end)
            .step_by(run.segment)
            .map(move |start| (Arc::clone(&packets), start, end.min(start + run.segment)))
            .collect::<Vec<_>>()
    };
    let alone = |(packets, start, end): (Arc<[u8]>, usize, usize)| Run {
        peer: run.peer,
        segment: run.segment,
        length: end - start,
        parts: vec![Part {
            packets,
            start,
            end,
        }],
    };
    run.parts.iter().flat_map(datagrams).map(alone).collect()
}

/// Hands as many runs to the kernel as one call takes, and says how many it took.
fn transmit(socket: &UdpSocket, runs: &[Run]) -> io::Result<usize> {
    let runs = &runs[..runs.len().min(BATCH)];
    let mut names: Vec<_> = runs.iter().map(|run| to_kernel(run.peer)).collect();
    let mut sizes: Vec<_> = runs
        .iter()
        .map(|run| SegmentSize::of(run.segment))
        .collect();
    let mut iovecs: Vec<iovec> = runs
        .iter()
        .flat_map(|run| &run.parts)
        .map(|part| iovec {
            iov_base: part.bytes().as_ptr().cast_mut().cast::<c_void>(),
            iov_len: part.bytes().len(),
        })
        .collect();
    let mut first = 0;
    let mut headers = Vec::with_capacity(runs.len());
    for (index, run) in runs.iter().enumerate() {
        // SAFETY: all zeros is an empty mmsghdr.
        let mut header: mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = (&raw mut names[index]).cast();
        header.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
        header.msg_hdr.msg_iov = &raw mut iovecs[first];
        header.msg_hdr.msg_iovlen = run.parts.len() as _;
        if run.length > run.segment {
            header.msg_hdr.msg_control = (&raw mut sizes[index]).cast();
            header.msg_hdr.msg_controllen = size_of::<SegmentSize>() as _;
        }
        first += run.parts.len();
        headers.push(header);
    }
    // SAFETY: the headers point into vectors and packets that outlive the call; the kernel only reads
    // what they point to.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as u32,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn has_room(socket: &UdpSocket) -> bool {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut polled, PollTimeout::from(PATIENCE)), Ok(1..))
}
