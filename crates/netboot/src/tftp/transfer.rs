//! One file on its way to one client.

use hardway_model::lifecycle::Timestamp;

use super::packet::{FromClient, Request, encode_option_acknowledgement};

/// What fits into an Ethernet frame: 1500 less IP (20), UDP (8) and TFTP (4). Larger blocks would be
/// fragmented, and few ROMs put fragments together.
const LARGEST_BLOCK: u16 = 1468;
/// Without the option.
const DEFAULT_BLOCK: u16 = 512;
/// Blocks that are sent in one go; what a ROM's receive ring holds.
const LARGEST_WINDOW: u16 = 16;
/// Milliseconds until the first repetition; it doubles with each further one.
const FIRST_INTERVAL: u64 = 1000;
/// The longest interval, in milliseconds.
const LONGEST_INTERVAL: u64 = 8000;
/// Repetitions without any progress before the client is given up.
const REPETITIONS: u32 = 8;

/// A transfer. Give it what arrives by [`Transfer::handle`], and do what [`Transfer::poll`] says until
/// that is [`Output::Wait`] or [`Output::Done`].
#[derive(Debug, Clone)]
pub struct Transfer {
    size: u64,
    block_size: u16,
    window: u16,
    first_interval: u64,
    phase: Phase,
    /// How many blocks the client has, in order.
    acknowledged: u64,
    /// The next block to be sent; blocks count from 1.
    next: u64,
    /// When everything that is not acknowledged is sent again.
    deadline: Option<Timestamp>,
    interval: u64,
    repetitions: u32,
    /// Whether a repeated acknowledgement may still send the window again. Once between two of
    /// progress: a duplicate that duplicates the rest would never end (Sorcerer's Apprentice).
    may_rewind: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// The option acknowledgement is to be acknowledged.
    Options(Vec<u8>),
    Sending,
    Ended(Outcome),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send these bytes of the file as [`super::encode_data`].
    SendBlock {
        /// The block's number.
        block: u16,
        /// Where it begins in the file, in bytes.
        offset: u64,
        /// How many bytes it has; the last block is shorter than the others, perhaps empty.
        length: usize,
    },
    /// Wait for a packet until this moment.
    Wait(Timestamp),
    /// The transfer has ended.
    Done(Outcome),
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The client has the whole file.
    Complete {
        /// Its size in bytes.
        bytes: u64,
    },
    /// The client ended it. With nothing transferred that is the normal way to learn the size.
    Aborted {
        /// The client's error code.
        code: u16,
        /// The client's message, escaped.
        message: String,
        /// Bytes that it has.
        bytes: u64,
    },
    /// The client fell silent.
    TimedOut {
        /// Bytes that it has.
        bytes: u64,
    },
}

impl Transfer {
    /// Begins to answer `request` with a file of `size` bytes.
    pub fn new(request: &Request, size: u64) -> Self {
        let block_size = request.block_size.map(|size| size.min(LARGEST_BLOCK));
        let window = request.window_size.map(|blocks| blocks.min(LARGEST_WINDOW));
        let mut options = Vec::new();
        options.extend(block_size.map(|size| ("blksize", u64::from(size))));
        options.extend(
            request
                .timeout
                .map(|seconds| ("timeout", u64::from(seconds))),
        );
        options.extend(request.wants_size.then_some(("tsize", size)));
        options.extend(window.map(|blocks| ("windowsize", u64::from(blocks))));
        let first_interval = request
            .timeout
            .map_or(FIRST_INTERVAL, |seconds| u64::from(seconds) * 1000);
        Self {
            size,
            block_size: block_size.unwrap_or(DEFAULT_BLOCK),
            window: window.unwrap_or(1),
            first_interval,
            phase: match options.as_slice() {
                [] => Phase::Sending,
                options => Phase::Options(encode_option_acknowledgement(options)),
            },
            acknowledged: 0,
            next: 1,
            deadline: None,
            interval: first_interval,
            repetitions: 0,
            may_rewind: true,
        }
    }

