//! What follows the head of an answer, and where it ends (RFC 9112, sections 6 and 7).

use std::io::{self, Read};

/// The longest line between two chunks; what servers add to sizes is short.
const LONGEST_LINE: usize = 4096;
/// Fields behind the last chunk.
const LONGEST_TRAILER: usize = 64;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// At the chunk of size 0.
    Chunked,
    /// Where the server closes the connection.
    UntilClose,
}

/// Reads a body from what comes over the wire.
pub(crate) struct Framed<R> {
    wire: R,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes that are left, of the body or of the chunk.
    Counted {
        left: u64,
        chunked: bool,
    },
    /// A chunk's size comes next; behind the first chunk, after a line end.
    Size {
        first: bool,
    },
    UntilClose,
    End,
}

impl<R: Read> Framed<R> {
    pub(crate) fn new(wire: R, framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(left) => State::Counted {
                left,
                chunked: false,
            },
            Framing::Chunked => State::Size { first: true },
            Framing::UntilClose => State::UntilClose,
        };
        Self { wire, state }
    }

    fn read_counted(&mut self, buffer: &mut [u8], left: u64, chunked: bool) -> io::Result<usize> {
        let longest = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.wire.read(&mut buffer[..longest])?;
        if count == 0 && longest > 0 {
            return Err(broken("the connection ends before the body does"));
        }
        let left = left - count as u64;
        self.state = State::Counted { left, chunked };
        Ok(count)
    }

    /// Reads the line with the next chunk's size; behind the last one, the trailer.
    fn next_chunk(&mut self, first: bool) -> io::Result<()> {
        if !first && !self.line()?.is_empty() {
            return Err(broken("a chunk is longer than it says"));
        }
        let line = self.line()?;
        // Extensions follow a semicolon.
        let digits = line.split(';').next().unwrap_or_default().trim();
        let is_size = !digits.is_empty()
            && digits.len() <= 16
            && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let left = u64::from_str_radix(digits, 16).ok().filter(|_| is_size);
        let left = left.ok_or_else(|| broken("a chunk has no size"))?;
        self.state = State::Counted {
            left,
            chunked: true,
        };
        if left == 0 {
            for _ in 0..LONGEST_TRAILER {
                if self.line()?.is_empty() {
                    self.state = State::End;
                    return Ok(());
                }
            }
            return Err(broken("the body's trailer does not end"));
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < LONGEST_LINE {
            if self.wire.read(&mut byte)? == 0 {
                return Err(broken("the connection ends before the body does"));
            }
            match byte[0] {
                b'\n' => {
                    line.pop_if(|last| *last == b'\r');
                    return Ok(String::from_utf8_lossy(&line).into_owned());
                }
                byte => line.push(byte),
            }
        }
        Err(broken("a line between chunks is too long"))
    }
}

impl<R: Read> Read for Framed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Counted {
                    left: 0,
                    chunked: true,
                } => self.state = State::Size { first: false },
                State::Counted {
                    left: 0,
                    chunked: false,
                } => self.state = State::End,
                State::Counted { left, chunked } => {
                    return self.read_counted(buffer, left, chunked);
                }
                State::Size { first } => self.next_chunk(first)?,
                State::UntilClose => return self.wire.read(buffer),
                State::End => return Ok(0),
            }
        }
    }
}

fn broken(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(wire: &[u8], framing: Framing) -> Result<String, String> {
        let mut text = String::new();
        let mut framed = Framed::new(wire, framing);
        match framed.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_body_ends_where_it_says() {
        let short = Err("the connection ends before the body does".to_owned());
        for (wire, framing, expected) in [
            ("abcdef", Framing::Length(3), Ok("abc".to_owned())),
            ("ab", Framing::Length(3), short.clone()),
            ("", Framing::Length(0), Ok(String::new())),
            ("abc", Framing::UntilClose, Ok("abc".to_owned())),
            (
                "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nmore",
                Framing::Chunked,
                Ok("abc0123456789".to_owned()),
            ),
            ("0\r\n\r\n", Framing::Chunked, Ok(String::new())),
            ("3\r\nabc", Framing::Chunked, short.clone()),
            ("3\r\nabc\r\n0\r\n", Framing::Chunked, short),
            (
                "3\r\nabcd\r\n0\r\n\r\n",
                Framing::Chunked,
                Err("a chunk is longer than it says".to_owned()),
            ),
            (
                "\r\n",
                Framing::Chunked,
                Err("a chunk has no size".to_owned()),
            ),
            (
                "+3\r\nabc\r\n",
                Framing::Chunked,
                Err("a chunk has no size".to_owned()),
            ),
        ] {
            assert_eq!(read(wire.as_bytes(), framing), expected, "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_come_together_again(chunks: Vec<Vec<u8>>) {
            let mut wire = Vec::new();
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            let mut whole = Vec::new();
            Framed::new(&wire[..], Framing::Chunked).read_to_end(&mut whole).expect("whole");
            prop_assert_eq!(whole, chunks.concat());
        }

        #[test]
        fn no_bytes_panic(wire: Vec<u8>) {
            let mut rest = Vec::new();
            let _ = Framed::new(&wire[..], Framing::Chunked).read_to_end(&mut rest);
        }
    }
}
