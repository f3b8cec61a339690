//! Starting another kernel from this one (kexec_file_load(2)).

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::reboot::RebootMode;

use crate::power::{PowerError, change};

/// `KEXEC_FILE_NO_INITRAMFS` of linux/kexec.h.
const NO_INITRAMFS: libc::c_ulong = 0x4;

/// Why a kernel was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum KexecError {
    /// Kernel arguments are text without NUL.
    #[error("the kernel arguments hold a NUL byte")]
    Arguments,
    /// kexec_file_load(2) refused: ENOEXEC for no kernel, EKEYREJECTED under lockdown.
    #[error("loading the kernel for kexec with arguments `{arguments}`")]
    Load {
        /// The command line.
        arguments: String,
        /// Why not.
        source: Errno,
    },
}

/// Loads a kernel with its initrd and command line, ready for [`execute`].
pub fn load(kernel: &File, initrd: Option<&File>, arguments: &str) -> Result<(), KexecError> {
    let text = CString::new(arguments).map_err(|_| KexecError::Arguments)?;
    let flags = if initrd.is_some() { 0 } else { NO_INITRAMFS };
    // SAFETY: both descriptors stay open over the call, and the length counts the text's NUL.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.map_or(-1, AsRawFd::as_raw_fd),
            text.as_bytes_with_nul().len() as libc::c_ulong,
            text.as_ptr(),
            flags,
        )
    };
    Errno::result(outcome)
        .map(drop)
        .map_err(|source| KexecError::Load {
            arguments: arguments.to_owned(),
            source,
        })
}

/// Starts the kernel that was loaded. Syncs first; drivers are shut down by the kernel.
pub fn execute() -> Result<Infallible, PowerError> {
    change("start the loaded kernel", RebootMode::RB_KEXEC)
}
