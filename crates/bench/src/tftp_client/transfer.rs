//! What a TFTP client knows of its transfer, without a socket.

use super::{Options, TftpError};

const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// What ends a transfer at once, on the server's side too.
pub const BREAK_OFF: [u8; 5] = [0, 5, 0, 0, 0];

/// One file on its way.
#[derive(Debug, Clone)]
pub struct Transfer {
    options: Options,
    /// The next block's number; numbers start over after 65,535.
    expected: u16,
    in_window: u16,
    /// Bytes that came.
    pub bytes: u64,
}

/// What one datagram means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// It is to be acknowledged.
    pub acknowledge: bool,
    /// The file is whole.
    pub complete: bool,
}

const NOTHING: Step = Step {
    acknowledge: false,
    complete: false,
};
const ACKNOWLEDGE: Step = Step {
    acknowledge: true,
    complete: false,
};

impl Transfer {
    /// Nothing has come yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            expected: 1,
            in_window: 0,
            bytes: 0,
        }
    }

    /// Takes a datagram of so many bytes, of which the first are in `head`.
    pub fn handle(&mut self, head: &[u8], length: usize) -> Result<Step, TftpError> {
        let [kind, number] = match *head {
            [a, b, c, d, ..] => [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])],
            _ => return Err(TftpError::Garbled),
        };
        match kind {
            DATA if number == self.expected => {
                let data = length - 4;
                self.bytes += data as u64;
                self.expected = self.expected.wrapping_add(1);
                self.in_window += 1;
                let complete = data < self.options.block;
                Ok(Step {
                    acknowledge: complete || self.in_window == self.options.window,
                    complete,
                })
            }
            // A gap: the server goes on after the last block that came in order (RFC 7440 section 4).
            // A block that came before is not answered (RFC 1123 section 4.2.3.1).
            DATA => {
                let ahead = number.wrapping_sub(self.expected) < 1 << 15;
                Ok(match ahead && self.in_window > 0 {
                    true => ACKNOWLEDGE,
                    false => NOTHING,
                })
            }
            OACK => {
                let said = String::from_utf8_lossy(&head[2..]).to_ascii_lowercase();
                if self.options.window > 1 && !said.contains("windowsize\0") {
                    return Err(TftpError::Unsupported("windowsize"));
                }
                if self.options.block != 512 && !said.contains("blksize\0") {
                    return Err(TftpError::Unsupported("blksize"));
                }
                Ok(ACKNOWLEDGE)
            }
            ERROR => {
                let message = String::from_utf8_lossy(&head[4..]);
                let message = message.trim_end_matches('\0').to_owned();
                Err(TftpError::Refused(number, message))
            }
            _ => Err(TftpError::Garbled),
        }
    }

    /// Acknowledges the last block that came in order; block 0 accepts the options.
    pub fn acknowledgement(&mut self) -> [u8; 4] {
        self.in_window = 0;
        let [high, low] = self.expected.wrapping_sub(1).to_be_bytes();
        let [first, second] = ACK.to_be_bytes();
        [first, second, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(number: u16) -> [u8; 4] {
        let [high, low] = number.to_be_bytes();
        [0, 3, high, low]
    }

    #[test]
    fn a_window_is_acknowledged_at_its_end_at_a_gap_and_at_the_last_block() {
        let options = Options {
            block: 512,
            window: 3,
        };
        let mut transfer = Transfer::new(options);
        let mut take = |number, length| {
            let step = transfer.handle(&data(number), length).unwrap();
            let answer = step.acknowledge.then(|| transfer.acknowledgement()[3]);
            (answer, step.complete)
        };
        assert_eq!(take(1, 516), (None, false));
        assert_eq!(take(2, 516), (None, false));
        assert_eq!(take(3, 516), (Some(3), false), "the window's end");
        assert_eq!(take(3, 516), (None, false), "a copy");
        assert_eq!(take(4, 516), (None, false));
        assert_eq!(take(6, 516), (Some(4), false), "a gap");
        assert_eq!(take(5, 4), (Some(5), true), "the last, empty");
        assert_eq!(transfer.bytes, 4 * 512);
    }
}
