//! The names that udev would link to a disk (systemd 257, 60-persistent-storage.rules), for configs
//! that name disks by them. There is no udev here.
//!
//! | bus | below /dev/disk/by-id | below /dev/disk/by-path |
//! | --- | --- | --- |
//! | all with a world-wide name | `wwn-0x…` | |
//! | virtio | `virtio-SERIAL` | `pci-…`, `virtio-pci-…` |
//! | NVMe | `nvme-WWID`, `nvme-MODEL_SERIAL`, `nvme-MODEL_SERIAL_NAMESPACE` | `pci-…-nvme-NAMESPACE` |
//! | ATA | `ata-MODEL_SERIAL` | `pci-…-ata-PORT`, `pci-…-ata-PORT.0` |
//! | SCSI | `scsi-3…` from an NAA name | `pci-…-scsi-0:C:T:L` |
//! | MMC | `mmc-NAME_SERIAL` | `pci-…`, `platform-…` |
//!
//! Names of other kinds (USB, multipath, device mapper, SCSI names made from vendor and model) are
//! not computed.

use std::path::Path;

use super::attribute;

/// The links of the disk of that name, sorted. `wwn` as in the inventory.
pub fn of(sys: &Path, name: &str, wwn: Option<&str>) -> Vec<String> {
    let by_id = by_id(sys, name, wwn);
    let by_id = by_id
        .into_iter()
        .map(|link| format!("/dev/disk/by-id/{link}"));
    let by_path = by_path(sys, name);
    let by_path = by_path
        .into_iter()
        .map(|link| format!("/dev/disk/by-path/{link}"));
    let mut links: Vec<String> = by_id.chain(by_path).collect();
    links.sort();
    links.dedup();
    links
}

fn by_id(sys: &Path, name: &str, wwn: Option<&str>) -> Vec<String> {
    let text = |file: &str| Some(clean(&attribute(&sys.join(file))?));
    let mut links = Vec::new();
    let naa = wwn.and_then(|wwn| wwn.strip_prefix("0x"));
    links.extend(naa.map(|digits| format!("wwn-0x{digits}")));
    if name.starts_with("vd") {
        links.extend(text("serial").map(|serial| format!("virtio-{serial}")));
    } else if name.starts_with("nvme") {
        links.extend(text("wwid").map(|wwid| format!("nvme-{wwid}")));
        if let Some((model, serial)) = text("device/model").zip(text("device/serial")) {
            links.push(format!("nvme-{model}_{serial}"));
            links.extend(text("nsid").map(|nsid| format!("nvme-{model}_{serial}_{nsid}")));
        }
    } else if name.starts_with("mmcblk") {
        let both = text("device/name").zip(text("device/serial"));
        links.extend(both.map(|(name, serial)| format!("mmc-{name}_{serial}")));
    } else if let Some((model, serial)) = identity(&sys.join("device/vpd_pg89")) {
        links.push(format!("ata-{model}_{serial}"));
    } else {
        links.extend(naa.map(|digits| format!("scsi-3{digits}")));
    }
    links
}

/// Model and serial number of an ATA disk, from its IDENTIFY data in the SCSI vital product data,
/// page 89h (SAT-4 12.4.2): sysfs itself has but 16 characters of the model.
fn identity(path: &Path) -> Option<(String, String)> {
    const IDENTIFY: usize = 60;
    let bytes = std::fs::read(path).ok()?;
    let words = |first: usize, last: usize| {
        let bytes = bytes.get(IDENTIFY + 2 * first..IDENTIFY + 2 * (last + 1))?;
        // ATA strings have the first of two characters in the upper byte.
        let swapped: Vec<u8> = bytes
            .chunks(2)
            .flat_map(|pair| [pair[1], pair[0]])
            .collect();
        let text = clean(String::from_utf8_lossy(&swapped).trim_matches(['\0', ' ']));
        (!text.is_empty()).then_some(text)
    };
    Some((words(27, 46)?, words(10, 19)?))
}

