//! The machine as a whole: firmware, SMBIOS, processor, memory, devices without a driver.

use std::path::Path;

use hardway_model::inventory::{Firmware, Processor, System};

use super::attribute;

pub fn firmware(root: &Path) -> Firmware {
    if root.join("sys/firmware/efi").is_dir() {
        Firmware::Uefi
    } else {
        Firmware::Bios
    }
}

pub fn system(root: &Path) -> System {
    let field = |name: &str| {
        let text = attribute(&root.join("sys/class/dmi/id").join(name))?;
        (!is_placeholder(&text)).then_some(text)
    };
    System {
        manufacturer: field("sys_vendor"),
        product: field("product_name"),
        serial: field("product_serial"),
        uuid: field("product_uuid")
            .map(|uuid| uuid.to_lowercase())
            .filter(|uuid| !is_constant(uuid)),
    }
}

/// Whether the kernel drives a TPM of family 2.0.
pub fn has_tpm2(root: &Path) -> bool {
    let devices = std::fs::read_dir(root.join("sys/class/tpm"));
    let mut devices = devices.into_iter().flatten().flatten();
    devices
        .any(|device| attribute(&device.path().join("tpm_version_major")).as_deref() == Some("2"))
}

/// What board makers leave in fields that nobody filled in.
fn is_placeholder(text: &str) -> bool {
    const PLACEHOLDERS: [&str; 15] = [
        "to be filled by o.e.m.",
        "to be filled by o.e.m",
        "default string",
        "system serial number",
        "system product name",
        "system manufacturer",
        "not specified",
        "not applicable",
        "not available",
        "unknown",
        "none",
        "n/a",
        "invalid",
        "oem",
        "o.e.m.",
    ];
    let text = text.to_lowercase();
    let is_filler = text
        .chars()
        .all(|c| matches!(c, '0' | 'x' | '.' | '-' | '*' | ' '))
        || text == "123456789"
        || text == "0123456789"
        || text == "1234567890";
    is_filler || PLACEHOLDERS.contains(&text.as_str())
}

/// All-zero and all-one UUIDs say nothing.
fn is_constant(uuid: &str) -> bool {
    let digits = || uuid.chars().filter(|c| *c != '-');
    digits().all(|c| c == '0') || digits().all(|c| c == 'f')
}

pub fn memory(root: &Path) -> u64 {
    attribute(&root.join("proc/meminfo"))
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kibibytes * 1024)
        })
        .unwrap_or(0)
}

pub fn processor(root: &Path) -> Processor {
    let text = attribute(&root.join("proc/cpuinfo")).unwrap_or_default();
    let values = |key: &'static str| {
        text.lines().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == key).then(|| value.trim().to_owned())
        })
    };
    Processor {
        model: values("model name")
            .next()
            .filter(|model| !model.is_empty()),
        count: values("processor").count() as u32,
    }
}

/// PCI network cards and storage controllers that no driver took: those that an installation may
/// be waiting for in vain.
pub fn driverless(root: &Path) -> Vec<String> {
    const STORAGE: &str = "0x01";
    const NETWORK: &str = "0x02";
    let devices = std::fs::read_dir(root.join("sys/bus/pci/devices"));
    let mut aliases: Vec<String> = devices
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let device = entry.ok()?.path();
            let class = attribute(&device.join("class"))?;
            let is_wanted = class.starts_with(STORAGE) || class.starts_with(NETWORK);
            if !is_wanted || device.join("driver").exists() {
                return None;
            }
            attribute(&device.join("modalias"))
        })
        .collect();
    aliases.sort();
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn placeholders_are_dropped() {
        let root = root(&[
            ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
            ("sys/class/dmi/id/product_name", "To Be Filled By O.E.M.\n"),
            ("sys/class/dmi/id/product_serial", "  SN-1  \n"),
            (
                "sys/class/dmi/id/product_uuid",
                "00000000-0000-0000-0000-000000000000\n",
            ),
        ]);
        let expected = System {
            manufacturer: Some("QEMU".into()),
            product: None,
            serial: Some("SN-1".into()),
            uuid: None,
        };
        assert_eq!(system(root.path()), expected);
        for text in ["Default string", "0000000000", "None", "xxxx", "123456789"] {
            assert!(is_placeholder(text), "{text}");
        }
        assert!(!is_placeholder("CZ1234X0"));
        assert!(is_constant("ffffffff-ffff-ffff-ffff-ffffffffffff"));
    }

    #[test]
    fn memory_and_processors() {
        let root = root(&[
            (
                "proc/meminfo",
                "MemTotal:         491520 kB\nMemFree: 1 kB\n",
            ),
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: QEMU CPU\n\nprocessor\t: 1\nmodel name\t: QEMU CPU\n",
            ),
        ]);
        assert_eq!(memory(root.path()), 480 << 20);
        assert_eq!(
            processor(root.path()),
            Processor {
                model: Some("QEMU CPU".into()),
                count: 2
            }
        );
        assert_eq!(firmware(root.path()), Firmware::Bios);
    }

    #[test]
    fn a_card_without_a_driver_is_named() {
        let device = |name: &str, file: &str| format!("sys/bus/pci/devices/{name}/{file}");
        let root = root(&[
            (&device("0000:00:00.0", "class"), "0x060000\n"),
            (&device("0000:00:00.0", "modalias"), "pci:bridge\n"),
            (&device("0000:00:02.0", "class"), "0x020000\n"),
            (&device("0000:00:02.0", "modalias"), "pci:card\n"),
            (&device("0000:00:03.0", "class"), "0x010802\n"),
            (&device("0000:00:03.0", "modalias"), "pci:disk\n"),
            (&device("0000:00:03.0", "driver/bind"), ""),
        ]);
        assert_eq!(driverless(root.path()), ["pci:card"]);
    }

    #[test]
    fn a_tpm_of_the_right_family() {
        let has = |major: &str| {
            let root = root(&[("sys/class/tpm/tpm0/tpm_version_major", major)]);
            has_tpm2(root.path())
        };
        assert!(has("2\n") && !has("1\n"));
        assert!(!has_tpm2(tempfile::tempdir().unwrap().path()));
    }
}
