//! Secure Boot with Microsoft's keys: a machine whose profile says so is installed through the signed
//! shim, GRUB and kernel, and started from its disk under lockdown; a machine whose profile does not
//! say so is told by name why nothing starts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hardway_model::lifecycle::Phase;

use super::inside::Key;
use super::{TO_RUNNING, edit_cluster_file, expect_installs_begun, expect_running_again};
use crate::appliance;
use crate::lab::{Lab, LabOptions};
use crate::rack::SSH;
use crate::up::default_memory;
use crate::vm::Firmware;

const SIGNED: &str = "node1";
const UNSIGNED: &str = "node2";
/// GRUB fetches 23 MB by TFTP, one block of 1 KiB for each way there and back.
const TO_RUNNING_BY_GRUB: Duration = Duration::from_secs(1800);
const DIAGNOSIS: &str = "unsigned-under-secure-boot";

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.nodes = Some(2);
    options.firmware = Firmware::SecureBoot;
    options.memory = default_memory(Firmware::SecureBoot);
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let key = Key::make(lab.folder())?;
    // The second machine gets a profile that says nothing of Secure Boot.
    for (from, to) in [
        ("ssh_keys: []", format!("ssh_keys: [\"{}\"]", key.public)),
        (
            "    image: node\n",
            "    image: node\n    secure_boot: true\n".to_owned(),
        ),
        ("\nmachines:\n", format!("{PLAIN}\nmachines:\n")),
        (
            "profile: etcd\n    address: 10.77.0.12",
            "profile: plain\n    address: 10.77.0.12".to_owned(),
        ),
    ] {
        lab.cluster_file = edit_cluster_file(lab, from, &to)?;
    }
    let disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&disk, &lab.cluster_file)?;

    lab.start_appliance()?;
    for name in [SIGNED, UNSIGNED] {
        lab.machine(name)?.power_on()?;
    }
    let refused = lab
        .api
        .wait_for(UNSIGNED, "diagnosed", TO_RUNNING, |detail| {
            let mut lines = detail.timeline.iter();
            lines.any(|entry| entry.text.contains(DIAGNOSIS))
        })?;
    expect_installs_begun(&refused, 0)?;
    lab.machine(UNSIGNED)?.vm.power_cut()?;

    let first = lab
        .api
        .wait_for(SIGNED, "running", TO_RUNNING_BY_GRUB, |detail| {
            detail.machine.phase == Phase::Running
        })?;
    expect_installs_begun(&first, 1)?;
    expect_lockdown(lab, &key)?;

    let machine = lab.machine(SIGNED)?;
    machine.vm.power_cut()?;
    machine.power_on()?;
    expect_running_again(lab, &first, "GRUB was sent to the disk")?;
    expect_lockdown(lab, &key)
}

const PLAIN: &str = "
  plain:
    image: node
    disk: {min_size: 4GiB}
    config: [roles/base.bu]
    vars: {ssh_keys: []}
";

/// The running kernel knows that it was started under Secure Boot, and enforces what follows of it.
fn expect_lockdown(lab: &mut Lab, key: &Key) -> Result<()> {
    let declared = lab.machine(SIGNED)?.declared.clone();
    let port = lab
        .host_port(&declared, SSH)
        .with_context(|| format!("{SIGNED} has no way in"))?;
    let lockdown = key.run("root", port, "cat /sys/kernel/security/lockdown")?;
    ensure!(lockdown.contains("[integrity]"), "lockdown is {lockdown:?}");
    Ok(())
}
