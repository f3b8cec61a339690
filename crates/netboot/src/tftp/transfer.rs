//! One file on its way to one client.

use hardway_model::lifecycle::Timestamp;

use super::interval::Interval;
use super::packet::{FromClient, Request, encode_option_acknowledgement};

/// What fits into an Ethernet frame: 1500 less IP (20), UDP (8) and TFTP (4). Larger blocks would be
/// fragmented, and few ROMs put fragments together.
const LARGEST_BLOCK: u16 = 1468;
/// Without the option.
const DEFAULT_BLOCK: u16 = 512;
/// Blocks that are sent in one go. A client asks for what its receive ring holds.
const LARGEST_WINDOW: u16 = 64;
/// Milliseconds without any progress after which the client is given up. Firmware does so sooner.
const PATIENCE: u64 = 30_000;
/// A repeated acknowledgement this many milliseconds after the last packet that was sent comes from
/// the client's own timer: it asks for what follows.
const OWN_TIMER: u64 = 50;
/// So many acknowledgements in a row, each of one block more, are a client that acknowledges every
/// block in spite of its window.
const EAGER: u32 = 3;
/// A client that was heard within so many milliseconds has not forgotten the transfer: the request that
/// comes then is a copy from before. Who did forget it asks again.
const REMEMBERED: u64 = 1000;

/// A transfer. Give it what arrives by [`Transfer::handle`], and do what [`Transfer::poll`] says until
/// that is [`Output::Wait`] or [`Output::Done`].
#[derive(Debug, Clone)]
pub struct Transfer {
    size: u64,
    block_size: u16,
    window: u16,
    interval: Interval,
    phase: Phase,
    /// How many blocks the client has, in order.
    acknowledged: u64,
    /// The next block to be sent; blocks count from 1.
    next: u64,
    /// The block after the last that was ever sent.
    beyond: u64,
    /// When a packet was last sent.
    last_sent: Timestamp,
    /// When something is sent again.
    deadline: Option<Timestamp>,
    /// When the client last acknowledged anything.
    heard: Option<Timestamp>,
    /// The last moment of progress; `None` before the first packet was sent.
    progress: Option<Timestamp>,
    repetitions: u32,
    repair: Repair,
}

/// What is remembered so that a repetition repairs a loss and makes no further repetitions.
#[derive(Debug, Clone, Default)]
struct Repair {
    /// Something of this window was sent again though the client may have had it.
    repeated: bool,
    /// A repeated acknowledgement was heeded, or may be the echo of blocks that were sent twice.
    /// Heeding every one of them would double each block from then on (Sorcerer's Apprentice).
    deaf: bool,
    /// Acknowledgements in a row that were inside a window and of one block more.
    single_steps: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// The option acknowledgement is to be acknowledged.
    Options(Vec<u8>),
    Sending,
    Ended(Outcome),
}

