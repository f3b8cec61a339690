//! The variables by which UEFI firmware knows what it may boot: `BootOrder`, `BootCurrent` and a
//! `Boot####` for each entry (UEFI 2.10, section 3.3).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The namespace that they stand in, as efivarfs writes it behind their names (`EFI_GLOBAL_VARIABLE`).
pub const NAMESPACE: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Bytes of all of them that travel. Firmware that has more is left alone.
pub const MOST_BYTES: usize = 64 << 10;

/// A variable of the firmware, or what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// `BootOrder`, `BootCurrent`, `Boot0000`, …
    pub name: String,
    /// Its bytes without attributes. Empty: it is deleted, as `SetVariable()` has it.
    pub value: Hex,
}

/// Bytes, written as hexadecimal digits.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(pub Vec<u8>);

/// Why a text is no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pairs of hexadecimal digits were expected")]
pub struct InvalidHex;

impl TryFrom<String> for Hex {
    type Error = InvalidHex;

    fn try_from(text: String) -> Result<Self, InvalidHex> {
        let digit = |byte: u8| (byte as char).to_digit(16).ok_or(InvalidHex);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Ok((digit(*high)? << 4 | digit(*low)?) as u8),
            _ => Err(InvalidHex),
        };
        let bytes: Result<Vec<u8>, _> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self)
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = hex.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect()
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits() {
        for bytes in [vec![], vec![0, 0x7f, 0xff, 0x1a]] {
            let text = String::from(Hex(bytes.clone()));
            assert_eq!(Hex::try_from(text), Ok(Hex(bytes)));
        }
        for text in ["0", "0g", "+1", "é"] {
            assert_eq!(Hex::try_from(text.to_owned()), Err(InvalidHex), "{text}");
        }
    }
}
