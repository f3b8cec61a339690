//! Requests and whole transfers, over a link that loses, repeats and delays packets as told.

use proptest::prelude::*;

use super::{ErrorCode, Outcome, Output, Refusal, Request, Transfer, encode_error};
use link::carry;

mod link;
mod repair;

fn request(fields: &[&str]) -> Vec<u8> {
    let mut packet = vec![0, 1];
    for field in fields {
        packet.extend(field.bytes());
        packet.push(0);
    }
    packet
}

fn plain() -> Request {
    Request {
        file: "snponly.efi".into(),
        block_size: None,
        timeout: None,
        wants_size: false,
        window_size: None,
    }
}

#[test]
fn requests() {
    let decode = |fields: &[&str]| Request::decode(&request(fields));
    assert_eq!(decode(&["snponly.efi", "octet"]), Ok(plain()));
    assert_eq!(decode(&["/snponly.efi", "OCTET"]), Ok(plain()));
    let script = "grub/grub.cfg-01-52-54-00-00-00-01";
    let found = decode(&[&format!("/{script}"), "octet"]).map(|request| request.file);
    assert_eq!(found.as_deref(), Ok(script));
    // edk2's first.
    let edk2 = [
        "snponly.efi",
        "octet",
        "tsize",
        "0",
        "blksize",
        "1468",
        "windowsize",
        "4",
    ];
    let expected = Request {
        block_size: Some(1468),
        wants_size: true,
        window_size: Some(4),
        ..plain()
    };
    assert_eq!(decode(&edk2), Ok(expected));
    // Out of range or unknown: as if it had not been asked.
    let odd = [
        "snponly.efi",
        "octet",
        "blksize",
        "7",
        "TIMEOUT",
        "3",
        "windowsize",
        "0",
        "multicast",
        "",
    ];
    let expected = Request {
        timeout: Some(3),
        ..plain()
    };
    assert_eq!(decode(&odd), Ok(expected));
}

#[test]
fn refusals() {
    let code = |packet: &[u8]| match Request::decode(packet) {
        Err(Refusal::Error { code, .. }) => Some(code),
        Err(Refusal::Silence) => None,
        Ok(request) => panic!("{request:?}"),
    };
    for path in [
        "../passwd",
        "a/../b",
        "a//b",
        "a/./b",
        "a/",
        "grub/.hidden",
        "",
        "/",
        ".",
        "..",
        ".hidden",
        "a\\b",
        "a b",
        "ü",
    ] {
        assert_eq!(
            code(&request(&[path, "octet"])),
            Some(ErrorCode::FileNotFound),
            "{path}"
        );
    }
    let mut write = request(&["snponly.efi", "octet"]);
    write[1] = 2;
    assert_eq!(code(&write), Some(ErrorCode::AccessViolation));
    assert_eq!(
        code(&request(&["snponly.efi", "netascii"])),
        Some(ErrorCode::IllegalOperation)
    );
    assert_eq!(
        code(&request(&["snponly.efi"])),
        Some(ErrorCode::IllegalOperation)
    );
    assert_eq!(
        code(b"\0\x01snponly.efi"),
        Some(ErrorCode::IllegalOperation)
    );
    assert_eq!(code(&[0, 4, 0, 1]), Some(ErrorCode::IllegalOperation));
    // An error must not be answered with an error.
    assert_eq!(code(&encode_error(ErrorCode::NotDefined, "no")), None);
    assert_eq!(code(&[]), None);
}

fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}

#[test]
fn files_of_every_edge_over_a_good_link() {
    for size in [
        0,
        1,
        511,
        512,
        513,
        1024,
        1467,
        1468,
        1468 * 7,
        1468 * 64 + 9,
    ] {
        for block_size in [None, Some(512), Some(1468)] {
            for window_size in [None, Some(1), Some(4), Some(16)] {
                let request = Request {
                    block_size,
                    window_size,
                    wants_size: true,
                    ..plain()
                };
                let run = carry(&request, &content(size), || 1);
                let blocks = size / usize::from(block_size.unwrap_or(512)) + 1;
                assert_eq!(run.outcome, Outcome::Complete { bytes: size as u64 });
                assert_eq!(
                    (run.blocks_sent, run.milliseconds),
                    (blocks, 0),
                    "{request:?}"
                );
            }
        }
    }
}

#[test]
fn block_numbers_go_on_from_zero() {
    let request = Request {
        block_size: Some(8),
        window_size: Some(16),
        ..plain()
    };
    let run = carry(&request, &content(8 * 70_000 + 3), || 1);
    assert_eq!(run.outcome, Outcome::Complete { bytes: 560_003 });
    assert_eq!(run.blocks_sent, 70_001);
}

/// Sorcerer's Apprentice: with every packet doubled, no block is sent more than once.
#[test]
fn repeated_acknowledgements_repeat_nothing() {
    let run = carry(&plain(), &content(512 * 100), || 2);
    assert_eq!(run.outcome, Outcome::Complete { bytes: 51_200 });
    assert_eq!(run.blocks_sent, 101);
}