    /// Takes a packet from the client.
    pub fn handle(&mut self, packet: &[u8]) {
        match (FromClient::decode(packet), &self.phase) {
            (None, _) | (_, Phase::Ended(_)) => {}
            (Some(FromClient::Error { code, message }), _) => {
                let bytes = self.bytes_acknowledged();
                self.phase = Phase::Ended(Outcome::Aborted {
                    code,
                    message,
                    bytes,
                });
            }
            (Some(FromClient::Acknowledgement(0)), Phase::Options(_)) => {
                self.phase = Phase::Sending;
                self.progress();
            }
            (Some(FromClient::Acknowledgement(_)), Phase::Options(_)) => {}
            (Some(FromClient::Acknowledgement(block)), Phase::Sending) => self.acknowledge(block),
        }
    }

    /// What is to be done at `now`, in milliseconds of any clock that does not run backwards.
    pub fn poll(&mut self, now: Timestamp) -> Output {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.repeat();
        }
        match &self.phase {
            Phase::Ended(outcome) => Output::Done(outcome.clone()),
            Phase::Options(packet) => match self.deadline {
                Some(deadline) => Output::Wait(deadline),
                None => {
                    self.deadline = Some(now.saturating_add(self.interval));
                    Output::Send(packet.clone())
                }
            },
            Phase::Sending if self.next <= self.window_end() => self.send_next(),
            Phase::Sending => {
                let latest = now.saturating_add(self.interval);
                Output::Wait(*self.deadline.get_or_insert(latest))
            }
        }
    }

    /// The block's number is its last 16 bits: files of more than 65535 blocks go on from 0.
    fn acknowledge(&mut self, block: u16) {
        let ahead = u64::from(block.wrapping_sub(self.acknowledged as u16));
        let acknowledged = self.acknowledged + ahead;
        if acknowledged >= self.next {
            // Of a block from before, delayed.
            return;
        }
        if ahead == 0 {
            // With a window of one, a repeated acknowledgement is left to the timer.
            if self.window > 1 && self.may_rewind {
                self.may_rewind = false;
                self.rewind();
            }
            return;
        }
        self.acknowledged = acknowledged;
        self.progress();
        // RFC 7440 section 4: whatever of the window the client did not acknowledge is lost to it.
        self.rewind();
        if acknowledged == self.blocks() {
            self.phase = Phase::Ended(Outcome::Complete { bytes: self.size });
        }
    }

    fn send_next(&mut self) -> Output {
        let block = self.next;
        self.next += 1;
        let offset = (block - 1) * u64::from(self.block_size);
        let length = (self.size - offset).min(u64::from(self.block_size));
        Output::SendBlock {
            block: block as u16,
            offset,
            // At most LARGEST_BLOCK.
            length: length as usize,
        }
    }

    fn repeat(&mut self) {
        self.repetitions += 1;
        self.interval = (self.interval * 2).min(LONGEST_INTERVAL.max(self.first_interval));
        self.rewind();
        if self.repetitions > REPETITIONS {
            let bytes = self.bytes_acknowledged();
            self.phase = Phase::Ended(Outcome::TimedOut { bytes });
        }
    }

    fn progress(&mut self) {
        self.repetitions = 0;
        self.interval = self.first_interval;
        self.may_rewind = true;
        self.deadline = None;
    }

    fn rewind(&mut self) {
        self.next = self.acknowledged + 1;
        self.deadline = None;
    }

    fn window_end(&self) -> u64 {
        (self.acknowledged + u64::from(self.window)).min(self.blocks())
    }

    /// A file whose size is a multiple of the block size ends with an empty block.
    fn blocks(&self) -> u64 {
        self.size / u64::from(self.block_size) + 1
    }

    fn bytes_acknowledged(&self) -> u64 {
        (self.acknowledged * u64::from(self.block_size)).min(self.size)
    }
}
