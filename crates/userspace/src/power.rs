//! The machine's power: sync, reboot, power off.

use std::convert::Infallible;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot as system_reboot, set_cad_enabled};

/// Why the machine is still on.
#[derive(Debug, thiserror::Error)]
#[error("asking the kernel to {action}")]
pub struct PowerError {
    /// `reboot`, `power off`, …
    pub action: &'static str,
    /// Why not.
    pub source: Errno,
}

/// Writes every dirty page of every filesystem and block device, and waits for it.
pub fn sync() {
    nix::unistd::sync();
}

/// Restarts the machine through its firmware. Syncs first.
pub fn reboot() -> Result<Infallible, PowerError> {
    change("reboot", RebootMode::RB_AUTOBOOT)
}

/// Switches the machine off. Syncs first.
pub fn poweroff() -> Result<Infallible, PowerError> {
    change("power off", RebootMode::RB_POWER_OFF)
}

/// Lets Ctrl-Alt-Del send SIGINT to PID 1 instead of restarting the machine on the spot.
pub fn catch_ctrl_alt_del() -> Result<(), PowerError> {
    set_cad_enabled(false).map_err(|source| PowerError {
        action: "pass Ctrl-Alt-Del on",
        source,
    })
}

pub(crate) fn change(action: &'static str, mode: RebootMode) -> Result<Infallible, PowerError> {
    sync();
    system_reboot(mode).map_err(|source| PowerError { action, source })
}
