//! Reading a file by TFTP (RFC 1350) with the option blksize (RFC 2347, RFC 2348), as a state machine:
//! datagrams in, datagrams out, time is an argument.

mod download;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use download::Download;

const READ: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGEMENT: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// Bytes in a block, unless the server takes another size.
const PLAIN_BLOCK: usize = 512;
/// Asked for: a datagram of it fits an Ethernet frame, with some room for tunnels.
const WANTED_BLOCK: usize = 1428;
/// How long to wait for an answer before the last datagram is sent again.
const REPEAT: Duration = Duration::from_secs(2);
/// How often a datagram is sent before the server counts as gone: half a minute in all.
const ATTEMPTS: u32 = 15;

/// A transfer.
#[derive(Debug)]
pub(crate) struct Client {
    /// What was sent last, for sending it again.
    last: Vec<u8>,
    attempts: u32,
    block_size: usize,
    /// The block that comes next. Numbers begin again at 0 after 65535.
    expected: u16,
    begun: bool,
    state: State,
    received: VecDeque<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Receiving,
    Complete,
    Failed(Failure),
}

/// Why a transfer ends without the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server's error packet.
    Refused { code: u16, message: String },
    /// Nothing was heard for too long.
    Silence,
    /// The server grants what was not asked for.
    Options,
}

impl Client {
    /// A transfer of `file` in mode octet. The first datagram to send is [`Client::datagram`].
    pub(crate) fn new(file: &[u8]) -> Self {
        let mut request = READ.to_be_bytes().to_vec();
        let size = WANTED_BLOCK.to_string();
        for field in [file, b"octet", b"blksize", size.as_bytes()] {
            request.extend(field.iter().filter(|byte| **byte != 0));
            request.push(0);
        }
        Self {
            last: request,
            attempts: 1,
            block_size: PLAIN_BLOCK,
            expected: 1,
            begun: false,
            state: State::Receiving,
            received: VecDeque::new(),
        }
    }

    /// The last datagram: to be sent after every event that asks for it.
    pub(crate) fn datagram(&self) -> &[u8] {
        &self.last
    }

    /// How long to wait for the server.
    pub(crate) fn patience(&self) -> Duration {
        REPEAT
    }

    /// Takes a datagram from the server. Says whether [`Client::datagram`] is to be sent.
    pub(crate) fn handle(&mut self, datagram: &[u8]) -> bool {
        let Some((opcode, rest)) = split_u16(datagram) else {
            return false;
        };
        match (opcode, split_u16(rest)) {
            (OPTIONS, _) if !self.begun => self.take_options(rest),
            (DATA, Some((block, data))) => self.take_block(block, data),
            (ERROR, Some((code, text))) if self.state == State::Receiving => {
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                self.state = State::Failed(Failure::Refused {
                    code,
                    message: text.escape_debug().take(128).collect(),
                });
                false
            }
            _ => false,
        }
    }

    /// Nothing came within [`Client::patience`]. Says whether
    /// [`Client::datagram`] is to be sent again.
    pub(crate) fn handle_silence(&mut self) -> bool {
        if self.state != State::Receiving {
            return false;
        }
        if self.attempts >= ATTEMPTS {
            self.state = State::Failed(Failure::Silence);
            return false;
        }
        self.attempts += 1;
        true
    }

    /// Takes received bytes out.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.received.len());
        for (place, byte) in buffer.iter_mut().zip(self.received.drain(..count)) {
            *place = byte;
        }
        count
    }

    /// How it ended; `None` while it goes on.
    pub(crate) fn outcome(&self) -> Option<Result<(), Failure>> {
        match &self.state {
            State::Receiving => None,
            State::Complete => Some(Ok(())),
            State::Failed(failure) => Some(Err(failure.clone())),
        }
    }

    fn take_options(&mut self, fields: &[u8]) -> bool {
        let mut fields = fields.split(|byte| *byte == 0);
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let size = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse().ok())
                .filter(|size| (8..=WANTED_BLOCK).contains(size));
            match size {
                Some(size) if name.eq_ignore_ascii_case(b"blksize") => self.block_size = size,
                _ => {
                    self.state = State::Failed(Failure::Options);
                    // RFC 2347: option negotiation failed.
                    self.last = [&[0, ERROR as u8, 0, 8][..], b"unknown option\0"].concat();
                    return true;
                }
            }
        }
        self.acknowledge(0);
        true
    }

    fn take_block(&mut self, block: u16, data: &[u8]) -> bool {
        // A repeated block says that its acknowledgement was lost. The timer repeats that: answering
        // every repeated block would double each datagram from then on (RFC 1123, section 4.2.3.1).
        let is_next = block == self.expected && data.len() <= self.block_size;
        if !is_next || self.state != State::Receiving {
            return false;
        }
        self.received.extend(data);
        self.acknowledge(block);
        self.expected = block.wrapping_add(1);
        if data.len() < self.block_size {
            self.state = State::Complete;
        }
        true
    }

    fn acknowledge(&mut self, block: u16) {
        self.begun = true;
        self.attempts = 1;
        self.last = [ACKNOWLEDGEMENT.to_be_bytes(), block.to_be_bytes()].concat();
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests;
