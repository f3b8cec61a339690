//! An operator edits cluster.yaml on the CONFIG partition and makes a mistake: console and UI say
//! where and what was meant, and DHCP serves nobody until it is mended.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{NODE, edit_cluster_file};
use crate::appliance;
use crate::lab::Lab;

const CONSOLE: Duration = Duration::from_secs(240);
/// How long a machine asks in vain: iPXE sends about four DISCOVERs in that time.
const IN_VAIN: Duration = Duration::from_secs(60);

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let mistaken = edit_cluster_file(
        lab,
        "profile: etcd\n    address",
        "profile: etdc\n    address",
    )?;
    let line = 1 + std::fs::read_to_string(&mistaken)?
        .lines()
        .position(|line| line.contains("profile: etdc"))
        .unwrap_or_default();
    let disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&disk, &mistaken)?;

    lab.appliance.power_on()?;
    let place = format!("cluster.yaml:{line}");
    for words in [&place, "did you mean `etcd`?"] {
        lab.appliance.serial().expect(words, CONSOLE)?;
    }
    let page = wait_for_page(lab)?;
    for words in [&place, "did you mean"] {
        ensure!(
            page.contains(words),
            "the UI does not say {words:?}: {page}"
        );
    }

    lab.machine(NODE)?.power_on()?;
    let deadline = Instant::now() + IN_VAIN;
    while Instant::now() < deadline && lab.segment.dhcp_requests() < 3 {
        thread::sleep(Duration::from_secs(1));
    }
    ensure!(lab.segment.dhcp_requests() > 0, "the machine did not ask");
    let replies = lab.segment.dhcp_replies();
    ensure!(replies == 0, "{replies} DHCP replies were sent");

    mend(lab)
}

/// The way back: the file is mended on the laptop again, and the machine is served.
fn mend(lab: &mut Lab) -> Result<()> {
    lab.machine(NODE)?.vm.power_cut()?;
    lab.appliance.power_cut()?;
    let disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&disk, &lab.cluster_file.clone())?;
    lab.start_appliance()?;
    let status = lab.api.status()?;
    ensure!(
        status.problems.is_empty(),
        "problems after mending: {:?}",
        status.problems
    );
    Ok(())
}

fn wait_for_page(lab: &Lab) -> Result<String> {
    let deadline = Instant::now() + CONSOLE;
    loop {
        match lab.api.page("/") {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_secs(1)),
            answer => return answer,
        }
    }
}
