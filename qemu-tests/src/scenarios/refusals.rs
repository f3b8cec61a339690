//! Four machines on whose disks nothing may be written, each with the reason and the disks named: two
//! disks that fit equally well, somebody's disk with a grant for another one, a disk smaller than the
//! image, and a disk with other sectors than the image is made for.

use anyhow::{Context, Result, bail, ensure};
use hardway_model::identity::Sha256;
use hardway_model::lifecycle::Phase;
use hardway_model::plan::RefusalReason::{self, *};
use hardway_model::view::MachineDetail;

use super::{TO_AGENT, change_cluster_file, expect_installs_begun, expect_timeline};
use crate::disk;
use crate::lab::{Lab, LabOptions};

/// Each machine, why nothing is written, and words that the cause has.
const MACHINES: &[(&str, RefusalReason, &[&str])] = &[
    (
        TWINS,
        SeveralDisksFit,
        &["lab-node1, 512.0 MiB", "lab-node1-data1, 512.0 MiB"],
    ),
    (OTHERS, DiskNotBlank, &["lab-node2, 512.0 MiB", "mbr"]),
    (
        TINY,
        DiskTooSmall,
        &["lab-node3, 128.0 MiB", "image `node`"],
    ),
    (
        LARGE_SECTORS,
        Configuration,
        &["made for sectors of 512 bytes, the disk has 4096"],
    ),
];
const TWINS: &str = "node1";
const OTHERS: &str = "node2";
const TINY: &str = "node3";
const LARGE_SECTORS: &str = "node4";
/// Bytes of a disk that holds the node image, and of one that does not.
const LARGE: u64 = 512 << 20;
const SMALL: u64 = 128 << 20;
/// So many are started at a time: as many as a small computer has processors.
const AT_A_TIME: usize = 2;

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.nodes = Some(MACHINES.len());
    options.data_disks = 1;
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    // The larger disk, of whatever size, so that each machine's disks are judged by something else.
    let selector = "disk: {min_size: 4GiB}";
    change_cluster_file(lab, selector, "disk: {prefer: largest}")?;
    arrange_disks(lab)?;
    let before = hashes(lab)?;

    lab.start_appliance()?;
    for together in MACHINES.chunks(AT_A_TIME) {
        for (name, ..) in together {
            lab.machine(name)?.power_on()?;
        }
        for (name, reason, words) in together {
            let held = wait_held(lab, name)?;
            expect_refusal(&held, *reason, words)?;
            if *name == OTHERS {
                keep_held_with_a_grant_for_another_disk(lab)?;
            }
            lab.machine(name)?.vm.power_cut()?;
        }
    }
    ensure!(hashes(lab)? == before, "a disk was changed");
    Ok(())
}

/// Small ones, since they are hashed twice.
fn arrange_disks(lab: &mut Lab) -> Result<()> {
    for (name, sizes) in [
        (TWINS, &[LARGE, LARGE][..]),
        (OTHERS, &[LARGE, SMALL]),
        (TINY, &[SMALL]),
        (LARGE_SECTORS, &[LARGE]),
    ] {
        let disks = &mut lab.machine(name)?.vm.spec.disks;
        disks.truncate(sizes.len());
        for (disk, size) in disks.iter().zip(sizes) {
            disk::create_blank(&disk.file, *size)?;
        }
    }
    for disk in &lab.machine(OTHERS)?.vm.spec.disks {
        disk::write_foreign_table(&disk.file)?;
    }
    lab.machine(LARGE_SECTORS)?.vm.spec.disks[0].sector_size = 4096;
    Ok(())
}

fn hashes(lab: &Lab) -> Result<Vec<Sha256>> {
    let disks = lab
        .machines
        .iter()
        .flat_map(|machine| &machine.vm.spec.disks);
    disks.map(|disk| disk::sha256(&disk.file)).collect()
}

fn wait_held(lab: &Lab, name: &str) -> Result<MachineDetail> {
    lab.api.wait_for(name, "held", TO_AGENT, |detail| {
        matches!(detail.machine.phase, Phase::Held { .. })
    })
}

fn expect_refusal(held: &MachineDetail, reason: RefusalReason, words: &[&str]) -> Result<()> {
    let name = &held.machine.name;
    let Phase::Held { refusal } = &held.machine.phase else {
        bail!("{name} is {:?}", held.machine.phase);
    };
    ensure!(
        refusal.reason == reason && words.iter().all(|word| refusal.cause.contains(word)),
        "{name} is held for another reason, {:?}: {}",
        refusal.reason,
        refusal.cause
    );
    expect_timeline(held, &refusal.cause)?;
    expect_timeline(held, &refusal.remedy)?;
    expect_installs_begun(held, 0)
}

/// The grant is kept, and opens nothing: the machine's agent asks again, and is held as before.
fn keep_held_with_a_grant_for_another_disk(lab: &Lab) -> Result<()> {
    let asked = |detail: &MachineDetail| detail.machine.last_seen;
    lab.api
        .grant_wipe_of(OTHERS, "lab-node2-data1")
        .context("granting the other disk")?;
    let granted = lab.api.machine(OTHERS)?;
    let again = lab
        .api
        .wait_for(OTHERS, "asking again", TO_AGENT, |detail| {
            asked(detail) > asked(&granted)
        })?;
    let (_, reason, words) = MACHINES[1];
    expect_refusal(&again, reason, words)?;
    let kept: Vec<&str> = again.grants.iter().map(|grant| &grant.disk[..]).collect();
    ensure!(kept == ["lab-node2-data1"], "the grants are {kept:?}");
    Ok(())
}
