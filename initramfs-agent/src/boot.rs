//! The phases of PID 1, from a bare kernel to the first hello. It never returns: a failure is shown
//! and held, then the phases begin again.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use hardway_model::messages::AgentEvent;
use hardway_userspace::console::Console;
use hardway_userspace::{mounts, power};

use crate::arguments::Arguments;
use crate::drivers::{Drivers, OwnDrivers};
use crate::http::Appliance;
use crate::reports::Reports;
use crate::session::Session;
use crate::{clock, network};

/// How long a failure stands on the console before the next try.
const HOLD: Duration = Duration::from_secs(30);

/// Runs as PID 1.
pub fn install_this_machine() -> ! {
    let failed_mounts = mounts::mount_system();
    hold_on_panic();
    let console = Console::open();
    console.line(concat!("\nHardway agent ", env!("CARGO_PKG_VERSION")));
    for error in failed_mounts {
        console.line(&crate::patience::chain(&error));
    }
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let arguments = loop {
        match Arguments::parse(&line) {
            Ok(arguments) => break arguments,
            Err(error) => hold(&console, &error),
        }
    };
    let appliance = Appliance::new(&arguments.url, &arguments.token);
    let reports = Reports::start(console, appliance.clone());
    let mut drivers = OwnDrivers::open(&reports);
    loop {
        let Err(error) = run(&arguments, &appliance, &mut drivers, &reports);
        let cause = format!("{error:#}");
        reports.show(&format!(
            "\n*** {cause}\n*** trying again in {} s",
            HOLD.as_secs()
        ));
        reports.event(AgentEvent::Failed {
            step: "start".to_owned(),
            cause,
        });
        std::thread::sleep(HOLD);
    }
}

fn run(
    arguments: &Arguments,
    appliance: &Appliance,
    own_drivers: &mut OwnDrivers,
    reports: &Reports,
) -> Result<Infallible> {
    let boot_mac =
        network::bring_up(arguments, own_drivers, reports).context("bringing the network up")?;
    let clock = clock::set_from(appliance, reports)?;
    let mut drivers = Drivers::open(appliance, reports)?;
    drivers.coldplug();
    Session::new(clock, boot_mac, appliance.clone(), drivers, reports.clone()).run()
}

fn hold(console: &Console, error: &anyhow::Error) {
    console.line(&format!(
        "\n*** {error:#}\n*** boot this machine from its appliance again"
    ));
    std::thread::sleep(HOLD);
}

/// The end of PID 1 is a kernel panic, which scrolls the cause away: a bug is shown, held for
/// a minute, and followed by a reboot.
fn hold_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        Console::open().line(&format!(
            "\n*** bug in the agent: {panic}\n*** rebooting in a minute"
        ));
        std::thread::sleep(Duration::from_secs(60));
        let _ = power::reboot();
    }));
}
