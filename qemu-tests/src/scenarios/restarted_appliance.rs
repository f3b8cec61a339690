//! The appliance loses power in the middle of an installation and comes back: the agent holds out,
//! goes on where it was, and the machine is installed. Exactly one installation began writing, and
//! the receipt is of generation 1. Reset, network first, the (BIOS) machine is sent on to its disk.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{NODE, expect_installs_begun, expect_running_again, wait_running, wait_writing};
use crate::lab::Lab;

/// Makes the write last about a minute, so that the cut falls into it.
const WRITE_LIMIT: u64 = 6 << 20;
const OFF: Duration = Duration::from_secs(5);

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    let machine = lab.machine(NODE)?;
    machine.vm.spec.disks[0].write_limit = Some(WRITE_LIMIT);
    machine.power_on()?;
    let before = wait_writing(lab, NODE, 4 << 20)?;
    expect_installs_begun(&before, 1)?;

    lab.appliance.power_cut()?;
    thread::sleep(OFF);
    lab.start_appliance()?;

    let after = wait_running(lab, NODE)?;
    expect_installs_begun(&after, 1)?;
    let receipt = after.installed.as_ref().context("there is no receipt")?;
    ensure!(
        receipt.generation == 1,
        "the receipt is of generation {}",
        receipt.generation
    );

    lab.machine(NODE)?.vm.reset()?;
    expect_running_again(lab, &after, "sent to the disk")
}
