//! The OS image on the appliance is not the one that cluster.yaml names, though it decompresses well:
//! the machine fails, its disk never becomes bootable, and the timeline names the cause.

use anyhow::{Result, ensure};
use hardway_model::lifecycle::Phase;

use super::{NODE, TO_INSTALLED, expect_timeline};
use crate::disk;
use crate::lab::Lab;

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    lab.machine(NODE)?.power_on()?;
    // The appliance may know before the agent does.
    let detail = lab
        .api
        .wait_for(NODE, "stopped by the wrong hash", TO_INSTALLED, |detail| {
            matches!(
                detail.machine.phase,
                Phase::Failed { .. } | Phase::Held { .. }
            )
        })?;
    ensure!(detail.installed.is_none(), "it counts as installed");
    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    ensure!(
        disk::is_not_bootable(machine.disk())?,
        "the disk has a boot sector or partition table"
    );
    expect_timeline(&detail, "node.img.zst")?;
    expect_timeline(&detail, "SHA-256")
}
