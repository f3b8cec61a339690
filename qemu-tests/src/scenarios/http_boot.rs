//! A UEFI machine that can HTTP Boot only: it gets the agent as one EFI program, without iPXE in
//! between, is installed and runs; started again, network first, it is sent on to its disk by the same
//! firmware, whose boot entries are left as they are then.

use anyhow::{Result, ensure};

use super::{NODE, expect_installs_begun, expect_running_again, expect_timeline, wait_running};
use crate::lab::{Lab, LabOptions};
use crate::nvram::BootEntries;
use crate::up::default_memory;
use crate::vm::{BootOrder, Firmware};

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.firmware = Firmware::Uefi;
    options.memory = default_memory(Firmware::Uefi);
    options.boot = BootOrder::HttpBoot;
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    lab.machine(NODE)?.power_on()?;
    let first = wait_running(lab, NODE)?;
    expect_installs_begun(&first, 1)?;
    expect_timeline(&first, "agent.efi")?;
    let ipxe = first
        .timeline
        .iter()
        .find(|entry| entry.text.contains("iPXE"));
    ensure!(ipxe.is_none(), "iPXE stood in between: {ipxe:?}");
    expect_recorded(&lab.api.recording(NODE)?)?;

    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    machine.power_on()?;
    expect_running_again(lab, &first, "local-disk.efi")?;
    // QEMU has the firmware sort its entries at each start. The system finds ours behind the network's.
    let found = BootEntries::read(&lab.machine(NODE)?.vm.nvram())?;
    found.expect_behind_the_network("Hardway: node1")?;
    let again = lab.api.machine(NODE)?;
    let mut timeline = again.timeline.iter();
    let written = timeline.find(|entry| entry.text.contains("boot entries are"));
    ensure!(written.is_none(), "{written:?}");
    Ok(())
}

/// The pcap file holds both sides of the firmware's DHCP, and what it asked for by HTTP.
fn expect_recorded(pcap: &[u8]) -> Result<()> {
    let holds = |what: &str| pcap.windows(what.len()).any(|part| part == what.as_bytes());
    for what in [
        "HTTPClient:Arch:00016",
        "agent.efi",
        "HEAD /",
        "GET /",
        "User-Agent: UefiHttpBoot",
    ] {
        ensure!(holds(what), "the recording lacks `{what}`");
    }
    Ok(())
}
