//! What a command took.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::network::CLIENT_INTERFACE;
use crate::server::last_lines;

/// The costs of one command and all that it started and waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// From its start to its end.
    pub seconds: f64,
    /// User and system time in seconds. What the kernel does for nobody, as writing back, is not in it.
    pub processor: f64,
    /// The most memory that was resident in any one of its processes, in bytes.
    pub memory: u64,
    /// Bytes that came in by the clients' interface.
    pub wire: u64,
}

/// Runs a command to its end, its output going to a log.
///
/// # Errors
/// It failed; the end of its log is told.
pub fn run(mut command: Command, log: &std::path::Path) -> anyhow::Result<Cost> {
    let shown = command.get_program().display().to_string();
    let output = fs::File::create(log).with_context(|| format!("making {}", log.display()))?;
    command.stdin(Stdio::null());
    command.stdout(output.try_clone().context("duplicating a log")?);
    command.stderr(output);
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    let before = received()?;
    let start = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let (status, usage) = wait(child.id())?;
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(
        status.success(),
        "{shown} ended with {status}:\n{}",
        last_lines(log)
    );
    Ok(Cost {
        seconds,
        processor: total(usage.ru_utime) + total(usage.ru_stime),
        // getrusage(2): in kibibytes.
        memory: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        wire: received()? - before,
    })
}

/// The end of a child, and what it and those that it waited for took.
fn wait(id: u32) -> anyhow::Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both places live over the call.
        let ended = unsafe { libc::wait4(id as i32, &mut status, 0, usage.as_mut_ptr()) };
        match Errno::result(ended) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for a command"),
            // SAFETY: it was zeroed, which is a valid value, and the kernel has filled it.
            Ok(_) => return Ok((ExitStatus::from_raw(status), unsafe { usage.assume_init() })),
        }
    }
}

fn total(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// Bytes that came in by the clients' interface so far.
fn received() -> anyhow::Result<u64> {
    let table = fs::read_to_string("/proc/self/net/dev").context("reading /proc/self/net/dev")?;
    received_by(&table, CLIENT_INTERFACE).context("the clients' interface is gone")
}

/// The second column of /proc/net/dev, after the interface's name.
fn received_by(table: &str, interface: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (name.trim() == interface).then(|| rest.split_whitespace().next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_bytes_are_those_of_the_interface() {
        let table = "Inter-|   Receive\n face |bytes    packets\n\
                     \x20   lo: 11 1 0\nclient0: 2345 6 0 0\n";
        assert_eq!(received_by(table, "client0"), Some(2345));
        assert_eq!(received_by(table, "client"), None);
    }
}
