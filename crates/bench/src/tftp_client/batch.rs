//! The heads of several datagrams by one system call.

use std::io;
use std::os::fd::AsRawFd as _;

use socket2::Socket;

/// Datagrams taken at once.
const BATCH: usize = 32;
/// Bytes looked at of each: a header, or an error's message, or the options that were accepted.
const HEAD: usize = 128;

/// Room for the heads of several datagrams.
pub(super) struct Batch {
    heads: Box<[[u8; HEAD]; BATCH]>,
    lengths: [usize; BATCH],
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            heads: Box::new([[0; HEAD]; BATCH]),
            lengths: [0; BATCH],
        }
    }

    /// Waits for one datagram where the socket does, and takes those that are there besides, up to
    /// `most`.
    pub(super) fn receive(&mut self, socket: &Socket, most: usize) -> io::Result<usize> {
        let mut pieces = self.heads.each_mut().map(|head| libc::iovec {
            iov_base: head.as_mut_ptr().cast(),
            iov_len: HEAD,
        });
        // SAFETY: a message header of zeros is a valid one that points to nothing.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for (message, piece) in messages.iter_mut().zip(&mut pieces) {
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to one piece of HEAD bytes, and both outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                most.min(BATCH) as u32,
                libc::MSG_WAITFORONE | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (length, message) in self.lengths.iter_mut().zip(&messages[..count]) {
            *length = message.msg_len as usize;
        }
        Ok(count)
    }

    /// What was kept of a datagram, and its whole length.
    pub(super) fn datagram(&self, at: usize) -> (&[u8], usize) {
        let length = self.lengths[at];
        (&self.heads[at][..length.min(HEAD)], length)
    }
}
