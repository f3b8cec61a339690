//! PID 1's duty towards orphans: every ended child is collected, its own or not.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Which one.
    pub pid: i32,
    /// How.
    pub cause: Cause,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It returned this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Collects every child that has ended by now, without waiting.
///
/// A process that does this must not wait for a child by other means as well: whoever is first
/// takes the status.
pub fn collect() -> Vec<Exit> {
    std::iter::from_fn(|| {
        let status = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)).ok()?;
        exit_of(status)
    })
    .collect()
}

/// Waits until a child ends. `None` when there is none to wait for.
pub fn wait() -> Option<Exit> {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(status) => {
                if let Some(exit) = exit_of(status) {
                    return Some(exit);
                }
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    let (pid, cause) = match status {
        WaitStatus::Exited(pid, status) => (pid, Cause::Status(status)),
        WaitStatus::Signaled(pid, signal, _) => (pid, Cause::Signal(signal as i32)),
        _ => return None,
    };
    Some(Exit {
        pid: pid.as_raw(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test for both: they share the test process's children.
    #[test]
    #[expect(clippy::zombie_processes, reason = "collecting it is what is tested")]
    fn ended_children_are_collected_once() {
        let child = std::process::Command::new("sh")
            .args(["-c", "exit 7"])
            .spawn()
            .unwrap();
        let exit = wait().unwrap();
        assert_eq!(
            exit,
            Exit {
                pid: child.id() as i32,
                cause: Cause::Status(7)
            }
        );
        assert_eq!(wait(), None);
        assert_eq!(collect(), vec![]);
    }
}
