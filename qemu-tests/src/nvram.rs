//! What OVMF keeps in its flash memory: the variables, read past firmware and system (edk2,
//! MdeModulePkg/Include/Guid/VariableFormat.h, authenticated variables).

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Where the first variable stands: behind the header of the volume and that of the store.
const FIRST: usize = 0x64;
const HEADER: usize = 60;
const START: [u8; 2] = [0xaa, 0x55];
/// States of a variable that counts: written, and written with its successor under way.
const VALID: [u8; 2] = [0x3f, 0x3e];
/// `EFI_GLOBAL_VARIABLE`, as it stands in memory.
const GLOBAL: &[u8; 16] = b"\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c";

/// A machine's boot entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BootEntries {
    /// Numbers and descriptions.
    pub entries: Vec<(u16, String)>,
    /// Their order.
    pub order: Vec<u16>,
}

impl BootEntries {
    /// Reads the file of a machine, which QEMU writes as the firmware does.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Self::of(&bytes))
    }

    fn of(store: &[u8]) -> Self {
        let mut found = Self::default();
        let mut at = FIRST;
        while let Some(header) = store.get(at..at + HEADER).filter(|h| h.starts_with(&START)) {
            let long = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
            let (name_length, length) = (long(36) as usize, long(40) as usize);
            let begin = at + HEADER + name_length;
            let name = store.get(at + HEADER..begin).unwrap_or_default();
            let value = store.get(begin..begin + length).unwrap_or_default();
            if VALID.contains(&header[2]) && header[44..] == GLOBAL[..] {
                found.learn(&text(name), value);
            }
            at = (begin + length).next_multiple_of(4);
        }
        found
    }

    fn learn(&mut self, name: &str, value: &[u8]) {
        let number = name.strip_prefix("Boot").filter(|digits| digits.len() == 4);
        let number = number.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        if name == "BootOrder" {
            let units = value.chunks_exact(2);
            self.order = units
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect();
        } else if let (Some(number), Some(description)) = (number, value.get(6..)) {
            self.entries.push((number, text(description)));
        }
    }

    /// Looks for the one entry of this description, behind one or more of the network's and nothing else.
    pub fn expect_behind_the_network(&self, description: &str) -> Result<()> {
        let order = self.in_order();
        let is_ours = |other: &&str| *other == description;
        let ahead = order.iter().take_while(|other| !is_ours(other));
        let is_network = |other: &&str| other.contains("PXE") || other.contains("HTTP");
        let is_placed = ahead.clone().next().is_some() && ahead.clone().all(is_network);
        let entries = self.entries.iter();
        let count = entries.filter(|(_, other)| other == description).count();
        let ordered = order.iter().filter(|other| is_ours(other)).count();
        ensure!(
            (count, ordered, is_placed) == (1, 1, true),
            "the firmware has {self:?}"
        );
        Ok(())
    }

    /// Descriptions in the boot order.
    pub fn in_order(&self) -> Vec<&str> {
        let find = |number| self.entries.iter().find(move |(other, _)| other == number);
        let described = self.order.iter().filter_map(find);
        described
            .map(|(_, description)| description.as_str())
            .collect()
    }
}

/// UTF-16 up to its NUL.
fn text(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2);
    let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().chain([0]);
        units.flat_map(u16::to_le_bytes).collect()
    }

    fn variable(name: &str, state: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..3].copy_from_slice(&[0xaa, 0x55, state]);
        bytes[36..40].copy_from_slice(&(utf16(name).len() as u32).to_le_bytes());
        bytes[40..44].copy_from_slice(&(value.len() as u32).to_le_bytes());
        bytes[44..].copy_from_slice(GLOBAL);
        bytes.extend(utf16(name));
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        bytes
    }

    #[test]
    fn what_is_deleted_does_not_count() {
        let entry = |description: &str| [&[1, 0, 0, 0, 4, 0][..], &utf16(description)].concat();
        let store = [
            vec![0; FIRST],
            variable("Boot0000", 0x3c, &entry("Old")),
            variable("Boot0000", 0x3f, &entry("Network")),
            variable("BootOrder", 0x3f, &[1, 0, 0, 0, 9, 0]),
            variable("Boot0001", 0x3e, &entry("Disk")),
            variable("Timeout", 0x3f, &[0, 0]),
            vec![0xff; 100],
        ]
        .concat();
        let found = BootEntries::of(&store);
        assert_eq!(
            found.entries,
            [(0, "Network".to_owned()), (1, "Disk".to_owned())]
        );
        assert_eq!(found.in_order(), ["Disk", "Network"]);
        assert!(found.expect_behind_the_network("Disk").is_err());
    }

    #[test]
    fn behind_the_network_and_once() {
        let entries = |descriptions: &[&str], order: &[u16]| BootEntries {
            entries: (0..)
                .zip(descriptions.iter().map(|d| (*d).to_owned()))
                .collect(),
            order: order.to_vec(),
        };
        let three = ["UEFI PXEv4", "Ours", "Disk"];
        let check = |found: BootEntries| found.expect_behind_the_network("Ours").is_ok();
        assert!(check(entries(&three, &[0, 1, 2])));
        for order in [&[1, 0, 2][..], &[0, 2, 1], &[0, 2], &[0, 1, 1]] {
            assert!(!check(entries(&three, order)), "{order:?}");
        }
        assert!(!check(entries(&["UEFI PXEv4", "Ours", "Ours"], &[0, 1])));
    }
}
