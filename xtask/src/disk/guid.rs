//! GUIDs as partition tables hold them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};
use serde::Deserialize;

/// A GUID. Its bytes stand in the order in which it is written as text.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Guid([u8; 16]);

impl Guid {
    /// Partition type: EFI system partition.
    pub const ESP: Guid = Guid(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b_u128.to_be_bytes());
    /// Partition type: GRUB's core image on a GPT disk.
    pub const BIOS_BOOT: Guid = Guid(0x21686148_6449_6e6f_744e_656564454649_u128.to_be_bytes());
    /// Partition type: a filesystem that is no root (Discoverable Partitions Specification:
    /// "Generic Linux Data").
    pub const LINUX_DATA: Guid = Guid(0x0fc63daf_8483_4772_8e79_3d69d8477de4_u128.to_be_bytes());
    /// Partition type: root filesystem of an x86-64 machine (Discoverable Partitions
    /// Specification).
    pub const ROOT_X86_64: Guid = Guid(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709_u128.to_be_bytes());
    /// Partition type: data that other operating systems read, "Microsoft basic data".
    pub const BASIC_DATA: Guid = Guid(0xebd0a0a2_b9e5_4433_87c0_68b6b72699c7_u128.to_be_bytes());

    /// The bytes on disk: the first three fields little-endian (UEFI specification, appendix A).
    pub fn to_disk(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl FromStr for Guid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        ensure!(
            lengths == [8, 4, 4, 4, 12],
            "`{text}` has not the form of a GUID"
        );
        let number = u128::from_str_radix(&text.replace('-', ""), 16)
            .with_context(|| format!("parsing GUID `{text}`"))?;
        Ok(Guid(number.to_be_bytes()))
    }
}

impl TryFrom<String> for Guid {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_disk_order() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(guid, Guid::ESP);
        assert_eq!(guid.to_string(), text);
        assert_eq!(
            guid.to_disk(),
            [
                0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e,
                0xc9, 0x3b
            ]
        );
    }

    #[test]
    fn bad_text_is_refused() {
        for text in ["", "c12a7328", "c12a7328-f81f-11d2-ba4b-00a0c93ec93x"] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }
}
