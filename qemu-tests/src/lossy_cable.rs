//! A cable between two hosts that loses some of the frames, whichever way they go.
//!
//! Between the two stands a third host that carries frames from one of its interfaces to the other by
//! packet sockets (packet(7)): no queueing discipline and no module of the kernel is needed.

use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::loss::Loss;
use crate::namespace::{Namespace, Plug};

/// How often a thread looks whether it is still wanted, in milliseconds.
const PATIENCE: i64 = 100;
/// The largest frame that a veth carries as one.
const LARGEST: usize = 1 << 17;
/// PACKET_IGNORE_OUTGOING and PACKET_VNET_HDR of linux/if_packet.h.
const IGNORE_OUTGOING: libc::c_int = 23;
const NET_HEADER: libc::c_int = 15;

/// The cable. It is cut when this value is dropped.
pub struct LossyCable {
    _between: Namespace,
    is_over: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl LossyCable {
    /// Lays it. Of a thousand frames each way, about `per_mille` are lost; which ones, follows from
    /// `seed`.
    pub fn lay(left: Plug<'_>, right: Plug<'_>, per_mille: u32, seed: u64) -> Result<Self> {
        let between = Namespace::new("the lossy cable")?;
        let mut sockets = Vec::new();
        for (end, interface) in [(left, "left"), (right, "right")] {
            let inner = Plug {
                host: &between,
                interface,
                mac: None,
                address: None,
            };
            Namespace::link(end, inner)?;
            // A window of blocks that the kernel carries as one packet would be lost as one.
            end.host
                .run(["ip", "link", "set", end.interface, "gso_max_segs", "1"])?;
            let opened = between.inside(|| open(interface))?;
            sockets.push(Arc::new(opened.with_context(|| {
                format!("opening a packet socket on {interface}")
            })?));
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let [left, right] = [&sockets[0], &sockets[1]];
        let threads = [(left, right, seed), (right, left, seed + 1)].map(|(from, to, seed)| {
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            let (is_over, lost) = (Arc::clone(&is_over), Arc::clone(&lost));
            let loss = Loss::new(per_mille, seed);
            thread::spawn(move || carry(&from, &to, loss, &is_over, &lost))
        });
        Ok(Self {
            _between: between,
            is_over,
            lost,
            threads: threads.into(),
        })
    }

    /// Frames that were lost until now.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for LossyCable {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn carry(from: &OwnedFd, to: &OwnedFd, mut loss: Loss, is_over: &AtomicBool, lost: &AtomicU64) {
    let mut frame = vec![0; LARGEST];
    while !is_over.load(Ordering::Relaxed) {
        // SAFETY: the buffer is as long as is said, and outlives the call.
        let length = unsafe { libc::recv(from.as_raw_fd(), frame.as_mut_ptr().cast(), LARGEST, 0) };
        let Ok(length) = usize::try_from(length) else {
            match io::Error::last_os_error().kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => continue,
                error => return eprintln!("the lossy cable is cut: {error}"),
            }
        };
        if loss.takes() {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // SAFETY: so many bytes of the buffer were just written. What cannot be sent is lost.
        unsafe { libc::send(to.as_raw_fd(), frame.as_ptr().cast(), length, 0) };
    }
}

/// A packet socket on an interface of the host that the thread is on. Each frame has the kernel's note
/// before it of what is left to do (struct virtio_net_hdr): between hosts of one computer that is
/// commonly the checksum.
fn open(interface: &str) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: socket(2) takes no pointers, and what it gives is nobody else's.
    let socket = unsafe {
        let socket = libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol.into(),
        );
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(socket)
    };
    set(&socket, libc::SOL_PACKET, NET_HEADER, &1_i32)?;
    set(&socket, libc::SOL_PACKET, IGNORE_OUTGOING, &1_i32)?;
    let patience = libc::timeval {
        tv_sec: 0,
        tv_usec: PATIENCE * 1000,
    };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
    let name = CString::new(interface)?;
    // SAFETY: all zeros is an address; the name is a string with its end.
    let (mut address, index) = unsafe {
        let address: libc::sockaddr_ll = std::mem::zeroed();
        (address, libc::if_nametoindex(name.as_ptr()))
    };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    // 0, where there is no such interface, is refused by none: it would be every interface.
    address.sll_ifindex = match index {
        0 => return Err(io::Error::last_os_error()),
        index => index as i32,
    };
    // SAFETY: the address outlives the call, and its size is given.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    match bound {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
