//! Ignition's disks stage end to end, by `configs/storage`: a UEFI machine with two disks gets an
//! array across both, an encrypted volume, three kinds of filesystems, a user and two units.
//!
//! The data disk holds somebody's table at first: nothing is written until it is granted. Whatever
//! was asked for is looked for in the running system, and once more after a power cut.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use hardway_model::lifecycle::Phase;
use hardway_model::plan::RefusalReason;

use super::inside::Key;
use super::{
    NODE, TO_AGENT, edit_cluster_file, expect_installs_begun, expect_running_again, wait_running,
};
use crate::lab::{Lab, LabOptions};
use crate::rack::SSH;
use crate::up::default_memory;
use crate::vm::Firmware;
use crate::{appliance, disk};

/// What stands in the installed system: a command, and words that its output has.
const INSIDE: &[(&str, &[&str])] = &[
    ("cat /proc/mdstat", &["active raid1", "[2/2] [UU]"]),
    (
        "findmnt --noheadings --output SOURCE,FSTYPE --mountpoint /var/lib/data",
        &["/dev/md", "xfs"],
    ),
    (
        "findmnt --noheadings --output SOURCE,FSTYPE --mountpoint /var/lib/vault",
        &["/dev/mapper/vault", "ext4"],
    ),
    (
        "findmnt --noheadings --output FSTYPE,OPTIONS --mountpoint /var/lib/pool",
        &["btrfs", "compress=zstd"],
    ),
    (
        "cryptsetup status vault",
        &["is active", "LUKS2", "aes-xts-plain64"],
    ),
    (
        "stat --format '%a %U' /etc/crypttab /etc/luks/vault",
        &["600 root\n600 root"],
    ),
    ("cat /var/lib/data/note", &["on the mirror"]),
    ("cat /var/lib/vault/note", &["in the vault"]),
    (
        "stat --format '%a %U:%G' /var/lib/pool/ada /var/lib/pool/ada/note",
        &["750 ada:ada\n640 ada:ada"],
    ),
    ("id ada", &["uid=1815(ada)", "systemd-journal"]),
    ("systemctl is-enabled etcd.service || true", &["masked"]),
    ("systemctl is-enabled count-starts.service", &["enabled"]),
    ("systemctl is-active count-starts.service", &["active"]),
    (
        "echo \"failed: $(systemctl --failed --no-legend --plain)\"",
        &["failed: \n"],
    ),
    // The root filesystem reaches to the mirror's half, which starts at 2.5 GiB.
    (
        "test $(findmnt --noheadings --bytes --output SIZE /) -gt 2200000000 && echo grown",
        &["grown"],
    ),
];

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.firmware = Firmware::Uefi;
    options.memory = default_memory(Firmware::Uefi);
    options.data_disks = 1;
    options.cluster = PathBuf::from("configs/storage/cluster.yaml");
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let key = Key::make(lab.folder())?;
    let keys = format!("ssh_keys: [\"{}\"]", key.public);
    let cluster_file = edit_cluster_file(lab, "ssh_keys: []", &keys)?;
    let appliance_disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&appliance_disk, &cluster_file)?;

    let before = hold(lab)?;
    lab.api.grant_wipe(NODE).context("granting")?;
    let running = wait_running(lab, NODE)?;
    expect_installs_begun(&running, 1)?;
    ensure!(running.grants.is_empty(), "the grant was not spent");
    let data_disk = lab.machine(NODE)?.vm.spec.disks[1].file.clone();
    ensure!(disk::sha256(&data_disk)? != before, "nothing was written");
    look_inside(lab, &key, 1)?;

    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    machine.power_on()?;
    expect_running_again(lab, &running, "local-disk.efi")?;
    look_inside(lab, &key, 2)
}

/// Somebody's table on the data disk holds the machine, by the disk's name, before anything is
/// written to either disk. Gives the data disk's hash.
fn hold(lab: &mut Lab) -> Result<hardway_model::identity::Sha256> {
    let disks = lab.machine(NODE)?.vm.spec.disks.clone();
    let [system, data] = &disks[..] else {
        bail!("{NODE} has {} disks", disks.len());
    };
    disk::write_foreign_table(&data.file)?;
    let before = disk::sha256(&data.file)?;

    lab.start_appliance()?;
    lab.machine(NODE)?.power_on()?;
    let held = lab.api.wait_for(NODE, "held", TO_AGENT, |detail| {
        matches!(detail.machine.phase, Phase::Held { .. })
    })?;
    let Phase::Held { refusal } = &held.machine.phase else {
        bail!("{NODE} is {:?}", held.machine.phase);
    };
    ensure!(
        refusal.reason == RefusalReason::DiskNotBlank && refusal.cause.contains(&data.serial),
        "held for another reason: {}",
        refusal.cause
    );
    ensure!(
        disk::sha256(&data.file)? == before,
        "the data disk was changed"
    );
    ensure!(
        disk::allocated(&system.file)? == 0,
        "the system disk was written"
    );
    Ok(before)
}

/// Everything is there, at the machine's n-th start.
fn look_inside(lab: &mut Lab, key: &Key, starts: usize) -> Result<()> {
    let declared = lab.machine(NODE)?.declared.clone();
    let port = lab
        .host_port(&declared, SSH)
        .with_context(|| format!("{NODE} has no way in"))?;
    // Logged in as she is, with her own key, she reads her own file.
    let note = key.run("ada", port, "cat /var/lib/pool/ada/note")?;
    ensure!(note == "in the pool\n", "ada reads {note:?}");
    key.expect_inside(port, INSIDE)?;
    // The power is cut next, and what only memory holds would be lost.
    let counted = key.run("root", port, "sync\nwc -l < /var/lib/data/starts")?;
    ensure!(
        counted.trim() == starts.to_string(),
        "{} starts were counted, not {starts}",
        counted.trim()
    );
    Ok(())
}
