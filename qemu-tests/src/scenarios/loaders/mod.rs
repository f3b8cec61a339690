//! UEFI machines whose systems are started by systemd-boot and as a unified kernel image are handed over to
//! by kexec, with the kernel that their loader then starts, too.

mod image;
mod program;

use anyhow::{Context, Result, ensure};

use super::{
    TO_RUNNING, expect_installs_begun, expect_timeline, own_images, wait_restarted, wait_running,
};
use crate::lab::{Lab, LabOptions};
use crate::up::default_memory;
use crate::vm::{BootOrder, Firmware};
use image::Source;

/// Its folders: of the configuration, the images and the loaders' programs.
const NAME: &str = "loaders";
/// Each machine, and what its kernel is told.
const MACHINES: [(&str, &str); 2] = [
    ("entries1", "entry=new from=cluster.yaml"),
    ("unified1", "entry=unified"),
];

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.firmware = Firmware::Uefi;
    options.memory = default_memory(Firmware::Uefi);
    let folder = own_images::folder(options, NAME)?;
    let images = folder.join("images");
    let built = options.artifacts.os_image("node.img.zst", &folder)?;
    let parts = tempfile::tempdir_in(&folder).context("making a folder for the parts")?;
    let programs = options.artifacts.folder().join(NAME);
    let mut source = Source::open(&built, &programs, parts.path())?;
    source
        .with_entries(&images.join("entries.img.zst"))
        .context("making the image with entries")?;
    source
        .with_unified_kernel(&images.join("unified.img.zst"))
        .context("making the image with a unified kernel image")?;
    own_images::serve(options, NAME, &folder)
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    for (name, _) in MACHINES {
        lab.machine(name)?.power_on()?;
    }
    for (name, told) in MACHINES {
        let detail = wait_running(lab, name)?;
        expect_installs_begun(&detail, 1)?;
        expect_timeline(&detail, "handing over by kexec")?;
        let reboot = detail
            .timeline
            .iter()
            .find(|entry| entry.text.contains("handing over by reboot"));
        ensure!(reboot.is_none(), "{reboot:?}");
        expect_told(lab, name, told)?;

        let machine = lab.machine(name)?;
        machine.vm.power_cut()?;
        machine.vm.spec.boot = BootOrder::Disk;
        machine.power_on()?;
    }
    // What the loader itself starts is the same.
    for (name, told) in MACHINES {
        wait_restarted(lab, name)?;
        expect_told(lab, name, told)?;
        lab.machine(name)?.vm.power_cut()?;
    }
    Ok(())
}

/// The last kernel that started since power-on has these arguments.
fn expect_told(lab: &mut Lab, name: &str, told: &str) -> Result<()> {
    const LINE: &str = "Kernel command line: ";
    let serial = lab.machine(name)?.vm.serial();
    serial.expect(told, TO_RUNNING)?;
    let text = serial.text();
    let last = text.lines().rev().find_map(|line| line.split_once(LINE));
    let (_, arguments) = last.context("no kernel tells its arguments")?;
    ensure!(
        arguments.contains(told),
        "the kernel of {name} was not told {told:?}: {arguments}"
    );
    Ok(())
}