/// What a repeated request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedAgain {
    /// It is a late copy: the client is at the transfer, and nothing is to be done.
    Copy,
    /// The client did not hear the first answer.
    Unanswered,
    /// The client has forgotten the transfer, and begins anew.
    Anew,
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
    /// Nobody listens at the client's port any more.
    HungUp {
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
        Self {
            size,
            block_size: block_size.unwrap_or(DEFAULT_BLOCK),
            window: window.unwrap_or(1),
            interval: Interval::new(request.timeout),
            phase: match options.as_slice() {
                [] => Phase::Sending,
                options => Phase::Options(encode_option_acknowledgement(options)),
            },
            acknowledged: 0,
            next: 1,
            beyond: 1,
            last_sent: 0,
            deadline: None,
            heard: None,
            progress: None,
            repetitions: 0,
            repair: Repair::default(),
        }
    }

    /// What it means that the client's request comes again at `now`.
    ///
    /// A client that waits for its first answer repeats its request, and the copy may arrive when the
    /// transfer is on its way, above all from a thousand clients at once. To begin anew for that ends
    /// the transfer: the client acknowledges what the new one has not sent yet.
    pub fn asked_again(&self, now: Timestamp) -> AskedAgain {
        match self.heard {
            None => AskedAgain::Unanswered,
            Some(heard) if now.saturating_sub(heard) < REMEMBERED => AskedAgain::Copy,
            Some(_) => AskedAgain::Anew,
        }
    }

    /// Bytes in each block but the last.
    pub fn block_size(&self) -> u16 {
        self.block_size
    }

    /// Takes a packet that came from the client at `now`.
    pub fn handle(&mut self, packet: &[u8], now: Timestamp) {
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
                self.heard = Some(now);
                self.phase = Phase::Sending;
                self.advance(now);
            }
            (Some(FromClient::Acknowledgement(_)), Phase::Options(_)) => {}
            (Some(FromClient::Acknowledgement(block)), Phase::Sending) => {
                self.heard = Some(now);
                self.acknowledge(block, now);
            }
        }
    }

    /// The network says that nobody listens at the client's port. Some ROMs close it when they have
    /// the last block, and leave that unacknowledged.
    pub fn hang_up(&mut self) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        let bytes = self.bytes_acknowledged();
        self.phase = Phase::Ended(match self.beyond > self.blocks() {
            true => Outcome::Complete { bytes: self.size },
            false => Outcome::HungUp { bytes },
        });
    }

    /// What is to be done at `now`, in milliseconds of any clock that does not run backwards.
    pub fn poll(&mut self, now: Timestamp) -> Output {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.repeat(now);
        }
        match &self.phase {
            Phase::Ended(outcome) => Output::Done(outcome.clone()),
            Phase::Options(packet) => match self.deadline {
                Some(deadline) => Output::Wait(deadline),
                None => {
                    let packet = packet.clone();
                    self.sent(now);
                    self.deadline = Some(now.saturating_add(self.interval.of_options()));
                    Output::Send(packet)
                }
            },
            Phase::Sending if self.next <= self.window_end() => self.send_next(now),
            Phase::Sending => {
                let latest = now.saturating_add(self.interval.current());
                Output::Wait(*self.deadline.get_or_insert(latest))
            }
        }
    }

    /// The block's number is its last 16 bits: files of more than 65535 blocks go on from 0.
    fn acknowledge(&mut self, block: u16, now: Timestamp) {
        let ahead = u64::from(block.wrapping_sub(self.acknowledged as u16));
        let acknowledged = self.acknowledged + ahead;
        if acknowledged >= self.beyond {
            // Of a block from before, delayed.
            return;
        }
        if ahead == 0 {
            return self.acknowledged_again(now);
        }
        self.acknowledged = acknowledged;
        if acknowledged == self.blocks() {
            self.phase = Phase::Ended(Outcome::Complete { bytes: self.size });
            return;
        }
        let inside_window = acknowledged + 1 < self.beyond;
        self.repair.single_steps = match (inside_window, ahead) {
            (true, 1) => self.repair.single_steps + 1,
            (true, 2) => self.repair.single_steps,
            _ => 0,
        };
        self.advance(now);
        if inside_window && self.repair.single_steps < EAGER {
            // RFC 7440 section 4: a block is missing, and the client kept nothing that followed it.
            self.next = acknowledged + 1;
        } else {
            self.next = self.next.max(acknowledged + 1);
        }
    }

    /// The client repeats its last acknowledgement: the first block of a window was lost, or its own
    /// timer ran out, or it echoes a block that it got twice.
    fn acknowledged_again(&mut self, now: Timestamp) {
        let of_its_timer = now.saturating_sub(self.last_sent) >= OWN_TIMER;
        let of_a_gap = self.window > 1 && !self.repair.deaf;
        if of_its_timer || of_a_gap {
            self.repair.deaf = true;
            self.rewind();
        }
    }

    fn send_next(&mut self, now: Timestamp) -> Output {
        let block = self.next;
        self.next += 1;
        self.beyond = self.beyond.max(self.next);
        self.sent(now);
        let offset = (block - 1) * u64::from(self.block_size);
        let length = (self.size - offset).min(u64::from(self.block_size));
        Output::SendBlock {
            block: block as u16,
            offset,
            // At most LARGEST_BLOCK.
            length: length as usize,
        }
    }

    fn sent(&mut self, now: Timestamp) {
        self.last_sent = now;
        self.progress.get_or_insert(now);
        self.interval.sent(now);
    }

    /// Nothing was heard for an interval.
    fn repeat(&mut self, now: Timestamp) {
        let since = self.progress.unwrap_or(now);
        if now.saturating_sub(since) >= PATIENCE {
            let bytes = self.bytes_acknowledged();
            self.phase = Phase::Ended(Outcome::TimedOut { bytes });
            return;
        }
        self.repetitions += 1;
        self.interval.lengthen();
        self.rewind();
        if self.repetitions == 1 && self.window > 1 {
            // The window's last block makes the client say what it lacks, if it lacks anything: its
            // acknowledgement may be all that was lost.
            self.next = self.next.max(self.beyond - 1);
        }
    }

    fn advance(&mut self, now: Timestamp) {
        self.interval.answered(now);
        self.progress = Some(now);
        self.repetitions = 0;
        self.deadline = None;
        self.repair.deaf = self.repair.repeated;
        self.repair.repeated = false;
    }

    /// Everything that is not acknowledged is to be sent again.
    fn rewind(&mut self) {
        self.repair.repeated = true;
        self.interval.repeated();
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
