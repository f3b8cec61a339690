//! GRUB for both firmwares, from the modules that the host's grub packages carry.
//!
//! Neither needs `grub-install`: for BIOS the core image is tied to its sector by patching the
//! three fields that `grub-bios-setup` would patch, for UEFI one file is enough.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{SECTOR, run};

/// Where Debian's grub-pc-bin keeps its modules.
const BIOS_FOLDER: &str = "/usr/lib/grub/i386-pc";

/// What both loaders need: read a GPT disk, talk to VGA and serial, start Linux.
const MODULES: &[&str] = &[
    "part_gpt",
    "fat",
    "ext2",
    "linux",
    "normal",
    "configfile",
    "serial",
    "terminal",
    "boot",
    "search",
    "search_label",
    "search_fs_file",
    "chain",
    "echo",
    "test",
    "sleep",
    "reboot",
    "halt",
    "minicmd",
];

/// What a loader does when the firmware has started it.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Reads `grub.cfg` in this folder. A device without its disk, `(,gpt3)/boot/grub`, is on the
    /// disk that the firmware booted, so that an older disk beside it is not taken for it.
    Folder(&'a str),
    /// Runs these commands, which are part of the image.
    Commands(&'a str),
}

/// GRUB for BIOS, not yet tied to the place where it will stand.
#[derive(Debug, Clone)]
pub struct BiosLoader {
    /// The master boot record's code.
    boot: Vec<u8>,
    /// What it loads.
    core: Vec<u8>,
}

/// Builds GRUB for BIOS.
pub fn bios_core(start: Start) -> Result<BiosLoader> {
    let path = Path::new(BIOS_FOLDER).join("boot.img");
    Ok(BiosLoader {
        boot: fs::read(&path).with_context(|| format!("reading {}", path.display()))?,
        core: make_image("i386-pc", &["biosdisk"], start).context("building GRUB for BIOS")?,
    })
}

/// GRUB as an EFI program, for `EFI/BOOT/BOOTX64.EFI` or for chaining.
pub fn efi_program(start: Start) -> Result<Vec<u8>> {
    make_image("x86_64-efi", &["efi_gop"], start).context("building GRUB for UEFI")
}

impl BiosLoader {
    /// Bytes that its partition has to have room for.
    pub fn size(&self) -> u64 {
        self.core.len() as u64
    }

    /// Ties it to a core image at sector `lba`: gives the code area of the master boot record (440
    /// bytes) and the core image with its own place in it. The fields' places have been the same
    /// since GRUB 1.98.
    pub(super) fn placed_at(&self, lba: u64) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut boot, mut core) = (self.boot.clone(), self.core.clone());
        ensure!(
            boot.len() == SECTOR as usize && core.len() > SECTOR as usize,
            "GRUB's boot sector has {} bytes and its core image {}",
            boot.len(),
            core.len()
        );
        // The sector that it loads, and two NOPs in place of the jump that skips the check whether
        // the BIOS has given a floppy's drive number.
        boot[0x5c..0x64].copy_from_slice(&lba.to_le_bytes());
        boot[0x66..0x68].fill(0x90);
        boot.truncate(440);

        // The core's first sector loads the rest: (first sector u64, count u16, segment u16).
        core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
        let sectors = core.len() as u64 / SECTOR - 1;
        let sectors = u16::try_from(sectors).context("GRUB's core image is too large")?;
        core[500..508].copy_from_slice(&(lba + 1).to_le_bytes());
        core[508..510].copy_from_slice(&sectors.to_le_bytes());
        core[510..512].copy_from_slice(&0x820_u16.to_le_bytes());
        Ok((boot, core))
    }
}

fn make_image(format: &str, modules: &[&str], start: Start) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let output = folder.path().join("image");
    let mut command = Command::new("grub-mkimage");
    command.args(["-O", format]).arg("-o").arg(&output);
    match start {
        Start::Folder(prefix) => command.args(["-p", prefix]),
        Start::Commands(commands) => {
            let config = folder.path().join("grub.cfg");
            fs::write(&config, commands).context("writing GRUB's commands")?;
            command.args(["-p", "/"]).arg("-c").arg(config)
        }
    };
    run(command.args(modules).args(MODULES))?;
    fs::read(&output).context("reading GRUB's image")
}

#[cfg(test)]
impl BiosLoader {
    /// A loader of recognisable bytes.
    pub(super) fn for_test(core: usize) -> BiosLoader {
        BiosLoader {
            boot: vec![0xbb; SECTOR as usize],
            core: vec![0xcc; core],
        }
    }
}
