//! The program that installs a machine: PID 1 of the initramfs that network boot delivers.
//!
//! It decides nothing. It looks at the hardware, tells the appliance, carries out the plan that it
//! gets, and passes control to the installed system. `hardway-agent confirm` is what the installed
//! system runs once to say that it runs.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`boot`] | the phases of PID 1, and what happens when one fails |
//! | [`arguments`] | the kernel command line |
//! | [`drivers`] | kernel modules, from the initramfs and from the appliance |
//! | [`network`], [`dhcp`] | the interface that booted, and its address |
//! | [`clock`] | the time, from the appliance |
//! | [`http`], [`patience`] | requests, and their repetition |
//! | [`reports`] | what is told, on consoles and to the appliance |
//! | [`inventory`] | the hardware, as plain data |
//! | [`boot_variables`] | the firmware's boot entries and their order |
//! | [`session`] | hello, orders, and the next hello |
//! | [`apply`] | the steps of a plan; `hardway-agent apply` |
//! | [`toolbox`] | programs that are fetched where a plan needs them |
//! | [`confirm`] | the installed system's word |
//! | `replay` | a plan's writing as an ordinary process, for benches: not in the agent that is shipped |

mod apply;
mod arguments;
mod boot;
mod boot_variables;
mod clock;
mod confirm;
mod dhcp;
mod drivers;
mod http;
mod inventory;
mod network;
mod patience;
#[cfg(any(test, feature = "replay"))]
mod replay;
mod reports;
mod session;
mod toolbox;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::install_this_machine();
    }
    match std::env::args().nth(1).as_deref() {
        Some("confirm") => confirm::run(),
        Some("apply") => apply::command::run(std::env::args().skip(2)),
        #[cfg(any(test, feature = "replay"))]
        Some("replay") => replay::run(std::env::args().skip(2)),
        Some("--version") => {
            println!("hardway-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("hardway-agent installs a machine as PID 1, or: hardway-agent confirm|apply");
            ExitCode::from(2)
        }
    }
}
