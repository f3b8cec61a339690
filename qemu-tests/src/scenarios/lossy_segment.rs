//! One frame of ten is lost, on the way to the machine and back: it is installed all the same, once.

use std::time::Duration;

use anyhow::Result;

use super::{NODE, expect_installs_begun};
use crate::lab::Lab;

const LOST_PER_MILLE: u32 = 100;
/// Any: the same frames are lost each time that the same ones are sent.
const SEED: u64 = 4;
/// TCP slows down by a factor of about fifty, and iPXE waits seconds for each packet lost.
const TO_INSTALLED: Duration = Duration::from_secs(900);

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    lab.segment.set_loss(LOST_PER_MILLE, SEED);
    lab.machine(NODE)?.power_on()?;
    let installed = lab
        .api
        .wait_for(NODE, "installed", TO_INSTALLED, |detail| {
            detail.installed.is_some()
        })?;
    expect_installs_begun(&installed, 1)
}
