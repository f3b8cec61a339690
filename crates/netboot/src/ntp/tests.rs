//! Requests and their replies, byte by byte.

use proptest::prelude::*;

use super::*;

const A_SECOND: u64 = 1_000_000_000;
const CLOCK: Clock = Clock {
    discipline: Discipline::Local,
    precision: -24,
    reference: 1_700_000_000 * A_SECOND,
};
const TIMES: Times = Times {
    received: 1_700_000_000 * A_SECOND + A_SECOND / 4,
    now: 1_700_000_000 * A_SECOND + A_SECOND / 2,
};

fn request(first: u8) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[0] = first;
    bytes[2] = 6;
    bytes[40..48].copy_from_slice(b"ORIGINAL");
    bytes
}

fn served(discipline: Discipline) -> [u8; HEADER] {
    let clock = Clock {
        discipline,
        ..CLOCK
    };
    respond(&request(0x23), clock, TIMES, Turn::Serve).unwrap()
}

#[test]
fn reply_to_a_version_4_client() {
    let reply = served(Discipline::Local);
    assert_eq!(reply[0], 0x24, "no leap warning, version 4, server");
    assert_eq!(reply[1], 10);
    assert_eq!(reply[2], 6, "the client's poll interval");
    assert_eq!(reply[3].cast_signed(), -24);
    assert_eq!(reply[4..8], [0; 4], "root delay");
    assert_eq!(reply[8..12], [0, 1, 0, 0], "root dispersion: a second");
    assert_eq!(reply[12..16], [127, 127, 1, 1]);
    // 1_700_000_000 + 2_208_988_800 = 3_908_988_800 = 0xe8fe6f80
    assert_eq!(reply[16..24], [0xe8, 0xfe, 0x6f, 0x80, 0, 0, 0, 0]);
    assert_eq!(&reply[24..32], b"ORIGINAL");
    assert_eq!(reply[32..40], [0xe8, 0xfe, 0x6f, 0x80, 0x40, 0, 0, 0]);
    assert_eq!(reply[40..48], [0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0]);
}

#[test]
fn a_clock_that_the_kernel_calls_right_is_said_to_be_as_right_as_that() {
    let reply = |leap| {
        served(Discipline::Kernel {
            most_microseconds: 250_000,
            leap,
        })
    };
    let plain = reply(Leap::None);
    assert_eq!((plain[0] >> 6, plain[1]), (0, 5));
    assert_eq!(plain[8..12], [0, 0, 0x40, 0]);
    assert_eq!(plain[12..16], [127, 0, 0, 1]);
    assert_eq!(reply(Leap::Insert)[0] >> 6, 1);
    assert_eq!(reply(Leap::Delete)[0] >> 6, 2);
}

#[test]
fn a_clock_that_was_never_set_raises_the_alarm() {
    let reply = served(Discipline::Unset);
    assert_eq!((reply[0], reply[1]), (0b11_100_100, 16));
    assert_eq!(reply[16..24], [0; 8], "never set");
}

#[test]
fn who_asks_too_often_is_kissed_or_left_alone() {
    let by = |turn| respond(&request(0x1b), CLOCK, TIMES, turn);
    let kiss = by(Turn::Kiss).unwrap();
    assert_eq!((kiss[0], kiss[1]), (0b11_011_100, 0));
    assert_eq!(&kiss[12..16], b"RATE");
    assert_eq!(&kiss[24..32], b"ORIGINAL");
    assert_eq!(by(Turn::Ignore), None);
}

#[test]
fn what_is_no_request_gets_no_reply() {
    // A server's, a broadcast's, no version, version 5, no mode, control, private.
    for first in [0x24, 0x25, 0x03, 0x2b, 0x20, 0x26, 0x27, 0x16, 0x17] {
        let reply = respond(&request(first), CLOCK, TIMES, Turn::Serve);
        assert_eq!(reply, None, "{first:#x}");
    }
    assert_eq!(
        respond(&request(0x23)[..47], CLOCK, TIMES, Turn::Serve),
        None
    );
    let mut long = request(0x23);
    long.extend([0; 20]);
    let reply = respond(&long, CLOCK, TIMES, Turn::Serve);
    assert!(
        reply.is_some_and(|reply| reply.len() <= long.len()),
        "with a MAC"
    );
}

#[test]
fn precision_is_a_power_of_two() {
    for (nanoseconds, expected) in [
        (0, -30),
        (1, -30),
        (25, -25),
        (64, -24),
        (1000, -20),
        (1_000_000_000, 0),
        (u64::MAX / 2, 0),
    ] {
        assert_eq!(precision(nanoseconds), expected, "{nanoseconds}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, received: u64, now: u64, reference: u64, most_microseconds: u32) {
        let discipline = Discipline::Kernel { most_microseconds, leap: Leap::None };
        let clock = Clock { discipline, precision: -20, reference };
        respond(&bytes, clock, Times { received, now }, Turn::Serve);
    }
}
