//! PID 1 of the appliance: mounts, modules, media, network; then supervises `hardway serve`.
//!
//! It never panics and never returns: a panic of PID 1 is a kernel panic. What fails is shown on the
//! console and survived; only without a kernel that mounts /proc is there nothing left to do.
//!
//! | failure | what happens |
//! | --- | --- |
//! | a module does not load | shown; the next one is tried |
//! | no partition ESP, CONFIG or DATA | shown; without DATA the state is kept in memory |
//! | cluster.yaml is broken or missing | shown with the place; the network and the page come up, nobody is served |
//! | no randomness | the disk is read until the kernel has enough, a minute at most |
//! | no link | shown; looked for again every second |
//! | `serve` ends | started again after 1, 2, 4 … 30 seconds |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use hardway_userspace::console::Console;
use hardway_userspace::{links, mounts, power};

mod drivers;
mod grow;
mod media;
mod network;
mod power_button;
mod randomness;
mod screen;
mod supervise;

pub use supervise::Ending;

use drivers::Drivers;
use media::Media;

/// How long the appliance's own disk is waited for. USB sticks take seconds to appear.
const MEDIA_PATIENCE: Duration = Duration::from_secs(20);

/// The phases, in order. Never returns.
pub fn run() -> ! {
    loop {
        if catch_unwind(AssertUnwindSafe(phases)).is_err() {
            Console::open()
                .line("hardway init: a bug ended this run of PID 1; beginning again in 5 s");
        }
        std::thread::sleep(Duration::from_secs(5));
    }
}

fn phases() {
    let unmounted = mounts::mount_system();
    let console = Console::open();
    console.line(&format!("hardway {} starts", env!("CARGO_PKG_VERSION")));
    for error in unmounted {
        console.line(&told(&error));
    }
    quieten_kernel();
    if let Err(error) = power::catch_ctrl_alt_del() {
        console.line(&told(&error));
    }
    let _ = nix::unistd::sethostname("hardway");
    network::make_room(Path::new("/"));

    let mut drivers = Drivers::from_initramfs(&console);
    let media = Media::find(&mut drivers, &console, MEDIA_PATIENCE);
    drivers.add_store(Path::new(media::MODULES), &console);
    randomness::gather(&console);
    supervise::run(&console, &media, &mut drivers);
}

/// Only errors of the kernel reach the consoles from here on: proc(5), /proc/sys/kernel/printk.
fn quieten_kernel() {
    let _ = std::fs::write("/proc/sys/kernel/printk", "4");
}

/// An error with everything that led to it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// The loopback interface: the page is looked at from here in tests.
fn loopback(console: &Console) {
    if let Err(error) = links::up("lo") {
        console.line(&told(&error));
    }
}
