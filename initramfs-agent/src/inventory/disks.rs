//! Whole disks, from /sys/block and their own first and last bytes.

use std::path::Path;

use hardway_model::inventory::Disk;

use super::{aliases, attribute, content, layout};

/// Every block device that could hold a system, by path.
pub fn list(root: &Path) -> Vec<Disk> {
    let mut names: Vec<String> = std::fs::read_dir(root.join("sys/block"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| could_hold_a_system(name))
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names.iter().filter_map(|name| read(root, name)).collect()
}

/// The disk with that device node, as it is now.
pub fn read_one(root: &Path, path: &str) -> Option<Disk> {
    read(root, path.strip_prefix("/dev/")?)
}

/// Leaves out what lives in memory or on other disks, optical and floppy drives, and the boot and
/// replay-protected areas of eMMC.
fn could_hold_a_system(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock",
    ];
    let is_emmc_area =
        name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    !is_emmc_area && !OTHERS.iter().any(|prefix| name.starts_with(prefix))
}

fn read(root: &Path, name: &str) -> Option<Disk> {
    // /sys counts in units of 512 bytes, whatever the disk's sectors are.
    const UNIT: u64 = 512;
    let sys = root.join("sys/block").join(name);
    let text = |file: &str| attribute(&sys.join(file));
    let flag = |file: &str| text(file).as_deref() == Some("1");
    let size = text("size")?.parse::<u64>().ok()? * UNIT;
    if size == 0 {
        return None;
    }
    let sector_size = text("queue/logical_block_size")
        .and_then(|text| text.parse().ok())
        .unwrap_or(512);
    let node = root.join("dev").join(name);
    let wwn = text("wwid")
        .or_else(|| text("device/wwid"))
        .and_then(|id| world_wide_name(&id));
    Some(Disk {
        aliases: aliases::of(&sys, name, wwn.as_deref()),
        layout: layout::probe(&node, size, sector_size),
        content: content::probe(&node, size, sector_size),
        path: format!("/dev/{name}"),
        size,
        sector_size,
        model: text("device/model"),
        serial: text("serial")
            .or_else(|| text("device/serial"))
            .or_else(|| scsi_serial(&sys.join("device/vpd_pg80"))),
        wwn,
        rotational: flag("queue/rotational"),
        removable: flag("removable"),
        read_only: flag("ro"),
        transport: transport(name, &sys),
    })
}

/// SCSI vital product data, page 80h (SPC-5 7.7.16): four bytes of header, then the serial number.
fn scsi_serial(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let text = String::from_utf8_lossy(bytes.get(4..4 + length)?);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The kernel's wwid in the form that udev shows. `t10.` names are made up of model and serial by
/// the kernel and so are no world-wide names.
fn world_wide_name(id: &str) -> Option<String> {
    if let Some(digits) = id.strip_prefix("naa.") {
        return Some(format!("0x{digits}"));
    }
    let is_name = ["eui.", "uuid.", "nvme."]
        .iter()
        .any(|kind| id.starts_with(kind));
    is_name.then(|| id.to_owned())
}

fn transport(name: &str, sys: &Path) -> Option<String> {
    for (prefix, transport) in [
        ("nvme", "nvme"),
        ("vd", "virtio"),
        ("mmcblk", "mmc"),
        ("xvd", "xen"),
    ] {
        if name.starts_with(prefix) {
            return Some(transport.to_owned());
        }
    }
    let path = std::fs::canonicalize(sys).ok()?;
    let has = |part: &str| {
        path.components().any(|component| {
            component
                .as_os_str()
                .to_str()
                .is_some_and(|text| text.starts_with(part))
        })
    };
    let by_path = [
        ("usb", "usb"),
        ("ata", "sata"),
        ("end_device-", "sas"),
        ("session", "iscsi"),
        ("rport-", "fc"),
    ];
    let found = by_path
        .iter()
        .find(|(part, _)| has(part))
        .map(|(_, transport)| *transport);
    found
        .or_else(|| name.starts_with("sd").then_some("scsi"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use hardway_model::inventory::Content;

    use super::*;

    fn disk(root: &Path, device: &str, name: &str, files: &[(&str, &[u8])]) {
        let folder = root
            .join("sys/devices")
            .join(device)
            .join("block")
            .join(name);
        let plain: [(&str, &[u8]); 3] = [
            ("size", b"8192\n"),
            ("removable", b"0\n"),
            ("queue/logical_block_size", b"512\n"),
        ];
        for (file, bytes) in plain.iter().chain(files) {
            std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            std::fs::write(folder.join(file), bytes).unwrap();
        }
        for folder in ["sys/block", "dev"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        symlink(&folder, root.join("sys/block").join(name)).unwrap();
        std::fs::write(root.join("dev").join(name), vec![0; 4 << 20]).unwrap();
    }

    fn machine(root: &Path) {
        disk(
            root,
            "pci/virtio0",
            "vda",
            &[("serial", b"disk-1"), ("queue/rotational", b"1\n")],
        );
        disk(
            root,
            "pci/nvme/nvme0",
            "nvme0n1",
            &[
                (
                    "device/model",
                    b"QEMU NVMe Ctrl                          \n",
                ),
                ("device/serial", b"nv-1                \n"),
                ("wwid", b"eui.0000000000000001\n"),
            ],
        );
        disk(
            root,
            "pci/ata1/host0/target0:0:0/0:0:0:0",
            "sda",
            &[
                ("device/model", b"QEMU HARDDISK   \n"),
                ("device/wwid", b"naa.5000c500a0b1c2d3\n"),
                ("device/vpd_pg80", b"\0\x80\0\x06QM0001"),
                ("ro", b"1\n"),
            ],
        );
        disk(
            root,
            "pci/usb1/1-1/host2",
            "sdb",
            &[("removable", b"1\n"), ("device/wwid", b"t10.ATA x\n")],
        );
        disk(root, "virtual", "loop0", &[]);
        disk(root, "pci/host9", "sdc", &[("size", b"0\n")]);
    }

    #[test]
    fn each_bus_names_its_disks_its_own_way() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        machine(root);
        let disks = list(root);
        let shown: Vec<_> = disks
            .iter()
            .map(|d| {
                (
                    d.path.as_str(),
                    d.transport.as_deref(),
                    d.serial.as_deref(),
                    d.wwn.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (
                    "/dev/sda",
                    Some("sata"),
                    Some("QM0001"),
                    Some("0x5000c500a0b1c2d3")
                ),
                ("/dev/sdb", Some("usb"), None, None),
                ("/dev/vda", Some("virtio"), Some("disk-1"), None),
                (
                    "/dev/nvme0n1",
                    Some("nvme"),
                    Some("nv-1"),
                    Some("eui.0000000000000001")
                ),
            ]
        );
        assert_eq!(disks[3].model.as_deref(), Some("QEMU NVMe Ctrl"));
        assert!(disks[0].read_only && disks[1].removable && disks[2].rotational);
        assert_eq!(
            (disks[2].size, &disks[2].content),
            (4 << 20, &Content::Blank)
        );
        assert_eq!(read_one(root, "/dev/vda").as_ref(), Some(&disks[2]));
        assert_eq!(read_one(root, "/dev/vdb"), None);
    }
}
