//! Makes images that are laid out like those of Fedora CoreOS and Flatcar: the same partitions,
//! labels and filesystems, and in them what the installation looks at. They do not boot.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};

use crate::tools::{self, run};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// A partition: number, label, MiB, and what it holds.
type Partition = (u32, &'static str, u64, Content);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    /// ext4 with the partition's label, and these files.
    Ext4(&'static [&'static str]),
    /// btrfs with the partition's label, and these files.
    Btrfs(&'static [&'static str]),
}

/// As of coreos-assembler, x86_64.
const COREOS: &[Partition] = &[
    (1, "BIOS-BOOT", 1, Content::Nothing),
    (2, "EFI-SYSTEM", 4, Content::Nothing),
    (
        3,
        "boot",
        64,
        Content::Ext4(&["ignition.firstboot", "grub2/grub.cfg"]),
    ),
    (4, "root", 16, Content::Nothing),
];

/// As of Flatcar's disk_layout.json, x86_64; its numbers have gaps. Sizes are smaller.
const FLATCAR: &[Partition] = &[
    (1, "EFI-SYSTEM", 4, Content::Nothing),
    (2, "BIOS-BOOT", 2, Content::Nothing),
    (3, "USR-A", 8, Content::Nothing),
    (4, "USR-B", 8, Content::Nothing),
    (6, "OEM", 128, Content::Btrfs(&["oem-release"])),
    (7, "OEM-CONFIG", 1, Content::Nothing),
    (9, "ROOT", 16, Content::Nothing),
];

/// Makes `coreos-like.img` and `flatcar-like.img`, and both once more for the image store, with the
/// ending `.zst`.
pub fn make(folder: &Path) -> Result<()> {
    for (name, partitions) in [("coreos-like", COREOS), ("flatcar-like", FLATCAR)] {
        let image = folder.join(format!("{name}.img"));
        compose(&image, partitions).with_context(|| format!("making {}", image.display()))?;
        tools::pack(&image, &image.with_extension("img.zst"))?;
    }
    Ok(())
}

fn compose(image: &Path, partitions: &[Partition]) -> Result<()> {
    let size: u64 = partitions
        .iter()
        .map(|(_, _, mebibytes, _)| mebibytes)
        .sum();
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(image)?;
    file.set_len((size + 2) * MIB)?;
    let mut table = gptman::GPT::new_from(&mut file, SECTOR, [0x5a; 16])?;
    let mut start = MIB;
    for (number, label, mebibytes, content) in partitions {
        let end = start + mebibytes * MIB;
        table[*number] = gptman::GPTPartitionEntry {
            partition_type_guid: [0xaf; 16],
            unique_partition_guid: [*number as u8; 16],
            starting_lba: start / SECTOR,
            ending_lba: end / SECTOR - 1,
            attribute_bits: 0,
            partition_name: (*label).into(),
        };
        let length = mebibytes * MIB;
        if let Some(filesystem) = filesystem(image, label, length, *content)? {
            file.seek(SeekFrom::Start(start))?;
            std::io::copy(&mut File::open(filesystem)?, &mut file)?;
        }
        start = end;
    }
    gptman::GPT::write_protective_mbr_into(&mut file, SECTOR)?;
    table.write_into(&mut file)?;
    Ok(())
}

/// A file with the filesystem, made without mounting it.
fn filesystem(
    image: &Path,
    label: &str,
    length: u64,
    content: Content,
) -> Result<Option<std::path::PathBuf>> {
    let (files, mut command) = match content {
        Content::Nothing => return Ok(None),
        Content::Ext4(files) => {
            let mut command = tools::system("mke2fs");
            command.args(["-q", "-F", "-t", "ext4", "-L", label, "-d"]);
            (files, command)
        }
        Content::Btrfs(files) => {
            let mut command = tools::system("mkfs.btrfs");
            command.args(["--quiet", "--label", label, "--rootdir"]);
            (files, command)
        }
    };
    let tree = image.with_extension(format!("{label}.tree"));
    for file in files {
        let path = tree.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&tree))?;
        fs::write(path, b"")?;
    }
    let filesystem = image.with_extension(label);
    File::create(&filesystem)?.set_len(length)?;
    run(command.arg(&tree).arg(&filesystem))?;
    Ok(Some(filesystem))
}
