//! A UEFI machine boots by OVMF's own PXE stack, is installed and starts from its disk; switched off
//! and on again, network first, it is sent on to its disk. The appliance boots by UEFI as well.

use anyhow::{Result, ensure};

use super::{NODE, expect_installs_begun, expect_running_again, wait_running};
use crate::lab::{Lab, LabOptions};
use crate::up::default_memory;
use crate::vm::Firmware;

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

    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    machine.power_on()?;
    expect_running_again(lab, &first, "local-disk.efi")
}
