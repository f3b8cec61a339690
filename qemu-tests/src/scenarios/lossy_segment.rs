//! One frame of ten is lost between the machine and the appliance: firmware, iPXE and agent come through
//! all the same, and the installation begins once.
//!
//! The image itself is not waited for: what is lost there is TCP's, and the kernel's on both sides.

use std::time::Duration;

use anyhow::Result;

use super::{NODE, expect_installs_begun, expect_timeline, wait_installed};
use crate::lab::{Lab, LabOptions};
use crate::up::default_memory;
use crate::vm::Firmware;

const LOST_PER_MILLE: u32 = 100;
/// Any: which of the frames are lost is the same each time.
const SEED: u64 = 4;
/// iPXE fetches 23 MB at the speed of its own retransmissions: about 80 s on a quiet machine.
const TO_AGENT: Duration = Duration::from_secs(900);

pub(super) fn arrange_uefi(options: &mut LabOptions) -> Result<()> {
    options.firmware = Firmware::Uefi;
    options.memory = default_memory(Firmware::Uefi);
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    lab.segment.set_loss(LOST_PER_MILLE, SEED);
    lab.machine(NODE)?.power_on()?;
    let detail = lab
        .api
        .wait_for(NODE, "known by its agent", TO_AGENT, |detail| {
            detail.inventory.is_some()
        })?;
    expect_timeline(&detail, "agent started")?;
    lab.segment.set_loss(0, SEED);
    let installed = wait_installed(lab, NODE)?;
    expect_installs_begun(&installed, 1)
}
