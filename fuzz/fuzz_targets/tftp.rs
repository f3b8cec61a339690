//! Any bytes as a request, and any packets and pauses in the transfer that follows: no panic; no file
//! name leads out of its folder; every block lies in the file and is as long as it has to be; a
//! transfer whose client is silent ends; and one that is said to be complete was sent whole.

#![no_main]

use arbitrary::Arbitrary;
use hardway_netboot::tftp::{Outcome, Output, Request, Transfer};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    request: Vec<u8>,
    options: Option<Options>,
    size: u32,
    moves: Vec<Move>,
}

/// A request that is one, more often than by chance.
#[derive(Debug, Arbitrary)]
struct Options {
    block_size: Option<u16>,
    window_size: Option<u16>,
    timeout: Option<u8>,
    wants_size: bool,
}

#[derive(Debug, Arbitrary)]
enum Move {
    /// The client acknowledges the block so far before the last one that was sent.
    Acknowledge(u8),
    /// Some other packet.
    Packet(Vec<u8>),
    /// So many milliseconds go by.
    Wait(u16),
    /// Nobody listens any more.
    HangUp,
}

/// What the test has seen of a transfer.
struct Watched {
    transfer: Transfer,
    size: u64,
    now: u64,
    last: u16,
    /// One past the last byte that was sent.
    sent: u64,
    ended: bool,
}

fuzz_target!(|input: Input| {
    let request = match &input.options {
        None => input.request.clone(),
        Some(options) => encode(options),
    };
    let Ok(request) = Request::decode(&request) else {
        return;
    };
    let is_inside = |part: &str| !part.is_empty() && !part.starts_with('.');
    assert!(request.file.split('/').all(is_inside), "{}", request.file);

    let size = u64::from(input.size % (1 << 22));
    let mut watched = Watched {
        transfer: Transfer::new(&request, size),
        size,
        now: 1000,
        last: 0,
        sent: 0,
        ended: false,
    };
    watched.drain();
    for action in input.moves.iter().take(200) {
        watched.act(action);
        watched.drain();
    }
    // From here on the client is silent.
    for _ in 0..1000 {
        if watched.ended {
            return;
        }
        watched.now += 60_000;
        watched.drain();
    }
    panic!("the transfer does not end");
});

impl Watched {
    fn act(&mut self, action: &Move) {
        match action {
            Move::Acknowledge(back) => {
                let block = self.last.wrapping_sub(u16::from(*back));
                let [high, low] = block.to_be_bytes();
                self.transfer.handle(&[0, 4, high, low], self.now);
            }
            Move::Packet(bytes) => self.transfer.handle(bytes, self.now),
            Move::Wait(milliseconds) => self.now += u64::from(*milliseconds),
            Move::HangUp => self.transfer.hang_up(),
        }
    }

    fn drain(&mut self) {
        // A window is at most 65535 blocks, and the engine allows itself fewer.
        for _ in 0..70_000 {
            match self.transfer.poll(self.now) {
                Output::Send(bytes) => assert!(bytes.len() <= 512),
                Output::SendBlock {
                    block,
                    offset,
                    length,
                } => self.sent_block(block, offset, length),
                Output::Wait(until) => {
                    assert!(until > self.now, "waiting for the past");
                    return;
                }
                Output::Done(outcome) => {
                    if let Outcome::Complete { bytes } = outcome {
                        assert_eq!((bytes, self.sent), (self.size, self.size));
                    }
                    self.ended = true;
                    return;
                }
            }
        }
        panic!("it sends without end");
    }

    fn sent_block(&mut self, block: u16, offset: u64, length: usize) {
        let block_size = u64::from(self.transfer.block_size());
        let end = offset + length as u64;
        assert!(end <= self.size, "beyond the file");
        assert_eq!(offset % block_size, 0);
        assert_eq!((offset / block_size + 1) as u16, block);
        let left = self.size - offset;
        assert_eq!(length as u64, left.min(block_size));
        self.sent = self.sent.max(end);
        self.last = block;
    }
}

fn encode(options: &Options) -> Vec<u8> {
    let mut bytes = b"\0\x01ipxe.efi\0octet\0".to_vec();
    let mut push = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
    };
    push("blksize", options.block_size.map(u64::from));
    push("windowsize", options.window_size.map(u64::from));
    push("timeout", options.timeout.map(u64::from));
    push("tsize", options.wants_size.then_some(0));
    bytes
}
