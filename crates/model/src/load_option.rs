//! Boot entries of UEFI firmware: `EFI_LOAD_OPTION` (UEFI 2.10, section 3.1.3) and the device paths in
//! it (section 10.3). Read as far as is needed to tell which entries are what.

use crate::boot_variables;

/// Bit of [`LoadOption::attributes`]: the firmware may boot it.
const ACTIVE: u32 = 1;
/// Bits of [`LoadOption::attributes`]: what kind of program it is.
const CATEGORY: u32 = 0x1f00;
/// A hard drive node's format and kind of signature for a partition of a GPT.
const GPT: [u8; 2] = [2, 2];
/// The end of a whole device path.
const END: [u8; 4] = [0x7f, 0xff, 4, 0];

/// Types of nodes, with their subtypes.
const HARD_DRIVE: (u8, u8) = (4, 1);
const FILE: (u8, u8) = (4, 4);
/// MAC address, IPv4, IPv6, URI.
const NETWORK: [(u8, u8); 4] = [(3, 11), (3, 12), (3, 13), (3, 24)];
/// A disk that is reached over the network.
const ISCSI: (u8, u8) = (3, 19);
/// An entry of the BIOS Boot Specification, and the device type of a network card there.
const BIOS: (u8, u8) = (5, 1);
const BIOS_NETWORK: [u8; 2] = [0x80, 0];

/// A part of a device path: its type and subtype, and its data.
type Node = ((u8, u8), Vec<u8>);

/// A partition of a GPT, as a device path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardDrive {
    /// Its number, from 1.
    pub number: u32,
    /// First logical sector.
    pub start: u64,
    /// Length in logical sectors.
    pub sectors: u64,
    /// The partition's own GUID, as a GPT holds it.
    pub guid: [u8; 16],
}

/// A boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    /// Whether it is active, and of what kind.
    attributes: u32,
    /// What a menu shows.
    pub description: String,
    /// Its device path.
    nodes: Vec<Node>,
}

impl LoadOption {
    /// Reads an entry; `None` if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (attributes, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        // The path and optional data behind the description may be of an odd length.
        let (units, _) = rest.as_chunks::<2>();
        let end = units.iter().position(|unit| *unit == [0, 0])?;
        let path = rest.get(2 * (end + 1)..)?;
        Some(Self {
            attributes: u32::from_le_bytes(*attributes),
            description: text(&units[..end]),
            nodes: nodes(path.get(..u16::from_le_bytes(*length).into())?)?,
        })
    }

    /// Whether firmware tries it when it goes through the boot order: it is active and no mere tool.
    pub fn is_tried(&self) -> bool {
        self.attributes & ACTIVE != 0 && self.attributes & CATEGORY == 0
    }

    /// Whether it boots from the network.
    pub fn is_network(&self) -> bool {
        let has = |wanted: &(u8, u8)| self.nodes.iter().any(|(kind, _)| kind == wanted);
        let is_bios_network =
            |(kind, data): &Node| *kind == BIOS && data.starts_with(&BIOS_NETWORK);
        let is_disk = has(&ISCSI) || has(&HARD_DRIVE);
        (NETWORK.iter().any(has) && !is_disk) || self.nodes.iter().any(is_bios_network)
    }

    /// The partition that it is on.
    pub fn hard_drive(&self) -> Option<HardDrive> {
        let (_, data) = self.nodes.iter().find(|(kind, _)| *kind == HARD_DRIVE)?;
        if data.get(36..38)? != GPT {
            return None;
        }
        Some(HardDrive {
            number: u32::from_le_bytes(*data.first_chunk()?),
            start: u64::from_le_bytes(*data.get(4..)?.first_chunk()?),
            sectors: u64::from_le_bytes(*data.get(12..)?.first_chunk()?),
            guid: *data.get(20..)?.first_chunk()?,
        })
    }

    /// Whether it starts this file, which is named in whatever case.
    pub fn starts(&self, file: &str) -> bool {
        let files = self.nodes.iter().filter(|(kind, _)| *kind == FILE);
        let names = files.map(|(_, data)| {
            let units = data.as_chunks().0;
            let end = units.iter().position(|unit| *unit == [0, 0]);
            text(&units[..end.unwrap_or(units.len())])
        });
        let parts: Vec<String> = names.collect();
        let path = parts.join("\\").replace("\\\\", "\\");
        path.eq_ignore_ascii_case(file)
    }
}

/// An active entry that starts a file of a partition.
pub fn of_file(description: &str, partition: &HardDrive, file: &str) -> Vec<u8> {
    let number = partition.number.to_le_bytes();
    let (start, sectors) = (
        partition.start.to_le_bytes(),
        partition.sectors.to_le_bytes(),
    );
    let drive = [&number[..], &start, &sectors, &partition.guid, &GPT].concat();
    let path = [
        node(HARD_DRIVE, &drive),
        node(FILE, &utf16(file)),
        END.to_vec(),
    ]
    .concat();
    let length = path.len() as u16;
    let head = [&ACTIVE.to_le_bytes()[..], &length.to_le_bytes()].concat();
    [head, utf16(description), path].concat()
}