#[test]
fn options_are_acknowledged_as_they_are_served() {
    let request = Request {
        block_size: Some(9000),
        timeout: Some(2),
        wants_size: true,
        window_size: Some(400),
        ..plain()
    };
    let mut transfer = Transfer::new(&request, 284_672);
    let expected = b"\0\x06blksize\x001468\0timeout\x002\0tsize\x00284672\0windowsize\x0064\0";
    assert_eq!(transfer.poll(0), Output::Send(expected.to_vec()));
    assert_eq!(
        transfer.poll(0),
        Output::Wait(2000),
        "the client's own timer comes first"
    );
    assert_eq!(
        transfer.poll(2000),
        Output::Send(expected.to_vec()),
        "sent again"
    );
    // Data is not sent before the options are acknowledged.
    transfer.handle(&[0, 4, 0, 7], 2600);
    assert_eq!(transfer.poll(2600), Output::Wait(4000));
    transfer.handle(&[0, 4, 0, 0], 2601);
    assert!(matches!(
        transfer.poll(4001),
        Output::SendBlock {
            block: 1,
            offset: 0,
            length: 1468
        }
    ));
}

/// edk2 asks for the size, and breaks off with error 8.
#[test]
fn an_error_of_the_client_ends_the_transfer_at_once() {
    let request = Request {
        wants_size: true,
        ..plain()
    };
    let mut transfer = Transfer::new(&request, 5);
    transfer.poll(0);
    transfer.handle(b"\0\x05\0\x08User aborted the transfer\0", 0);
    let message = "User aborted the transfer".to_owned();
    let aborted = Outcome::Aborted {
        code: 8,
        message,
        bytes: 0,
    };
    assert_eq!(transfer.poll(0), Output::Done(aborted));
}

#[test]
fn a_silent_client_is_given_up() {
    let run = carry(&plain(), &content(10_000), || 0);
    assert_eq!(run.outcome, Outcome::TimedOut { bytes: 0 });
    assert_eq!(run.blocks_sent, 7, "once, and six times again");
    assert_eq!(run.milliseconds, 500 + 1000 + 2000 + 4000 + 3 * 8000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Up to one packet in five is lost and one in five doubled: the file arrives.
    #[test]
    fn a_lossy_link_only_costs_time(
        size in prop_oneof![Just(0), Just(1), Just(512), Just(1468 * 3), 0_usize..40_000],
        window in prop_oneof![Just(None), Just(Some(1)), Just(Some(4)), Just(Some(16))],
        block_size in prop_oneof![Just(None), Just(Some(512)), Just(Some(1468))],
        fates in proptest::collection::vec(0_u8..10, 97),
    ) {
        let request = Request { block_size, window_size: window, ..plain() };
        let mut fates = fates.into_iter().cycle().map(|fate| match fate { 0 | 1 => 0, 2 | 3 => 2, _ => 1 });
        let run = carry(&request, &content(size), || fates.next().unwrap_or(1));
        // A run of unlucky fates may well outlast the server's patience, but then it says so.
        match run.outcome {
            Outcome::Complete { bytes } => prop_assert_eq!(bytes, size as u64),
            Outcome::TimedOut { bytes } => prop_assert!(bytes <= size as u64),
            other => prop_assert!(false, "the client neither breaks off nor hangs up: {other:?}"),
        }
    }

    #[test]
    fn no_bytes_panic(packets: Vec<Vec<u8>>, size in 0_u64..1 << 40) {
        for packet in &packets {
            let _ = Request::decode(packet);
        }
        let request = Request { block_size: Some(1468), window_size: Some(16), ..plain() };
        let mut transfer = Transfer::new(&request, size);
        transfer.handle(&[0, 4, 0, 0], 0);
        for (now, packet) in packets.iter().enumerate() {
            transfer.handle(packet, now as u64 * 500);
            transfer.poll(now as u64 * 500);
        }
    }

    #[test]
    fn no_acknowledgement_panics(blocks: Vec<u16>, size in 0_u64..1 << 40) {
        let mut transfer = Transfer::new(&plain(), size);
        for (now, block) in blocks.iter().enumerate() {
            transfer.poll(now as u64 * 100);
            let [high, low] = block.to_be_bytes();
            transfer.handle(&[0, 4, high, low], now as u64 * 100);
        }
    }
}

#[test]
fn a_spoofed_timeout_keeps_no_transfer_for_half_an_hour() {
    for (asked, granted) in [("0", None), ("8", Some(8)), ("9", None), ("255", None)] {
        let packet = request(&["snponly.efi", "octet", "timeout", asked]);
        assert_eq!(
            Request::decode(&packet).unwrap().timeout,
            granted,
            "{asked}"
        );
    }
}
