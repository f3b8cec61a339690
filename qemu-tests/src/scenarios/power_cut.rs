//! A machine loses power while its disk is written: the disk does not boot. At the next power-on it
//! is installed, as the same generation: two installations began, one ended.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{NODE, expect_installs_begun, wait_installed, wait_writing};
use crate::disk;
use crate::lab::Lab;

/// Makes the write last about a minute, so that the cut falls into it.
const WRITE_LIMIT: u64 = 6 << 20;
/// More than this on the host's disk shows that the image was being written.
const WRITTEN: u64 = 4 << 20;

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    let machine = lab.machine(NODE)?;
    machine.vm.spec.disks[0].write_limit = Some(WRITE_LIMIT);
    machine.power_on()?;
    wait_writing(lab, NODE, 4 << 20)?;
    let machine = lab.machine(NODE)?;
    // Reported progress may be ahead of the disk by what the kernel still holds.
    for _ in 0..60 {
        if disk::allocated(machine.disk())? > WRITTEN {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    machine.vm.power_cut()?;
    let written = disk::allocated(machine.disk())?;
    ensure!(written > WRITTEN, "only {written} bytes had been written");
    ensure!(
        disk::is_not_bootable(machine.disk())?,
        "the disk has a boot sector or partition table after the power cut"
    );

    machine.vm.spec.disks[0].write_limit = None;
    machine.power_on()?;
    let detail = wait_installed(lab, NODE)?;
    expect_installs_begun(&detail, 2)?;
    let receipt = detail.installed.context("there is no receipt")?;
    ensure!(
        receipt.generation == 1,
        "the receipt is of generation {}",
        receipt.generation
    );
    ensure!(
        !disk::is_not_bootable(lab.machine(NODE)?.disk())?,
        "the disk does not boot after the installation"
    );
    Ok(())
}
