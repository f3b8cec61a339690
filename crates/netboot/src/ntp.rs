//! A simple NTP server's answer (RFC 5905 section 14, RFC 4330 section 5).

/// What the server knows of its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since 1970-01-01 UTC at which the request was received.
    pub received: u64,
    /// Milliseconds since 1970-01-01 UTC at which the reply is about to be sent.
    pub now: u64,
    /// How far the clock is from a reference: 1 to 15; 16 says that it is not synchronised, and
    /// clients then do not follow it. A clock that nobody disciplines is honest at 10 or more.
    pub stratum: u8,
    /// When the clock was last set, in milliseconds since 1970-01-01 UTC; the present for a clock that
    /// is its own reference.
    pub reference: u64,
}

/// Bytes of an NTP header.
const HEADER: usize = 48;
/// From 1900-01-01, where NTP counts from, to 1970-01-01 (RFC 5905 figure 4).
const SECONDS_TO_1970: u64 = 2_208_988_800;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
const UNSYNCHRONISED: u8 = 16;
/// Kernel clocks tick in less than 2^-20 s.
const PRECISION: u8 = -20_i8 as u8;

/// The reply to `request`, or nothing when it is no client's request of version 1 to 4.
pub fn respond(request: &[u8], clock: Clock) -> Option<[u8; HEADER]> {
    let request: &[u8; HEADER] = request.first_chunk()?;
    let (version, mode) = ((request[0] >> 3) & 7, request[0] & 7);
    // Version 1 has no mode field (RFC 1059): clients of it send zero there.
    let is_request = mode == MODE_CLIENT || (version == 1 && mode == 0);
    if !(1..=4).contains(&version) || !is_request {
        return None;
    }
    let leap = if clock.stratum >= UNSYNCHRONISED {
        3
    } else {
        0
    };
    let mut reply = [0; HEADER];
    reply[0] = leap << 6 | version << 3 | MODE_SERVER;
    reply[1] = clock.stratum.min(UNSYNCHRONISED);
    reply[2] = request[2];
    reply[3] = PRECISION;
    // Root delay 0; root dispersion 1 s, in 16.16 fixed point: nobody disciplines this clock.
    reply[8..12].copy_from_slice(&(1_u32 << 16).to_be_bytes());
    reply[12..16].copy_from_slice(b"LOCL");
    reply[16..24].copy_from_slice(&timestamp(clock.reference));
    let (_, transmit) = request.split_at(40);
    reply[24..32].copy_from_slice(transmit);
    reply[32..40].copy_from_slice(&timestamp(clock.received));
    reply[40..48].copy_from_slice(&timestamp(clock.now));
    Some(reply)
}

/// NTP's 32.32 fixed point. The seconds wrap in 2036 as the era does (RFC 5905 section 6).
fn timestamp(unix_milliseconds: u64) -> [u8; 8] {
    let seconds = (unix_milliseconds / 1000).wrapping_add(SECONDS_TO_1970) as u32;
    let fraction = ((unix_milliseconds % 1000) << 32) / 1000;
    (u64::from(seconds) << 32 | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOCK: Clock = Clock {
        received: 1_700_000_000_250,
        now: 1_700_000_000_500,
        stratum: 10,
        reference: 1_700_000_000_000,
    };

    fn request(first: u8) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0] = first;
        bytes[2] = 6;
        bytes[40..48].copy_from_slice(b"ORIGINAL");
        bytes
    }

    #[test]
    fn reply_to_a_version_4_client() {
        let reply = respond(&request(0x23), CLOCK).unwrap();
        assert_eq!(reply[0], 0x24, "no leap warning, version 4, server");
        assert_eq!(reply[1], 10);
        assert_eq!(reply[2], 6, "the client's poll interval");
        assert_eq!(&reply[24..32], b"ORIGINAL");
        // 1_700_000_000 + 2_208_988_800 = 3_908_988_800 = 0xe8fe6f80
        assert_eq!(reply[32..40], [0xe8, 0xfe, 0x6f, 0x80, 0x40, 0, 0, 0]);
        assert_eq!(reply[40..48], [0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0]);
    }

    #[test]
    fn an_unsynchronised_clock_raises_the_alarm() {
        let clock = Clock {
            stratum: 16,
            ..CLOCK
        };
        let reply = respond(&request(0x1b), clock).unwrap();
        assert_eq!((reply[0], reply[1]), (0b11_011_100, 16));
    }

    #[test]
    fn what_is_no_request_gets_no_reply() {
        for first in [0x24, 0x25, 0x03, 0x2b, 0x20] {
            assert_eq!(respond(&request(first), CLOCK), None, "{first:#x}");
        }
        assert_eq!(respond(&request(0x23)[..47], CLOCK), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, received: u64, now: u64, stratum: u8, reference: u64) {
            respond(&bytes, Clock { received, now, stratum, reference });
        }
    }
}
