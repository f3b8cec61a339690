//! What a DHCP message is, for the counters.

/// The fixed part and the magic cookie (RFC 2131 section 3).
const OPTIONS: usize = 240;
const PAD: u8 = 0;
const MESSAGE_TYPE: u8 = 53;
const END: u8 = 255;

/// By option 53 (RFC 2132 section 9.6): `discover`, `offer`, …; `bootp` where there is none, and
/// `unknown` for any other.
pub fn of(message: &[u8]) -> &'static str {
    let mut options = message.get(OPTIONS..).unwrap_or_default();
    loop {
        options = match options {
            [PAD, rest @ ..] => rest,
            [] | [END, ..] => return "bootp",
            [MESSAGE_TYPE, 1, kind, ..] => return name(*kind),
            [_, length, rest @ ..] => rest.get(usize::from(*length)..).unwrap_or_default(),
            [_] => return "unknown",
        };
    }
}

fn name(kind: u8) -> &'static str {
    match kind {
        1 => "discover",
        2 => "offer",
        3 => "request",
        4 => "decline",
        5 => "ack",
        6 => "nak",
        7 => "release",
        8 => "inform",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (options, expected) in [
            (&[53, 1, 1, 255][..], "discover"),
            (&[0, 0, 61, 2, 53, 1, 53, 1, 5, 255], "ack"),
            (&[53, 1, 99], "unknown"),
            (&[255, 53, 1, 1], "bootp"),
            (&[61, 200, 53, 1, 1], "bootp"),
            (&[61], "unknown"),
            (&[], "bootp"),
        ] {
            let message = [&[0; OPTIONS], options].concat();
            assert_eq!(of(&message), expected, "{options:?}");
        }
        assert_eq!(of(b"short"), "bootp");
    }
}
