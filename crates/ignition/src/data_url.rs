//! `data:` URLs (RFC 2397): reading as Ignition's library does, writing as Butane does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a `data:` URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataUrlError {
    /// Another scheme.
    #[error("not a data URL")]
    Scheme,
    /// Without a comma there is no data.
    #[error("the data URL has no comma before its data")]
    NoComma,
    /// The media type or a parameter is malformed.
    #[error("the media type of the data URL is malformed")]
    MediaType,
    /// Alphabet, length or padding.
    #[error("the base64 of the data URL is malformed")]
    Base64,
    /// A `%` without two hexadecimal digits.
    #[error("the data URL has a `%` without two hexadecimal digits")]
    Escape,
}

/// The bytes of a `data:` URL.
///
/// # Errors
///
/// Where the URL is malformed; padding of base64 is not optional.
pub fn decode(url: &str) -> Result<Vec<u8>, DataUrlError> {
    let rest = url.strip_prefix("data:").ok_or(DataUrlError::Scheme)?;
    let comma = data_start(rest).ok_or(DataUrlError::NoComma)?;
    let (head, data) = (&rest[..comma], &rest[comma + 1..]);
    let mut parts = head.split(';');
    let media_type = parts.next().unwrap_or_default();
    if !media_type.is_empty() && !is_media_type(media_type) {
        return Err(DataUrlError::MediaType);
    }
    let mut is_base64 = false;
    for part in parts {
        match part {
            "base64" => is_base64 = true,
            _ if part.split_once('=').is_some_and(|(name, _)| !name.is_empty()) => {}
            _ => return Err(DataUrlError::MediaType),
        }
    }
    if is_base64 {
        // Go's decoder skips line ends.
        let data: String = data.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        STANDARD.decode(data).map_err(|_| DataUrlError::Base64)
    } else {
        unescape(data)
    }
}

/// A `data:` URL for bytes: escaped or base64, whichever is shorter.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let escaped = format!("data:,{}", escape(bytes));
    let base64 = format!("data:;base64,{}", STANDARD.encode(bytes));
    if base64.len() < escaped.len() { base64 } else { escaped }
}

/// The comma that ends the head; a parameter's quoted value may hold others.
fn data_start(rest: &str) -> Option<usize> {
    let mut quoted = false;
    rest.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
}

fn is_media_type(text: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// The characters that RFC 3986 leaves unreserved.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescape(data: &str) -> Result<Vec<u8>, DataUrlError> {
    let mut bytes = Vec::with_capacity(data.len());
    let mut rest = data.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(DataUrlError::Escape),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_form() {
        for (url, expected) in [
            ("data:,a%20b", Ok("a b")),
            ("data:,a b", Ok("a b")),
            ("data:text/plain;charset=utf-8,x", Ok("x")),
            ("data:text/plain;a=\"1,2\";base64,eA==", Ok("x")),
            ("data:;base64,eA\n==", Ok("x")),
            ("data:;base64,eA", Err(DataUrlError::Base64)),
            ("data:,%2", Err(DataUrlError::Escape)),
            ("data:x", Err(DataUrlError::NoComma)),
            ("data:text,x", Err(DataUrlError::MediaType)),
            ("data:;x,y", Err(DataUrlError::MediaType)),
            ("http://a", Err(DataUrlError::Scheme)),
        ] {
            assert_eq!(decode(url), expected.map(|text: &str| text.as_bytes().to_vec()), "{url}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
    }
}
