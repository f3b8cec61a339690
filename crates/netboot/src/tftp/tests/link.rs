//! A client at the end of a link that loses and repeats packets as it is told.

use std::collections::VecDeque;

use super::super::{Outcome, Output, Request, Transfer, encode_data};

/// A client that takes what it asked for, as RFC 7440 says: it acknowledges at the end of a window, or
/// at a gap, or when it has waited in vain.
struct Client {
    block_size: usize,
    window: usize,
    file: Vec<u8>,
    expected: u16,
    in_window: usize,
    complete: bool,
    expects_options: bool,
}

impl Client {
    fn new(request: &Request) -> Self {
        Self {
            block_size: 512,
            window: 1,
            file: Vec::new(),
            expected: 1,
            in_window: 0,
            complete: false,
            expects_options: request.block_size.is_some()
                || request.wants_size
                || request.window_size.is_some(),
        }
    }

    fn acknowledgement(&mut self) -> Vec<u8> {
        self.in_window = 0;
        let mut packet = vec![0, 4];
        packet.extend(self.expected.wrapping_sub(1).to_be_bytes());
        packet
    }

    fn receive(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match packet {
            [0, 6, options @ ..] => {
                let fields: Vec<&str> = options
                    .split(|byte| *byte == 0)
                    .map(|field| std::str::from_utf8(field).unwrap())
                    .collect();
                for pair in fields.chunks_exact(2) {
                    match pair[0] {
                        "blksize" => self.block_size = pair[1].parse().unwrap(),
                        "windowsize" => self.window = pair[1].parse().unwrap(),
                        _ => {}
                    }
                }
                self.expects_options = false;
                (self.expected == 1).then(|| self.acknowledgement())
            }
            [0, 3, high, low, data @ ..] if !self.expects_options => {
                if u16::from_be_bytes([*high, *low]) != self.expected {
                    // One acknowledgement for a gap, however many blocks follow it.
                    let first = self.in_window != usize::MAX;
                    let packet = self.acknowledgement();
                    self.in_window = usize::MAX;
                    return first.then_some(packet);
                }
                self.file.extend(data);
                self.expected = self.expected.wrapping_add(1);
                self.complete = data.len() < self.block_size;
                self.in_window = match self.in_window {
                    usize::MAX => 1,
                    blocks => blocks + 1,
                };
                (self.complete || self.in_window >= self.window).then(|| self.acknowledgement())
            }
            _ => None,
        }
    }
}

/// What became of a transfer.
#[derive(Debug)]
pub struct Run {
    pub outcome: Outcome,
    pub blocks_sent: usize,
    pub milliseconds: u64,
}

/// Carries `file` over. `fate` says of each packet, in either direction, how often it arrives: 0, 1, 2.
pub fn carry(request: &Request, file: &[u8], mut fate: impl FnMut() -> u8) -> Run {
    let mut transfer = Transfer::new(request, file.len() as u64);
    let mut client = Client::new(request);
    let (mut now, mut blocks_sent) = (0, 0);
    let mut to_server: VecDeque<Vec<u8>> = VecDeque::new();
    let outcome = loop {
        let packet = match transfer.poll(now) {
            Output::Send(packet) => packet,
            Output::SendBlock {
                block,
                offset,
                length,
            } => {
                blocks_sent += 1;
                let offset = offset as usize;
                encode_data(block, &file[offset..offset + length])
            }
            Output::Wait(until) => {
                match to_server.pop_front() {
                    Some(packet) => transfer.handle(&packet, now),
                    None => now = until,
                }
                continue;
            }
            Output::Done(outcome) => break outcome,
        };
        for _ in 0..fate() {
            if let Some(reply) = client.receive(&packet) {
                to_server.extend(std::iter::repeat_n(reply, fate().into()));
            }
        }
    };
    if let Outcome::Complete { .. } = outcome {
        assert!(
            client.complete && client.file == file,
            "what arrived is what was sent"
        );
    }
    Run {
        outcome,
        blocks_sent,
        milliseconds: now,
    }
}
