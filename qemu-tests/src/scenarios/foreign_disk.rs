//! A disk with somebody's partition table and no grant stays as it is, byte for byte, and the
//! timeline says what to do. With a grant it is installed. Partitioned anew by hand, it is somebody's
//! again, though the receipt of that installation is still on it.
//!
//! The NIC is an e1000, so that its boot chain is played too. The node image's kernel is the cloud
//! one, which has no driver for it: the installed system is not waited for.

use anyhow::{Context, Result, bail, ensure};
use hardway_model::lifecycle::Phase;
use hardway_model::plan::RefusalReason;

use super::{NODE, TO_AGENT, expect_installs_begun, expect_timeline, wait_installed};
use crate::disk;
use crate::lab::{Lab, LabOptions};
use crate::vm::NicModel;

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.nic = NicModel::E1000;
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let file = lab.machine(NODE)?.disk().to_owned();
    disk::write_foreign_table(&file)?;
    lab.start_appliance()?;
    expect_held(lab, 0, "mbr: 1 partition")?;

    lab.api.grant_wipe(NODE).context("granting")?;
    let installed = wait_installed(lab, NODE)?;
    expect_installs_begun(&installed, 1)?;
    ensure!(installed.grants.is_empty(), "the grant was not spent");
    let receipt = installed.installed.context("there is no receipt")?;
    ensure!(!receipt.partitions.is_empty(), "it lists no partitions");

    lab.machine(NODE)?.vm.power_cut()?;
    disk::partition_anew(&file)?;
    lab.api.reinstall(NODE)?;
    expect_held(lab, 1, "beside a table of other partitions")
}

/// Switched on, the machine is held for what stands on its disk, and leaves it as it is.
fn expect_held(lab: &mut Lab, begun: u32, cause: &str) -> Result<()> {
    let machine = lab.machine(NODE)?;
    let before = disk::sha256(machine.disk())?;
    machine.power_on()?;
    let held = lab.api.wait_for(NODE, "held", TO_AGENT, |detail| {
        matches!(detail.machine.phase, Phase::Held { .. })
    })?;
    let Phase::Held { refusal } = &held.machine.phase else {
        bail!("{NODE} is {:?}", held.machine.phase);
    };
    ensure!(
        refusal.reason == RefusalReason::DiskNotBlank && refusal.cause.contains(cause),
        "held for another reason: {}",
        refusal.cause
    );
    expect_timeline(&held, &refusal.remedy)?;
    expect_installs_begun(&held, begun)?;
    let after = disk::sha256(lab.machine(NODE)?.disk())?;
    ensure!(after == before, "the disk was changed");
    Ok(())
}