/// By the way from the last PCI device to the disk.
fn by_path(sys: &Path, name: &str) -> Vec<String> {
    let Ok(real) = std::fs::canonicalize(sys) else {
        return Vec::new();
    };
    let parts: Vec<&str> = real.iter().filter_map(|part| part.to_str()).collect();
    let Some(at) = parts.iter().rposition(|part| is_pci_address(part)) else {
        let platform = parts.windows(2).find(|pair| pair[0] == "platform");
        return platform
            .filter(|_| name.starts_with("mmcblk"))
            .map(|pair| format!("platform-{}", pair[1]))
            .into_iter()
            .collect();
    };
    let pci = format!("pci-{}", parts[at]);
    if name.starts_with("vd") {
        return vec![format!("virtio-{pci}"), pci];
    }
    if name.starts_with("mmcblk") {
        return vec![pci];
    }
    if name.starts_with("nvme") {
        let nsid = attribute(&sys.join("nsid"));
        return nsid
            .map(|nsid| format!("{pci}-nvme-{nsid}"))
            .into_iter()
            .collect();
    }
    let below = &parts[at + 1..];
    let is_port = |part: &&&str| {
        part.strip_prefix("ata")
            .is_some_and(|n| n.parse::<u32>().is_ok())
    };
    if let Some((index, port)) = below.iter().enumerate().find(|(_, part)| is_port(part)) {
        let folder: std::path::PathBuf = real.iter().take(at + 2 + index).collect();
        let number = attribute(&folder.join("ata_port").join(port).join("port_no"));
        let links = number.map(|n| vec![format!("{pci}-ata-{n}"), format!("{pci}-ata-{n}.0")]);
        return links.unwrap_or_default();
    }
    let is_plain = below
        .iter()
        .all(|part| !part.starts_with("usb") && !part.starts_with("end_device"));
    let address = below.iter().rev().find(|part| part.split(':').count() == 4);
    match address.and_then(|address| address.split_once(':')) {
        // One host a controller: path_id counts them from 0.
        Some((_, rest)) if is_plain => vec![format!("{pci}-scsi-0:{rest}")],
        _ => Vec::new(),
    }
}

/// `0000:00:1f.2`.
fn is_pci_address(part: &str) -> bool {
    let digits: Vec<&str> = part.split([':', '.']).collect();
    let is_hex = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.len() == 4 && part.contains('.') && digits.iter().all(is_hex)
}

/// As udev makes text fit for a link: blanks become one underscore, and so does what is not plain.
fn clean(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) => c,
        _ => '_',
    };
    words.join("_").chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(device: &str, name: &str, wwn: Option<&str>, files: &[(&str, &[u8])], links: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        let sys = root
            .path()
            .join("sys/devices")
            .join(device)
            .join("block")
            .join(name);
        std::fs::create_dir_all(&sys).unwrap();
        for (file, bytes) in files {
            let path = sys.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let found = of(&sys, name, wwn);
        let found: Vec<&str> = found
            .iter()
            .map(|link| link.strip_prefix("/dev/disk/by-").unwrap())
            .collect();
        assert_eq!(found, links);
    }

    #[test]
    fn each_bus_has_names_of_its_own() {
        check(
            "pci0000:00/0000:00:04.0/virtio1",
            "vda",
            None,
            &[("serial", b"data disk/1\n")],
            &[
                "id/virtio-data_disk_1",
                "path/pci-0000:00:04.0",
                "path/virtio-pci-0000:00:04.0",
            ],
        );
        check(
            "pci0000:00/0000:00:05.0/nvme/nvme0",
            "nvme0n1",
            Some("eui.0000000000000001"),
            &[
                ("wwid", b"eui.0000000000000001\n"),
                ("nsid", b"1\n"),
                ("device/model", b"QEMU NVMe Ctrl       \n"),
                ("device/serial", b"nv-1   \n"),
            ],
            &[
                "id/nvme-QEMU_NVMe_Ctrl_nv-1",
                "id/nvme-QEMU_NVMe_Ctrl_nv-1_1",
                "id/nvme-eui.0000000000000001",
                "path/pci-0000:00:05.0-nvme-1",
            ],
        );
        check(
            "pci0000:00/0000:00:06.0/virtio2/host0/target0:0:1/0:0:1:0",
            "sda",
            Some("0x5000c500a0b1c2d3"),
            &[],
            &[
                "id/scsi-35000c500a0b1c2d3",
                "id/wwn-0x5000c500a0b1c2d3",
                "path/pci-0000:00:06.0-scsi-0:0:1:0",
            ],
        );
    }

    #[test]
    fn an_ata_disk_by_its_own_words() {
        let mut page = vec![0_u8; 572];
        let mut put = |word: usize, text: &str| {
            for (index, pair) in text.as_bytes().chunks(2).enumerate() {
                page[60 + 2 * (word + index)] = pair[1];
                page[60 + 2 * (word + index) + 1] = pair[0];
            }
        };
        put(10, "QM00001             ");
        put(27, "QEMU HARDDISK                           ");
        check(
            "pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0",
            "sda",
            Some("0x5000c500a0b1c2d3"),
            &[
                ("device/vpd_pg89", &page),
                ("../../../../../ata_port/ata3/port_no", b"3\n"),
            ],
            &[
                "id/ata-QEMU_HARDDISK_QM00001",
                "id/wwn-0x5000c500a0b1c2d3",
                "path/pci-0000:00:1f.2-ata-3",
                "path/pci-0000:00:1f.2-ata-3.0",
            ],
        );
    }
}
