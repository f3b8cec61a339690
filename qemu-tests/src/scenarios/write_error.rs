//! A disk that does not take a write in the middle of the image: the timeline says which disk, the agent
//! tries again, and nothing of it boots. When the disk is as good as new, the machine is installed.

use anyhow::{Context, Result, bail, ensure};
use hardway_model::lifecycle::Phase;

use super::alone::{self, Start};
use super::{NODE, TO_INSTALLED, expect_timeline, wait_running};
use crate::disk;
use crate::drive::{Access, Fault};
use crate::lab::Lab;

/// Where the disk is bad, in MiB: inside the image's root filesystem, at some places. A hole of the image is
/// zeroed and not written; not all of them are holes.
const BAD: std::ops::Range<u64> = 64..200;
const EACH: usize = 8;

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    let machine = lab.machine(NODE)?;
    machine.vm.spec.disks[0].faults = BAD
        .step_by(EACH)
        .map(|mebibytes| Fault {
            access: Access::Write,
            sector: (mebibytes << 20) / 512,
        })
        .collect();
    machine.power_on()?;
    let failed = lab.api.wait_for(NODE, "failed", TO_INSTALLED, |detail| {
        matches!(detail.machine.phase, Phase::Failed { .. })
    })?;
    let Phase::Failed { step, cause } = &failed.machine.phase else {
        bail!("{NODE} is {:?}", failed.machine.phase);
    };
    ensure!(
        step == "write-image" && cause.contains("Input/output error"),
        "{step} failed: {cause}"
    );
    expect_timeline(&failed, "write-image failed (disk lab-node1): ")?;
    ensure!(failed.installed.is_none(), "it counts as installed");

    let again = lab
        .api
        .wait_for(NODE, "failed again", TO_INSTALLED, |detail| {
            let failures = detail
                .timeline
                .iter()
                .filter(|entry| entry.text.contains(" failed"));
            failures.count() == 2
        })?;
    ensure!(again.installed.is_none(), "it counts as installed");
    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    ensure!(
        disk::is_not_bootable(machine.disk())?,
        "the disk has a boot sector or partition table"
    );
    let start = alone::start(machine)?;
    ensure!(start == Start::Nothing, "the disk boots");

    machine.vm.spec.disks[0].faults.clear();
    machine.power_on()?;
    let running = wait_running(lab, NODE)?;
    let receipt = running.installed.context("there is no receipt")?;
    ensure!(
        receipt.generation == 1,
        "the receipt is of generation {}",
        receipt.generation
    );
    Ok(())
}
