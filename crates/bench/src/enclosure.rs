//! Namespaces that end with the bench, whatever ends it.
//!
//! The bench starts itself once more, as the first process of a PID namespace with a network and
//! mounts of its own. When that process ends, by its own end, an error, Ctrl-C or a kill, the kernel
//! ends every server in there and takes the links away: nothing can be left behind.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Runs this program again with the same arguments inside, and empties the folder before and after.
pub fn run(folder: &Path) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench makes network namespaces and opens ports below 1024: run it as root"
    );
    empty(folder)?;
    let program = std::env::current_exe().context("looking for this program")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let namespaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(namespaces).context("making namespaces")?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--enclosed");
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    // Ctrl-C goes to both; this process stays to tidy up after the other.
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    let mut child = command.spawn().context("starting the enclosed bench")?;
    // SAFETY: no handler is installed.
    unsafe { sigaction(Signal::SIGINT, &ignore) }.context("ignoring Ctrl-C")?;
    let status = child.wait().context("waiting for the enclosed bench")?;
    empty(folder)?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    })
}

/// The first steps inside: mounts that are not the host's, and an end at Ctrl-C, which the first
/// process of a PID namespace would not hear by default.
pub fn settle() -> anyhow::Result<()> {
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).context("taking the mounts as private")?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        nothing,
    )
    .context("mounting /proc")?;
    // Pid files and locks of the peers.
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        nothing,
    )
    .context("mounting /run")?;
    // A storm's machines have a socket each, and so have their servers.
    let (_, most) =
        getrlimit(Resource::RLIMIT_NOFILE).context("asking how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("allowing many open files")?;
    let end = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler calls _exit(2) only, which is async-signal-safe.
        unsafe { sigaction(signal, &end) }.context("waiting for Ctrl-C")?;
    }
    Ok(())
}

extern "C" fn end(signal: i32) {
    // SAFETY: _exit(2) may be called at any time.
    unsafe { libc::_exit(128 + signal) }
}

/// Deletes what earlier runs left. Only a folder that looks like the bench's own is touched.
fn empty(folder: &Path) -> anyhow::Result<()> {
    for name in ["state", "payload", "logs"] {
        let path = folder.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("deleting {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
