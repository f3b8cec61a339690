//! The variables by which UEFI firmware knows what it may boot: `BootOrder`, `BootCurrent` and a
//! `Boot####` for each entry (UEFI 2.10, section 3.3).

use serde::{Deserialize, Serialize};

/// The namespace that they stand in, as efivarfs writes it behind their names (`EFI_GLOBAL_VARIABLE`).
pub const NAMESPACE: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Bytes of all of them that travel. Firmware that has more is left alone.
pub const MOST_BYTES: usize = 64 << 10;

/// A variable of the firmware, or what is to become of it. As text: `BootOrder=01000300`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Variable {
    /// `BootOrder`, `BootCurrent`, `Boot0000`, …
    pub name: String,
    /// Its bytes without attributes. Empty: it is deleted, as `SetVariable()` has it.
    pub value: Vec<u8>,
}

/// Why a text is no variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name, `=` and pairs of hexadecimal digits were expected")]
pub struct InvalidVariable;

impl TryFrom<String> for Variable {
    type Error = InvalidVariable;

    fn try_from(text: String) -> Result<Self, InvalidVariable> {
        let (name, digits) = text.split_once('=').ok_or(InvalidVariable)?;
        Ok(Self {
            name: name.to_owned(),
            value: bytes(digits).ok_or(InvalidVariable)?,
        })
    }
}

impl From<Variable> for String {
    fn from(variable: Variable) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = variable.name;
        text.push('=');
        for byte in variable.value {
            text.push(DIGITS[usize::from(byte >> 4)].into());
            text.push(DIGITS[usize::from(byte & 15)].into());
        }
        text
    }
}

/// Pairs of hexadecimal digits.
pub(crate) fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_as_text() {
        for value in [vec![], vec![0, 0x7f, 0xff, 0x1a]] {
            let name = "BootOrder".to_owned();
            let variable = Variable { name, value };
            let text = String::from(variable.clone());
            assert_eq!(Variable::try_from(text), Ok(variable));
        }
        for text in ["Boot0000", "Boot0000=0", "Boot0000=0g", "B=+1", "B=é"] {
            let read = Variable::try_from(text.to_owned());
            assert_eq!(read, Err(InvalidVariable), "{text}");
        }
    }
}
