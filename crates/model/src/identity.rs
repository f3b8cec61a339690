//! The names that identify machines, disks and images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An EUI-48 hardware address, shown as `52:54:00:00:00:01`.
///
/// Parses colon, hyphen and bare forms, in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The form that iPXE's `${mac:hexhyp}` and PXELINUX's `BOOTIF` use: `52-54-00-00-00-01`.
    pub fn hyphenated(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a MAC address; write six pairs of hexadecimal digits, as in 52:54:00:00:00:01"
)]
pub struct InvalidMac(pub String);

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let digits: Vec<u8> = match text.len() {
            17 => {
                let separator = text.as_bytes()[2];
                if separator != b':' && separator != b'-' {
                    return Err(invalid());
                }
                let well_placed = text
                    .bytes()
                    .enumerate()
                    .all(|(i, byte)| (i % 3 == 2) == (byte == separator));
                if !well_placed {
                    return Err(invalid());
                }
                text.bytes().filter(|byte| *byte != separator).collect()
            }
            12 => text.bytes().collect(),
            _ => return Err(invalid()),
        };
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
            let high = (pair[0] as char).to_digit(16).ok_or_else(invalid)?;
            let low = (pair[1] as char).to_digit(16).ok_or_else(invalid)?;
            *octet = (high * 16 + low) as u8;
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// A SHA-256 digest (FIPS 180-4), shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest; write 64 hexadecimal digits, as `sha256sum` prints them")]
pub struct InvalidSha256(pub String);

impl FromStr for Sha256 {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Self, InvalidSha256> {
        let invalid = || InvalidSha256(text.to_owned());
        if text.len() != 64 || !text.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = &text[2 * index..2 * index + 2];
            let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| is_hex)
                .ok_or_else(invalid)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = InvalidSha256;

    fn try_from(text: String) -> Result<Self, InvalidSha256> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

/// What may tell one machine from another. No part alone is trusted: UUIDs are duplicated or
/// all-zero in the field, serials are blank or `To be filled by O.E.M.`, NICs are swapped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Every known hardware address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<MacAddress>,
    /// SMBIOS type 1 serial number, trimmed; absent when the firmware left a placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// SMBIOS type 1 UUID, lower case with hyphens; absent when all-zero or all-one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// World-wide names or, failing these, serials of the fixed disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<String>,
}

/// Firmware without a UUID of its own gives one of all zeros or all ones (SMBIOS 3, 7.2.1). `uuid` is
/// in lower case.
pub(crate) fn is_telling(uuid: &str) -> bool {
    let mut digits = uuid.chars().filter(|c| *c != '-').peekable();
    digits.peek().is_some()
        && !(digits.clone().all(|digit| digit == '0') || digits.all(|digit| digit == 'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_forms() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01", "525400abcd01"] {
            let mac: MacAddress = text.parse().unwrap();
            assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
        }
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:0g",
            "52:54-00:ab:cd:01",
            "52:54:00:ab:cd:+1",
            "5254:00:ab:cd:011",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn sha256_round_trip() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse::<Sha256>().unwrap().to_string(), text);
        assert!("+3".repeat(32).parse::<Sha256>().is_err());
    }
}
