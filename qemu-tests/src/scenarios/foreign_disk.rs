//! A disk with somebody's partition table and no grant stays as it is, byte for byte, and the
//! timeline says what to do. With a grant it is installed.
//!
//! The NIC is an e1000, so that its boot chain is played too. The node image's kernel is the cloud
//! one, which has no driver for it: the scenario ends when the disk is complete.

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
    let before = disk::sha256(&file)?;

    lab.start_appliance()?;
    lab.machine(NODE)?.power_on()?;
    let held = lab.api.wait_for(NODE, "held", TO_AGENT, |detail| {
        matches!(detail.machine.phase, Phase::Held { .. })
    })?;
    let Phase::Held { refusal } = &held.machine.phase else {
        bail!("{NODE} is {:?}", held.machine.phase);
    };
    ensure!(
        refusal.reason == RefusalReason::DiskNotBlank,
        "held for another reason: {}",
        refusal.cause
    );
    expect_timeline(&held, &refusal.remedy)?;
    expect_installs_begun(&held, 0)?;
    ensure!(disk::sha256(&file)? == before, "the disk was changed");

    lab.api.grant_wipe(NODE).context("granting")?;
    let installed = wait_installed(lab, NODE)?;
    expect_installs_begun(&installed, 1)?;
    ensure!(installed.grants.is_empty(), "the grant was not spent");
    Ok(())
}
