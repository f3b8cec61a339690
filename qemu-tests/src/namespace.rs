//! Network namespaces: hosts of a small network on this computer, for real programs to talk across.
//!
//! Whoever is not root becomes it in a user namespace first ([`become_root`]), so that nothing here
//! needs more rights than the person at the keyboard has, and nothing outlasts the program.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::vm::end_with_parent;

/// How long the holder of a namespace may take to make it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts this program again as root of a user namespace, unless it is root already. Returns only in
/// a program that is root.
pub fn become_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let own = std::env::current_exe().context("finding this program's own file")?;
    let error = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("starting this program in a user namespace by unshare(1)")
}

/// One host's network. It ends with this value, and with it the programs' sockets and links.
pub struct Namespace {
    name: String,
    holder: Child,
}

/// One end of a cable.
#[derive(Clone, Copy)]
pub struct Plug<'a> {
    /// Whose.
    pub host: &'a Namespace,
    /// The interface's name there, at most 15 characters.
    pub interface: &'a str,
    /// Its hardware address; any, where it is not given.
    pub mac: Option<&'a str>,
    /// Its address with prefix length, as `10.77.0.2/24`; none, where it is not given.
    pub address: Option<&'a str>,
}

impl Namespace {
    /// Makes a host with nothing but a loopback interface. `name` is for messages.
    pub fn new(name: &str) -> Result<Self> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--", "sleep", "infinity"])
            .stdin(Stdio::null());
        end_with_parent(&mut command);
        let holder = command.spawn().context("starting unshare(1)")?;
        let namespace = Self {
            name: name.to_owned(),
            holder,
        };
        namespace.wait_until_made()?;
        namespace.run(["ip", "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A program that will run on this host. It ends when this one does, however that ends.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .args(["--", program])
            .stdin(Stdio::null());
        end_with_parent(&mut command);
        command
    }

    /// Runs a program on this host, and gives what it printed.
    ///
    /// # Errors
    /// Also when it fails; the error then holds what it printed.
    pub fn run<'a>(&self, line: impl AsRef<[&'a str]>) -> Result<String> {
        let line = line.as_ref();
        let (program, arguments) = line.split_first().context("nothing to run")?;
        let mut command = self.command(program);
        let output = command.args(arguments).output();
        let output = output.with_context(|| format!("starting {program} on {}", self.name))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let (line, name) = (line.join(" "), &self.name);
            bail!("`{line}` on {name}: {}\n{printed}{errors}", output.status);
        }
        Ok(printed)
    }

    /// Does something on a thread of this host: a socket that is made there stays there.
    pub fn inside<Done: Send>(&self, work: impl FnOnce() -> Done + Send) -> Result<Done> {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        let file = File::open(&path).with_context(|| format!("opening {path}"))?;
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: setns(2) with an open descriptor; only this thread changes its namespace.
                let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
                match entered {
                    0 => Ok(work()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
            match thread.join() {
                Ok(done) => done.with_context(|| format!("entering the network of {}", self.name)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Lays a cable between two hosts.
    pub fn link(left: Plug<'_>, right: Plug<'_>) -> Result<()> {
        let process = right.host.holder.id().to_string();
        left.host.run([
            "ip",
            "link",
            "add",
            left.interface,
            "type",
            "veth",
            "peer",
            "name",
            right.interface,
            "netns",
            &process,
        ])?;
        for plug in [left, right] {
            let interface = plug.interface;
            if let Some(mac) = plug.mac {
                plug.host
                    .run(["ip", "link", "set", interface, "address", mac])?;
            }
            if let Some(address) = plug.address {
                plug.host
                    .run(["ip", "address", "add", address, "dev", interface])?;
            }
            plug.host.run(["ip", "link", "set", interface, "up"])?;
        }
        Ok(())
    }

    fn wait_until_made(&self) -> Result<()> {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
        let own = of("self").context("looking at this program's own network")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let made = of(&self.holder.id().to_string());
            if made.is_ok_and(|made| made != own) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "no network namespace for {}: may this user make one?",
                    self.name
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
