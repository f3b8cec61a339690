//! A disk started by itself: by the machine's firmware, without a network, and without a trace on it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::drive::OnFault;
use crate::interrupt;
use crate::lab::LabMachine;
use crate::vm::BootOrder;

/// SeaBIOS found no boot sector on any disk.
const NOTHING: &str = "No bootable device";
/// The first word of the image's boot loader.
const LOADER: &str = "GRUB";
/// The last word of the installed system's start.
const SYSTEM: &str = "login:";
/// From power-on to the firmware's verdict, or to the system's last word.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing of the disk ran: the firmware says that there is nothing to boot.
    Nothing,
    /// The installed system started, up to its login prompt.
    System,
}

/// Starts the disk of a BIOS machine that is off, and switches it off again.
///
/// # Errors
/// Something on the disk runs, and does not get as far as a login prompt: it is half written.
pub(super) fn start(machine: &mut LabMachine) -> Result<Start> {
    let vm = &mut machine.vm;
    let spec = vm.spec.clone();
    vm.spec.nics.clear();
    vm.spec.boot = BootOrder::Disk;
    for disk in &mut vm.spec.disks {
        disk.is_snapshot = true;
        disk.write_limit = None;
        disk.faults.clear();
        disk.on_fault = OnFault::Report;
    }
    let outcome = vm.power_on().and_then(|()| watch(machine));
    machine.vm.power_cut()?;
    machine.vm.spec = spec;
    outcome
}

fn watch(machine: &mut LabMachine) -> Result<Start> {
    let name = &machine.declared.name;
    let deadline = Instant::now() + PATIENCE;
    loop {
        interrupt::check()?;
        let said = machine.vm.serial().text();
        let has_begun = said.contains(LOADER);
        if has_begun && said.contains(SYSTEM) {
            return Ok(Start::System);
        }
        if said.contains(NOTHING) {
            if has_begun {
                bail!("the disk of {name} began to boot, and failed:\n{said}");
            }
            return Ok(Start::Nothing);
        }
        if !machine.vm.is_on() || Instant::now() > deadline {
            bail!("the disk of {name}, started alone, neither boots nor is passed over:\n{said}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}
