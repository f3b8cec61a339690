//! Two machines whose boards carry the same SMBIOS UUID: each is installed as itself, and both
//! timelines say what is wrong with them.

use anyhow::{Context, Result, ensure};

use super::{TO_INSTALLED, expect_installs_begun, expect_timeline, wait_installed};
use crate::lab::Lab;

const NAMES: [&str; 2] = ["node1", "node2"];
const UUID: &str = "03000200-0400-0500-0006-000700080009";

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    for name in NAMES {
        let machine = lab.machine(name)?;
        machine.vm.spec.uuid = Some(UUID.to_owned());
        machine.power_on()?;
    }
    for name in NAMES {
        let installed = wait_installed(lab, name)?;
        expect_installs_begun(&installed, 1)?;
        let receipt = installed
            .installed
            .as_ref()
            .context("there is no receipt")?;
        ensure!(receipt.machine == name, "it became {}", receipt.machine);
        let declared = lab.machine(name)?.declared.clone();
        ensure!(
            installed.machine.macs == declared.matches.macs,
            "{name} is known by {:?}",
            installed.machine.macs
        );
        let said = lab
            .api
            .wait_for(name, "told of its UUID", TO_INSTALLED, |detail| {
                let mut lines = detail.timeline.iter();
                lines.any(|entry| entry.text.contains("duplicate-uuid"))
            })?;
        expect_timeline(&said, UUID)?;
    }
    Ok(())
}
