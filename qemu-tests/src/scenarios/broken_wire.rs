//! In the middle of the image, a chunk is damaged on the wire so that TCP does not see it, and then the
//! machine's link is gone for a minute: the agent says both, fetches again what it lacks, and the
//! installation, begun once, ends with every chunk as expected.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hardway_model::lifecycle::Phase;

use super::{NODE, expect_installs_begun, expect_timeline, wait_running, wait_writing};
use crate::interrupt;
use crate::lab::Lab;

/// Makes the write last about a minute, so that all of it falls there.
const WRITE_LIMIT: u64 = 6 << 20;
const TO_DAMAGE: Duration = Duration::from_secs(60);
const LOST: Duration = Duration::from_secs(60);
/// What is on its way when the link goes may still be told of.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    let machine = lab.machine(NODE)?;
    machine.vm.spec.disks[0].write_limit = Some(WRITE_LIMIT);
    machine.power_on()?;
    wait_writing(lab, NODE, 4 << 20)?;

    lab.segment.damage_next(NODE);
    let serial = lab.machine(NODE)?.vm.serial().clone();
    serial.expect("of the image came damaged", TO_DAMAGE)?;
    ensure!(lab.segment.damaged() == 1, "the damage was not done once");

    lab.machine(NODE)?.vm.set_link(0, false)?;
    thread::sleep(ON_ITS_WAY);
    let before = written(lab)?;
    let end = Instant::now() + (LOST - ON_ITS_WAY);
    while Instant::now() < end {
        interrupt::check()?;
        thread::sleep(Duration::from_millis(500));
    }
    ensure!(
        written(lab)? == before,
        "the appliance heard of the machine while its link was gone"
    );
    lab.machine(NODE)?.vm.set_link(0, true)?;

    let running = wait_running(lab, NODE)?;
    expect_installs_begun(&running, 1)?;
    expect_timeline(&running, "every chunk as expected")?;
    let said = serial.text();
    ensure!(
        said.matches("of the image came damaged").count() == 1,
        "more than one chunk came damaged"
    );
    ensure!(
        said.contains("trying again in"),
        "the agent does not say that it tried again:\n{}",
        serial.tail(40)
    );
    Ok(())
}

/// Bytes of the image that are in place, by what the appliance knows.
fn written(lab: &Lab) -> Result<u64> {
    let phase = lab.api.machine(NODE)?.machine.phase;
    match phase {
        Phase::Installing { step, done, .. } if step == "write-image" => Ok(done),
        _ => bail!("{NODE} is {phase:?}, and should be writing its image"),
    }
}
