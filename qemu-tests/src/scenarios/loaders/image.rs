//! Makes images that start otherwise than by GRUB, from the node image: its root partition behind an EFI
//! system partition with systemd-boot and entries, or with a unified kernel image.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::program;
use crate::tools::{self, run};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Room for two kernels.
const ESP_SIZE: u64 = 64 * MIB;
/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B (UEFI 2.10, section 5.3.3).
const ESP_TYPE: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
/// The node image's partition that is taken over.
const ROOT: &str = "root";
const ARGUMENTS: &str = "root=PARTLABEL=root rw console=tty0 console=ttyS0,115200 no_timer_check";

/// The node image, unpacked, and what is made of it.
pub struct Source {
    folder: PathBuf,
    disk: File,
    root: gptman::GPTPartitionEntry,
    kernel: PathBuf,
    initrd: PathBuf,
    /// Where systemd's EFI programs stand.
    programs: PathBuf,
}

impl Source {
    /// Unpacks `built` into the folder and takes kernel and initrd out of it.
    pub fn open(built: &Path, programs: &Path, folder: &Path) -> Result<Self> {
        let plain = folder.join("node.img");
        tools::unpack(built, &plain)?;
        let mut disk = File::open(&plain).context("opening the node image")?;
        let table = gptman::GPT::find_from(&mut disk).context("reading the node image's table")?;
        let is_root = |entry: &&gptman::GPTPartitionEntry| entry.partition_name.as_str() == ROOT;
        let mut entries = table.iter().map(|(_, entry)| entry);
        let root = entries.find(is_root).context("it has no root partition")?;
        let root = root.clone();
        let filesystem = format!("{}?offset={}", plain.display(), root.starting_lba * SECTOR);
        let take = |path: &str, name: &str| -> Result<PathBuf> {
            let to = folder.join(name);
            let request = format!("dump {path} {}", to.display());
            let said = run(tools::system("debugfs").args(["-R", &request, &filesystem]))?;
            let length = fs::metadata(&to).map_or(0, |file| file.len());
            ensure!(length > 0, "the node image gives no {path}: {said}");
            Ok(to)
        };
        Ok(Self {
            kernel: take("/boot/vmlinuz", "vmlinuz")?,
            initrd: take("/boot/initrd.img", "initrd.img")?,
            folder: folder.to_owned(),
            programs: programs.to_owned(),
            disk,
            root,
        })
    }

    /// systemd-boot with two entries, whose kernels say by an argument which they are: `entry=old` and
    /// `entry=new`. The newer version comes first.
    pub fn with_entries(&mut self, packed: &Path) -> Result<()> {
        let entry = |name: &str, version: &str| {
            format!(
                "title Node\nsort-key node\nversion {version}\nlinux /node/vmlinuz\n\
                 initrd /node/initrd.img\noptions {ARGUMENTS} entry={name}\n"
            )
        };
        let files = [
            (
                "EFI/BOOT/BOOTX64.EFI",
                self.programs.join("systemd-bootx64.efi"),
            ),
            ("node/vmlinuz", self.kernel.clone()),
            ("node/initrd.img", self.initrd.clone()),
            (
                "loader/loader.conf",
                self.file("loader.conf", "timeout 0\n")?,
            ),
            // The name alone would put it first.
            (
                "loader/entries/z.conf",
                self.file("z.conf", &entry("old", "6.9"))?,
            ),
            (
                "loader/entries/a.conf",
                self.file("a.conf", &entry("new", "6.10"))?,
            ),
        ];
        self.compose(&files, packed)
    }

    /// A unified kernel image, which says `entry=unified`, in the firmware's own place.
    pub fn with_unified_kernel(&mut self, packed: &Path) -> Result<()> {
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let stub = read(&self.programs.join("linuxx64.efi.stub"))?;
        let (kernel, initrd) = (read(&self.kernel)?, read(&self.initrd)?);
        let arguments = format!("{ARGUMENTS} entry=unified");
        let sections: [(&str, &[u8]); 4] = [
            (".osrel", b"ID=debian\nVERSION_ID=13\n"),
            (".cmdline", arguments.as_bytes()),
            (".initrd", &initrd),
            (".linux", &kernel),
        ];
        let path = self.folder.join("unified.efi");
        fs::write(&path, program::unified(&stub, &sections)?)
            .with_context(|| format!("writing {}", path.display()))?;
        self.compose(&[("EFI/BOOT/BOOTX64.EFI", path)], packed)
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// An EFI system partition with these files, and the root partition behind it.
    fn compose(&mut self, files: &[(&str, PathBuf)], packed: &Path) -> Result<()> {
        let esp = self.folder.join("esp.fat");
        make_fat(&esp, files).context("making the EFI system partition")?;
        let root_size = (self.root.ending_lba + 1 - self.root.starting_lba) * SECTOR;
        let plain = packed.with_extension("");
        let mut image = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&plain)?;
        image.set_len(MIB + ESP_SIZE + root_size + MIB)?;
        let mut table = gptman::GPT::new_from(&mut image, SECTOR, [0x5b; 16])?;
        table[1] = gptman::GPTPartitionEntry {
            partition_type_guid: ESP_TYPE,
            unique_partition_guid: [0x5c; 16],
            starting_lba: MIB / SECTOR,
            ending_lba: (MIB + ESP_SIZE) / SECTOR - 1,
            attribute_bits: 0,
            partition_name: "esp".into(),
        };
        table[2] = gptman::GPTPartitionEntry {
            starting_lba: (MIB + ESP_SIZE) / SECTOR,
            ending_lba: (MIB + ESP_SIZE + root_size) / SECTOR - 1,
            ..self.root.clone()
        };
        gptman::GPT::write_protective_mbr_into(&mut image, SECTOR)?;
        table.write_into(&mut image)?;
        image.seek(SeekFrom::Start(MIB))?;
        std::io::copy(&mut File::open(&esp)?, &mut image)?;
        self.disk
            .seek(SeekFrom::Start(self.root.starting_lba * SECTOR))?;
        std::io::copy(&mut self.disk.by_ref().take(root_size), &mut image)?;
        tools::pack(&plain, packed)?;
        fs::remove_file(&plain).with_context(|| format!("removing {}", plain.display()))
    }
}

fn make_fat(path: &Path, files: &[(&str, PathBuf)]) -> Result<()> {
    File::create(path)?.set_len(ESP_SIZE)?;
    run(tools::system("mkfs.vfat").args(["-F", "32"]).arg(path))?;
    let mut made = Vec::new();
    for (to, from) in files {
        for (end, _) in to.match_indices('/') {
            let folder = &to[..end];
            if !made.contains(&folder) {
                let mut command = Command::new("mmd");
                run(command.arg("-i").arg(path).arg(format!("::{folder}")))?;
                made.push(folder);
            }
        }
        let mut command = Command::new("mcopy");
        run(command.arg("-i").arg(path).arg(from).arg(format!("::{to}")))?;
    }
    Ok(())
}