/// `C12A7328-F81F-…` as a GPT holds it (UEFI 2.10, appendix A).
pub fn guid(text: &str) -> Option<[u8; 16]> {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let digits: String = text.split('-').collect();
    let bytes: [u8; 16] = boot_variables::bytes(&digits)?.try_into().ok()?;
    Some(ORDER.map(|at| bytes[at]))
}

fn node((kind, subtype): (u8, u8), data: &[u8]) -> Vec<u8> {
    let length = (4 + data.len()) as u16;
    let head = [&[kind, subtype][..], &length.to_le_bytes()].concat();
    [&head, data].concat()
}

/// The nodes up to the end of the first device path; `None` where one is cut off.
fn nodes(mut bytes: &[u8]) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    loop {
        let [kind, subtype, low, high] = *bytes.first_chunk()?;
        if (kind, subtype) == (END[0], END[1]) {
            return Some(nodes);
        }
        let length = u16::from_le_bytes([low, high]).into();
        let data = bytes.get(4..length)?;
        nodes.push(((kind, subtype), data.to_vec()));
        bytes = &bytes[length..];
    }
}

fn text(units: &[[u8; 2]]) -> String {
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16_lossy(&units)
}

fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "\\EFI\\BOOT\\BOOTX64.EFI";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        boot_variables::bytes(&digits).unwrap()
    }

    fn partition() -> HardDrive {
        HardDrive {
            number: 2,
            start: 4096,
            sectors: 131_072,
            guid: guid("00112233-4455-6677-8899-AABBCCDDEEFF").unwrap(),
        }
    }

    /// Field by field, by hand from the specification.
    #[test]
    fn an_entry_for_a_file() {
        let expected = "01000000 5e00
            4100 0000
            0401 2a00 02000000 0010000000000000 0000020000000000
                33221100 5544 7766 8899 aabbccddeeff 02 02
            0404 3000 5c00 4500 4600 4900 5c00 4200 4f00 4f00 5400
                5c00 4200 4f00 4f00 5400 5800 3600 3400 2e00 4500 4600 4900 0000
            7fff 0400";
        let entry = of_file("A", &partition(), FILE);
        assert_eq!(entry, bytes(expected));
        let read = LoadOption::parse(&entry).unwrap();
        assert_eq!(read.description, "A");
        assert_eq!(read.hard_drive(), Some(partition()));
        assert!(read.is_tried() && !read.is_network());
        assert!(read.starts("\\efi\\boot\\bootx64.efi") && !read.starts("\\EFI"));
    }

    /// As OVMF makes them.
    #[test]
    fn entries_of_firmware() {
        let network = "01000000 5600 5500 0000
            02010c00 d041030a 00000000 01010600 0002
            030b2500 525400000001 0000000000000000000000000000000000000000000000000000 01
            030c1b00 00000000 00000000 0000 0000 0000 00 00000000 00000000
            7fff0400 4eac0881119f594d850ee21a522c59b2";
        let network = LoadOption::parse(&bytes(network)).unwrap();
        assert!(network.is_network() && network.is_tried());
        let tool = "09010000 0800 5500 0000 04061400 00";
        assert_eq!(LoadOption::parse(&bytes(tool)), None, "cut off");
        let tool = "09010000 0400 5500 0000 7fff0400 4e";
        let tool = LoadOption::parse(&bytes(tool)).unwrap();
        assert!(!tool.is_tried() && !tool.is_network());
        let iscsi =
            "01000000 1c00 0000 030b0800 52540000 03130800 00000000 030c0800 00000000 7fff0400";
        assert!(!LoadOption::parse(&bytes(iscsi)).unwrap().is_network());
        let bios = "01000000 0d00 0000 05010900 8000 0000 00 7fff0400";
        assert!(LoadOption::parse(&bytes(bios)).unwrap().is_network());
    }

    proptest! {
        /// Whatever firmware stores: an entry or none.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(entry) = LoadOption::parse(&bytes) {
                let _ = (entry.hard_drive(), entry.is_network(), entry.starts(FILE));
            }
        }

        #[test]
        fn a_changed_entry(at in 0usize..98, byte: u8) {
            let mut bytes = of_file("A", &partition(), FILE);
            bytes[at] = byte;
            if let Some(entry) = LoadOption::parse(&bytes) {
                let _ = (entry.hard_drive(), entry.is_network(), entry.starts(FILE));
            }
        }

        #[test]
        fn round_trip(description in "[^\0]{0,40}", number: u32, start: u64, sectors: u64, guid: [u8; 16]) {
            let partition = HardDrive { number, start, sectors, guid };
            let read = LoadOption::parse(&of_file(&description, &partition, FILE)).unwrap();
            prop_assert_eq!(read.description.as_str(), description.as_str());
            prop_assert_eq!(read.hard_drive(), Some(partition));
            prop_assert!(read.starts(FILE));
        }
    }
}
