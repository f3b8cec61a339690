//! Ctrl-C ends the lab in order, so that no VM and no disk stays behind; a second one at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// From now on the first SIGINT or SIGTERM is only noted.
pub fn catch() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART | SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("catching Ctrl-C")?;
    }
    Ok(())
}

/// Whether somebody wants the lab to end.
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// Ends a wait when somebody wants the lab to end.
pub fn check() -> Result<()> {
    if happened() {
        bail!("interrupted");
    }
    Ok(())
}

extern "C" fn note(_signal: libc::c_int) {
    HAPPENED.store(true, Ordering::Relaxed);
}
