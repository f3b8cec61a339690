//! A machine that has run is installed again from the same image: it is read back the first time, and
//! the second time what stands on the disk already is neither fetched nor written.

use anyhow::{Context, Result, ensure};
use hardway_model::lifecycle::Phase;
use hardway_model::view::MachineDetail;

use super::{NODE, TO_RUNNING, expect_installs_begun, expect_timeline, wait_running};
use crate::lab::Lab;

/// Of a hundred MiB of the image, fewer are written again: what the system itself has changed since, 1.8
/// when this was measured. How much a system writes until the power is cut varies.
const BELOW: u64 = 3;

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    lab.machine(NODE)?.power_on()?;
    let first = wait_running(lab, NODE)?;
    expect_timeline(&first, "are on the disk as they were written")?;
    let (written, size) = last_written(&first)?;
    ensure!(
        written == size,
        "{written} of {size} MiB went to a blank disk"
    );

    lab.api.reinstall(NODE)?;
    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    machine.power_on()?;
    let again = lab.api.wait_for(
        NODE,
        "running as it was installed again",
        TO_RUNNING,
        |detail| detail.machine.phase == Phase::Running && detail.machine.installs_begun == 2,
    )?;
    expect_installs_begun(&again, 2)?;
    let (written, size) = last_written(&again)?;
    println!("        a reinstallation wrote {written} of {size} MiB");
    ensure!(
        written * 100 < size * BELOW,
        "a reinstallation wrote {written} of {size} MiB"
    );
    Ok(())
}

/// MiB that the last installation wrote, and those of the image.
fn last_written(detail: &MachineDetail) -> Result<(u64, u64)> {
    let texts = detail.timeline.iter().rev().map(|entry| &entry.text);
    let numbers = texts.filter_map(|text| {
        let (written, rest) = text.split_once("wrote ")?.1.split_once(" of ")?;
        let (size, _) = rest.split_once(" MiB with ")?;
        Some((written.parse().ok()?, size.parse().ok()?))
    });
    numbers
        .into_iter()
        .next()
        .context("the timeline does not say how much was written")
}
