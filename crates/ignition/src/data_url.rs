//! `data:` URLs (RFC 2397): reading as Ignition's library does, writing as Butane does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The trees of media types that are known.
const TREES: [&str; 8] = [
    "application",
    "audio",
    "image",
    "message",
    "model",
    "multipart",
    "text",
    "video",
];

/// Why a `data:` URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DataUrlError {
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
    /// Something that has to be written as `%` and two digits.
    #[error("the data URL holds a character that has to be escaped")]
    Character,
    /// A `%` without two hexadecimal digits.
    #[error("the data URL has a `%` without two hexadecimal digits")]
    Escape,
}

/// The bytes of a `data:` URL.
///
/// # Errors
///
/// Where Ignition's library refuses the URL, which is stricter than RFC 2397: types outside of the
/// registered trees, missing padding and unescaped characters are refused.
pub(crate) fn decode(url: &str) -> Result<Vec<u8>, DataUrlError> {
    let rest = url.strip_prefix("data:").ok_or(DataUrlError::Scheme)?;
    let comma = data_start(rest).ok_or(DataUrlError::NoComma)?;
    let (head, data) = (&rest[..comma], &rest[comma + 1..]);
    let (media_type, parameters) = match head.find(';') {
        Some(semicolon) => (&head[..semicolon], Some(&head[semicolon + 1..])),
        None => (head, None),
    };
    if !media_type.is_empty() && !is_media_type(media_type) {
        return Err(DataUrlError::MediaType);
    }
    if is_base64(parameters)? {
        STANDARD.decode(data).map_err(|_| DataUrlError::Base64)
    } else {
        unescape(data)
    }
}

/// A `data:` URL for bytes: escaped or base64, whichever is shorter.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let escaped = format!("data:,{}", escape(bytes));
    let base64 = format!("data:;base64,{}", STANDARD.encode(bytes));
    if base64.len() < escaped.len() {
        base64
    } else {
        escaped
    }
}

/// The comma that ends the head; a parameter's quoted value may hold others.
fn data_start(rest: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    rest.bytes().position(|byte| {
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        byte == b',' && !quoted
    })
}

fn is_media_type(text: &str) -> bool {
    text.split_once('/').is_some_and(|(tree, subtype)| {
        TREES.contains(&tree) && is_token(subtype) && !subtype.contains('%')
    })
}

/// Whether the data is base64; parameters come before that word.
fn is_base64(parameters: Option<&str>) -> Result<bool, DataUrlError> {
    let Some(mut rest) = parameters else {
        return Ok(false);
    };
    loop {
        if rest == "base64" {
            return Ok(true);
        }
        let (name, value) = rest.split_once('=').ok_or(DataUrlError::MediaType)?;
        let end = value_end(value).ok_or(DataUrlError::MediaType)?;
        if !is_token(name) {
            return Err(DataUrlError::MediaType);
        }
        match value[end..].strip_prefix(';') {
            Some(next) => rest = next,
            None if end == value.len() => return Ok(false),
            None => return Err(DataUrlError::MediaType),
        }
    }
}

/// Where a parameter's value ends: a token, or text in quotes with backslashes.
fn value_end(value: &str) -> Option<usize> {
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find(';').unwrap_or(value.len());
        return (is_token(&value[..end]) && !value[..end].contains('%')).then_some(end);
    };
    let mut escaped = false;
    let close = quoted.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    Some(close + 2)
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte))
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
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>[\\]^`{|}".contains(&byte);
    if !data.bytes().all(is_allowed) {
        return Err(DataUrlError::Character);
    }
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
            ("data:,", Ok("")),
            ("data:,a%20b", Ok("a b")),
            ("data:,a?b=c", Ok("a?b=c")),
            ("data:text/plain;charset=utf-8,x", Ok("x")),
            ("data:text/plain;a=\"1,2\";base64,eA==", Ok("x")),
            ("data:;a=\"x\\\"y\",x", Ok("x")),
            ("data:;base64,", Ok("")),
            ("data:;base64,eA", Err(DataUrlError::Base64)),
            ("data:;base64,eA==eA==", Err(DataUrlError::Base64)),
            ("data:;base64,eA%3D%3D", Err(DataUrlError::Base64)),
            ("data:;base64;a=b,eA==", Err(DataUrlError::MediaType)),
            ("data:;BASE64,eA==", Err(DataUrlError::MediaType)),
            ("data:,a b", Err(DataUrlError::Character)),
            ("data:,x#y", Err(DataUrlError::Character)),
            ("data:,\u{e9}", Err(DataUrlError::Character)),
            ("data:,%2", Err(DataUrlError::Escape)),
            ("data:,%4g", Err(DataUrlError::Escape)),
            ("data:", Err(DataUrlError::NoComma)),
            ("data:;base64", Err(DataUrlError::NoComma)),
            ("data:text,x", Err(DataUrlError::MediaType)),
            ("data:foo/bar,x", Err(DataUrlError::MediaType)),
            ("data:text/plain/x,x", Err(DataUrlError::MediaType)),
            ("data:text/plain;,x", Err(DataUrlError::MediaType)),
            ("data:;x,y", Err(DataUrlError::MediaType)),
            ("data:;a=,x", Err(DataUrlError::MediaType)),
            ("DATA:,x", Err(DataUrlError::Scheme)),
        ] {
            assert_eq!(
                decode(url),
                expected.map(|text: &str| text.as_bytes().to_vec()),
                "{url}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[;,=\"\\\\%a/]{0,20}") {
            let _ = decode(&format!("data:{text}"));
        }

        #[test]
        fn what_is_written_is_read(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
    }
}
