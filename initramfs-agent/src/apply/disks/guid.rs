//! GUIDs: text as configs and people write them, bytes as a GPT holds them (UEFI 2.10, appendix A).

use anyhow::{Context, Result, bail};

/// Bytes in the order of a GPT: the first three fields little-endian.
pub type Guid = [u8; 16];

/// How many hexadecimal digits each field has.
const FIELDS: [usize; 5] = [8, 4, 4, 4, 12];

/// Reads `C12A7328-F81F-11D2-BA4B-00A0C93EC93B`, in either case.
pub fn parse(text: &str) -> Result<Guid> {
    let fields: Vec<&str> = text.split('-').collect();
    let is_right = fields.len() == FIELDS.len()
        && fields.iter().zip(FIELDS).all(|(field, digits)| {
            field.len() == digits && field.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
    if !is_right {
        bail!("`{text}` is no GUID");
    }
    let digits = fields.concat();
    let mut guid = Guid::default();
    for (byte, at) in guid.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).context("reading a GUID")?;
    }
    swap(&mut guid);
    Ok(guid)
}

/// A random one (RFC 9562, version 4).
pub fn random() -> Result<Guid> {
    let mut guid = Guid::default();
    fill_randomly(&mut guid)?;
    guid[6] = guid[6] & 0x0f | 0x40;
    guid[8] = guid[8] & 0x3f | 0x80;
    swap(&mut guid);
    Ok(guid)
}

/// Random bytes of the kernel, once it has enough of them.
pub fn fill_randomly(bytes: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: getrandom writes at most `rest.len()` bytes to `rest`.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(error).context("asking the kernel for random bytes");
                }
            }
        }
    }
    Ok(())
}

fn swap(guid: &mut Guid) {
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_fields_are_little_endian() {
        let esp = parse("c12a7328-F81F-11D2-BA4B-00A0C93EC93B").unwrap();
        let expected = [
            0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e,
            0xc9, 0x3b,
        ];
        assert_eq!(esp, expected);
    }

    #[test]
    fn what_is_no_guid() {
        for text in [
            "",
            "C12A7328",
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93",
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93G",
            "C12A7328F-81F-11D2-BA4B-00A0C93EC93B",
            "+12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        ] {
            assert_eq!(
                parse(text).unwrap_err().to_string(),
                format!("`{text}` is no GUID")
            );
        }
    }

    #[test]
    fn random_ones_differ_and_say_their_version() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(one, other);
        // Version in the high bits of the third field, variant in the ninth byte.
        assert_eq!((one[7] >> 4, one[8] >> 6), (4, 2));
    }
}
