//! A UEFI machine whose disk has sectors of 4096 bytes is installed from the node image with its table
//! made for such sectors, and started again from that disk alone.
//!
//! (What becomes of an image for other sectors is seen in [`super::refusals`].)

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{NODE, expect_installs_begun, own_images, wait_restarted, wait_running};
use crate::lab::{Lab, LabOptions};
use crate::tools;
use crate::up::default_memory;
use crate::vm::{BootOrder, Firmware};

const SECTOR: u64 = 4096;
const IMAGE: &str = "node.img.zst";
const IMAGE_OF_LARGE_SECTORS: &str = "node-4096.img.zst";
/// Bytes before the first partition and behind the last one that hold nothing but a table.
const MARGIN: u64 = 1 << 20;

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.firmware = Firmware::Uefi;
    options.memory = default_memory(Firmware::Uefi);
    let folder = own_images::folder(options, "large-sectors")?;
    let images = folder.join("images");
    let built = options.artifacts.os_image(IMAGE, &folder)?;
    make_image(&built, &images.join(IMAGE_OF_LARGE_SECTORS)).context("making the image")?;

    let roles = options.cluster.with_file_name("roles");
    fs::create_dir(folder.join("roles")).context("creating roles")?;
    for role in ["base.bu", "etcd.bu"] {
        let (from, to) = (roles.join(role), folder.join("roles").join(role));
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    let text = fs::read_to_string(&options.cluster)
        .with_context(|| format!("reading {}", options.cluster.display()))?;
    ensure!(text.contains(IMAGE), "the cluster file names no {IMAGE}");
    options.cluster = folder.join("cluster.yaml");
    fs::write(
        &options.cluster,
        text.replace(IMAGE, IMAGE_OF_LARGE_SECTORS),
    )
    .with_context(|| format!("writing {}", options.cluster.display()))
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    let machine = lab.machine(NODE)?;
    machine.vm.spec.disks[0].sector_size = SECTOR as u32;
    machine.power_on()?;
    let running = wait_running(lab, NODE)?;
    expect_installs_begun(&running, 1)?;
    let inventory = running.inventory.context("there is no inventory")?;
    let sectors: Vec<u32> = inventory
        .disks
        .iter()
        .map(|disk| disk.sector_size)
        .collect();
    ensure!(
        sectors == [SECTOR as u32],
        "the disks' sectors: {sectors:?}"
    );

    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    machine.vm.spec.boot = BootOrder::Disk;
    machine.power_on()?;
    wait_restarted(lab, NODE)
}

/// Unpacks the image, gives it a table for large sectors with the same partitions, and packs it again.
fn make_image(built: &Path, packed: &Path) -> Result<()> {
    let plain = packed.with_extension("");
    tools::unpack(built, &plain)?;
    change_table(&plain).with_context(|| format!("changing the table of {}", plain.display()))?;
    tools::pack(&plain, packed)?;
    fs::remove_file(&plain).with_context(|| format!("removing {}", plain.display()))
}

fn change_table(image: &Path) -> Result<()> {
    let mut file = File::options().read(true).write(true).open(image)?;
    let small = gptman::GPT::find_from(&mut file)?;
    let factor = SECTOR / small.sector_size;
    let end = file.metadata()?.len() - MARGIN;
    for (start, length) in [
        (small.sector_size, MARGIN - small.sector_size),
        (end, MARGIN),
    ] {
        file.seek(SeekFrom::Start(start))?;
        file.write_all(&vec![0; length as usize])?;
    }
    let mut large = gptman::GPT::new_from(&mut file, SECTOR, small.header.disk_guid)?;
    for (number, entry) in small.iter().filter(|(_, entry)| entry.is_used()) {
        let (first, behind) = (entry.starting_lba, entry.ending_lba + 1);
        ensure!(
            first.is_multiple_of(factor) && behind.is_multiple_of(factor),
            "partition {number} does not begin and end with a large sector"
        );
        large[number] = entry.clone();
        large[number].starting_lba = first / factor;
        large[number].ending_lba = behind / factor - 1;
    }
    large.write_into(&mut file)?;
    gptman::GPT::write_protective_mbr_into(&mut file, SECTOR)?;
    Ok(())
}
