//! A UEFI machine boots by OVMF's own PXE stack, is installed and starts from its disk; switched off
//! and on again, network first, it is sent on to its disk. The appliance boots by UEFI as well.
//!
//! The firmware has a boot entry for the disk then, once, behind the network. Firmware that has
//! forgotten it gets it back from the installed system.

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use super::{NODE, expect_installs_begun, expect_running_again, expect_timeline, wait_running};
use crate::interrupt;
use crate::lab::{Lab, LabOptions};
use crate::nvram::BootEntries;
use crate::up::default_memory;
use crate::vm::Firmware;

/// How the timeline begins to say what the installed system is told to write.
const SET_BACK: &str = "boot entries are set:";
/// From the system's word to what it is told to write being written.
const TO_SET_BACK: Duration = Duration::from_secs(60);

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.firmware = Firmware::Uefi;
    options.memory = default_memory(Firmware::Uefi);
    options.appliance_firmware = Firmware::Uefi;
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    lab.machine(NODE)?.power_on()?;
    let first = wait_running(lab, NODE)?;
    expect_installs_begun(&first, 1)?;
    let firmware = first.inventory.as_ref().map(|inventory| inventory.firmware);
    ensure!(
        firmware == Some(hardway_model::inventory::Firmware::Uefi),
        "the agent found the firmware to be {firmware:?}"
    );

    expect_timeline(&first, "`Hardway: node1` starts")?;
    // What the agent wrote is what the system found at its first start.
    let set_back = first
        .timeline
        .iter()
        .find(|entry| entry.text.contains(SET_BACK));
    ensure!(set_back.is_none(), "{set_back:?}");

    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    expect_boot_entry(lab)?;

    let machine = lab.machine(NODE)?;
    let nvram = machine.vm.nvram();
    fs::remove_file(&nvram).with_context(|| format!("removing {}", nvram.display()))?;
    machine.power_on()?;
    expect_running_again(lab, &first, "local-disk.efi")?;
    lab.api
        .wait_for(NODE, "given its boot entry back", TO_SET_BACK, |detail| {
            detail
                .timeline
                .iter()
                .any(|entry| entry.text.contains(SET_BACK))
        })?;
    // Until it has written them, which is its next act.
    let deadline = Instant::now() + TO_SET_BACK;
    while let Err(error) = expect_boot_entry(lab) {
        ensure!(Instant::now() < deadline, "{error:#}");
        interrupt::check()?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn expect_boot_entry(lab: &mut Lab) -> Result<()> {
    let found = BootEntries::read(&lab.machine(NODE)?.vm.nvram())?;
    found.expect_behind_the_network("Hardway: node1")
}
