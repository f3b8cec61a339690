//! GUIDs: as text, and as GPT keeps them (mixed endian; UEFI 2.10, appendix A).

use std::io::Read;

use anyhow::{Context, Result};

/// The 16 bytes of a GUID in a GPT, from its text, with or without dashes.
pub fn parse(text: &str) -> Result<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| digits.len() == 32);
    let mut bytes = number
        .with_context(|| format!("{text:?} is no GUID"))?
        .to_be_bytes();
    mix(&mut bytes);
    Ok(bytes)
}

/// The text of a GUID in a GPT, upper case.
pub fn show(mut bytes: [u8; 16]) -> String {
    mix(&mut bytes);
    let digits = format!("{:032X}", u128::from_be_bytes(bytes));
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}

/// Whether two texts are the same GUID, or filesystem UUID: case and dashes do not count.
pub fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace('-', "").to_uppercase();
    plain(one) == plain(other)
}

/// A random one (RFC 9562, version 4), lower case.
pub fn random() -> String {
    let mut bytes = [0; 16];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    // Without the kernel's random numbers there is no machine to speak of.
    if read.is_err() {
        bytes = [7; 16];
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    mix(&mut bytes);
    show(bytes).to_lowercase()
}

fn mix(bytes: &mut [u8; 16]) {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes() {
        let text = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        let bytes = parse(text).unwrap();
        assert_eq!(bytes[..4], [0x28, 0x73, 0x2a, 0xc1]);
        assert_eq!(show(bytes), text);
        assert!(same(text, "c12a7328f81f11d2ba4b00a0c93ec93b"));
        assert!(parse("C12A").is_err());
    }

    #[test]
    fn random_ones_are_of_version_4() {
        let text = random();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
        assert_ne!(text, random());
    }
}
