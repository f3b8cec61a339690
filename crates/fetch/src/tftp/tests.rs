//! The transfer against the appliance's own server, over a link that loses and repeats datagrams.

use hardway_netboot::tftp::{Output, Request, Transfer, encode_data};
use proptest::prelude::*;

use super::*;

/// Carries `file` over. `fates` says of one datagram after the other how often it arrives; what comes
/// after them arrives once.
fn carry(file: &[u8], fates: &[u8], server_takes_options: bool) -> Result<Vec<u8>, Failure> {
    let mut fates = fates.iter().copied();
    let mut fate = move || fates.next().unwrap_or(1);
    let mut client = Client::new(b"/config");
    let mut request = Request::decode(client.datagram()).expect("the server takes the request");
    if !server_takes_options {
        request.block_size = None;
    }
    let mut server = Transfer::new(&request, file.len() as u64);
    let (mut now, mut received) = (0, Vec::new());
    while client.outcome().is_none() {
        let mut answers = 0;
        match server.poll(now) {
            Output::Wait(until) => {
                now = until;
                answers = client.handle_silence().into();
            }
            Output::Done(_) => answers = client.handle_silence().into(),
            output => {
                let datagram = match output {
                    Output::SendBlock {
                        block,
                        offset,
                        length,
                    } => encode_data(block, &file[offset as usize..][..length]),
                    Output::Send(packet) => packet,
                    other => panic!("{other:?}"),
                };
                for _ in 0..fate() {
                    answers += u8::from(client.handle(&datagram));
                }
            }
        }
        for _ in 0..answers {
            for _ in 0..fate() {
                server.handle(client.datagram(), now);
            }
        }
        let mut buffer = [0; 4096];
        let count = client.read(&mut buffer);
        received.extend(&buffer[..count]);
    }
    client.outcome().map_or(Ok(()), |outcome| outcome)?;
    Ok(received)
}

#[test]
fn a_file_of_any_length_arrives() {
    for length in [0, 1, 511, 512, 513, 1427, 1428, 1429, 100_000] {
        let file: Vec<u8> = (0..length).map(|index| index as u8).collect();
        for server_takes_options in [true, false] {
            let received = carry(&file, &[], server_takes_options);
            assert_eq!(received.as_deref(), Ok(&file[..]), "{length} bytes");
        }
    }
}

#[test]
fn block_numbers_begin_again() {
    let file = vec![7; 70_000 * PLAIN_BLOCK];
    let received = carry(&file, &[], false).expect("whole");
    assert_eq!(received.len(), file.len());
}

#[test]
fn silence_ends_it() {
    let mut client = Client::new(b"x");
    let repetitions = (0..100).take_while(|_| client.handle_silence()).count();
    assert_eq!(repetitions as u32, ATTEMPTS - 1);
    assert_eq!(client.outcome(), Some(Err(Failure::Silence)));
}

#[test]
fn an_error_packet_ends_it() {
    let mut client = Client::new(b"x");
    assert!(!client.handle(b"\0\x05\0\x01no such\nfile\0rest"));
    let message = "no such\\nfile".to_owned();
    let refused = Failure::Refused { code: 1, message };
    assert_eq!(client.outcome(), Some(Err(refused)));
}

#[test]
fn options_that_were_not_asked_for_end_it() {
    for options in ["blksize,9999,", "blksize,x,", "windowsize,4,"] {
        let mut client = Client::new(b"x");
        let fields = options.replace(',', "\0");
        assert!(client.handle(&[b"\0\x06", fields.as_bytes()].concat()));
        assert_eq!(client.outcome(), Some(Err(Failure::Options)), "{options:?}");
        assert_eq!(client.datagram()[..4], [0, 5, 0, 8]);
    }
}

proptest! {
    #[test]
    fn what_arrives_is_what_was_sent(
        file in proptest::collection::vec(any::<u8>(), 0..5000),
        fates in proptest::collection::vec(0..=2u8, 0..60),
        server_takes_options: bool,
    ) {
        match carry(&file, &fates, server_takes_options) {
            Ok(received) => prop_assert_eq!(received, file),
            Err(failure) => prop_assert_eq!(failure, Failure::Silence),
        }
    }

    #[test]
    fn no_datagram_panics(datagrams: Vec<Vec<u8>>, opcode in 0..8u8) {
        let mut client = Client::new(b"x");
        for datagram in datagrams {
            client.handle(&datagram);
            client.handle(&[&[0, opcode][..], &datagram].concat());
        }
    }
}
