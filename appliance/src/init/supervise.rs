//! The life of PID 1 after the boot: one child, every orphan, the power button, the screen.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use hardway_model::cluster::Cluster;
use hardway_userspace::console::Console;
use hardway_userspace::{power, reap};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::drivers::Drivers;
use super::media::{self, Media};
use super::network::{Network, Wanted};
use super::power_button::PowerButton;
use super::screen::{Facts, Services};
use super::{screen, told};
use crate::configuration;
use crate::token;

/// How often everything is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often devices, cluster.yaml and the network are.
const SLOW_TICK: Duration = Duration::from_secs(2);
/// Pauses before the child is started again: from the first, doubling, to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Time that the child has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How the appliance ends, and the exit status by which `hardway serve` asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Restart the machine.
    Reboot = 86,
    /// Switch it off.
    PowerOff = 87,
}

impl Ending {
    fn of_status(status: i32) -> Option<Self> {
        [Self::Reboot, Self::PowerOff]
            .into_iter()
            .find(|ending| *ending as i32 == status)
    }
}

/// Runs until the machine is to end, and ends it.
pub fn run(console: &Console, media: &Media, drivers: &mut Drivers) {
    super::loopback(console);
    let mut signals = Signals::catch(console);
    let mut button = PowerButton::default();
    let mut configuration = Configuration::default();
    let mut network = Network::new();
    let mut child = Child::new();
    let mut shown = String::new();
    let mut slow = Instant::now();
    let ending = loop {
        if slow <= Instant::now() {
            slow = Instant::now() + SLOW_TICK;
            drivers.look_again(console);
            button.look_again();
            configuration.refresh();
            network.tend(&configuration.wanted());
        }
        if let Some(ending) = child.reap(console) {
            break ending;
        }
        if let Some(link) = &network.configured {
            child.tend(&link.name, console);
        }
        let text = screen::text(&Facts {
            cluster: configuration.name(),
            problem: configuration.problem(),
            network: &network,
            media,
            token: token_line(),
            services: child.services(),
        });
        if text != shown {
            console.write(&text);
            shown = text;
        }
        if button.pressed() {
            console.line("power button: switching off");
            break Ending::PowerOff;
        }
        if let Some(ending) = signals.received() {
            break ending;
        }
        std::thread::sleep(TICK);
    };
    child.end();
    end(console, ending);
}

/// Does not return, unless the kernel refuses.
fn end(console: &Console, ending: Ending) {
    power::sync();
    media::unmount(console);
    let refused = match ending {
        Ending::Reboot => power::reboot(),
        Ending::PowerOff => power::poweroff(),
    };
    let Err(error) = refused;
    console.line(&told(&error));
}

/// SIGTERM and SIGINT (Ctrl-Alt-Del) come as values. The child starts with an empty mask: std does that.
struct Signals(Option<SignalFd>);

impl Signals {
    fn catch(console: &Console) -> Self {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let caught = mask
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&mask, flags));
        Self(caught.map_err(|error| console.line(&told(&error))).ok())
    }

    fn received(&mut self) -> Option<Ending> {
        let signal = self.0.as_mut()?.read_signal().ok()??;
        match Signal::try_from(signal.ssi_signo as i32) {
            Ok(Signal::SIGTERM) => Some(Ending::PowerOff),
            _ => Some(Ending::Reboot),
        }
    }
}

/// cluster.yaml as PID 1 sees it: for the address and for the screen.
#[derive(Default)]
struct Configuration {
    stamp: Option<(SystemTime, u64)>,
    read: Option<Result<Cluster, String>>,
    text: String,
}

impl Configuration {
    fn refresh(&mut self) {
        let path = Path::new(media::CLUSTER);
        let stamp = configuration::stamp(path);
        if self.read.is_some() && stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        self.read = Some(configuration::read(path));
        self.text = std::fs::read_to_string(path).unwrap_or_default();
    }

    fn cluster(&self) -> Option<&Cluster> {
        self.read.as_ref()?.as_ref().ok()
    }

    fn name(&self) -> Option<&str> {
        self.cluster().map(|cluster| cluster.name.as_str())
    }

    fn problem(&self) -> Option<&str> {
        self.read.as_ref()?.as_ref().err().map(String::as_str)
    }

    fn wanted(&self) -> Wanted {
        Wanted::of(self.cluster(), &self.text)
    }
}

/// `hardway serve`, started again whenever it ends.
struct Child {
    pid: Option<i32>,
    started: Instant,
    pause: Duration,
    next: Instant,
    last_end: Option<String>,
}

impl Child {
    fn new() -> Self {
        Self {
            pid: None,
            started: Instant::now(),
            pause: PAUSES.0,
            next: Instant::now(),
            last_end: None,
        }
    }

    fn tend(&mut self, interface: &str, console: &Console) {
        if self.pid.is_some() || self.next > Instant::now() {
            return;
        }
        self.started = Instant::now();
        match command(interface).spawn() {
            // The handle is dropped without waiting: reap collects every child of PID 1.
            Ok(child) => self.pid = Some(child.id() as i32),
            Err(error) => {
                console.line(&format!("starting hardway serve: {error}"));
                self.ended(format!("could not be started: {error}"));
            }
        }
    }

    /// Collects every process that ended; says how the machine is to end, if the child asks for it.
    fn reap(&mut self, console: &Console) -> Option<Ending> {
        let mut ending = None;
        for exit in reap::collect() {
            if Some(exit.pid) != self.pid {
                continue;
            }
            if let reap::Cause::Status(status) = exit.cause {
                ending = Ending::of_status(status);
            }
            console.line(&format!("hardway serve ended: {}", exit.cause));
            self.ended(exit.cause.to_string());
        }
        ending
    }

    fn ended(&mut self, how: String) {
        if self.started.elapsed() > PAUSES.1 {
            self.pause = PAUSES.0;
        }
        self.pid = None;
        self.last_end = Some(how);
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    fn services(&self) -> Services {
        match (self.pid, &self.last_end) {
            (Some(_), _) => Services::Running,
            (None, Some(how)) => Services::Restarting(how.clone()),
            (None, None) => Services::Waiting,
        }
    }

    fn end(&mut self) {
        let Some(pid) = self.pid.take() else { return };
        let pid = Pid::from_raw(pid);
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if reap::collect().iter().any(|exit| exit.pid == pid.as_raw()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = kill(pid, Signal::SIGKILL);
        std::thread::sleep(Duration::from_millis(200));
        reap::collect();
    }
}

fn command(interface: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("serve");
    command.args(["--config", media::CLUSTER, "--state", media::STATE]);
    command.args(["--payload", media::PAYLOAD, "--images", media::IMAGES]);
    command.args(["--interface", interface]);
    if Path::new(media::ADMIN_TOKEN).is_file() {
        command.args(["--admin-token", media::ADMIN_TOKEN]);
    }
    command.env(crate::context::UNDER_INIT, "1");
    command.current_dir("/");
    command
}

/// What the screen says of the operator's token.
fn token_line() -> String {
    if Path::new(media::ADMIN_TOKEN).is_file() {
        return "the one in admin-token on CONFIG".into();
    }
    let path = Path::new(media::STATE).join(token::FILE);
    let token = std::fs::read_to_string(path).unwrap_or_default();
    token.trim().to_owned()
}
