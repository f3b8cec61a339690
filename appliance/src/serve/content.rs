//! A file as it is served: pieces of files and of memory, one after another.
//!
//! What is made for one machine (a unified kernel image, a GRUB script) is never written down: it is
//! composed of the payload's files and a few bytes, and served like a file by TFTP and HTTP.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Bytes;

/// Something to be served, of a known size.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pieces: Vec<Piece>,
    size: u64,
}

/// A part of a [`Content`].
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file.
    File {
        /// The file, open for reading.
        file: Arc<File>,
        /// Where the part begins, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        length: u64,
    },
}

impl Piece {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

impl Content {
    /// A whole file.
    pub fn file(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self::of(vec![Piece::File {
            file: Arc::new(file),
            offset: 0,
            length,
        }]))
    }

    /// Pieces, one after another.
    pub fn of(pieces: Vec<Piece>) -> Self {
        let size = pieces.iter().map(Piece::length).sum();
        Self { pieces, size }
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What of each piece lies in `range` of the whole, in order; within the piece.
    pub fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (&Piece, Range<u64>)> {
        let mut start = 0;
        self.pieces.iter().filter_map(move |piece| {
            let length = piece.length();
            let first = range.start.saturating_sub(start).min(length);
            let end = range.end.saturating_sub(start).min(length);
            start += length;
            (first < end).then_some((piece, first..end))
        })
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// A file that has become shorter, or `offset` and `buffer` beyond the end: `UnexpectedEof`.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        for piece in &self.pieces {
            let length = piece.length();
            if offset >= length {
                offset -= length;
                continue;
            }
            // At most the buffer's length.
            let taken = (length - offset).min(buffer.len() as u64) as usize;
            let (part, rest) = buffer.split_at_mut(taken);
            match piece {
                Piece::Bytes(bytes) => part.copy_from_slice(&bytes[offset as usize..][..taken]),
                Piece::File {
                    file,
                    offset: start,
                    ..
                } => file.read_exact_at(part, start + offset)?,
            }
            buffer = rest;
            offset = 0;
            if buffer.is_empty() {
                return Ok(());
            }
        }
        match buffer.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pieces_are_read_as_one() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let content = Content::of(vec![
            Piece::Bytes(Bytes::from_static(b"abc")),
            Piece::File {
                file: Arc::new(file),
                offset: 2,
                length: 4,
            },
            Piece::Bytes(Bytes::from_static(b"xyz")),
        ]);
        assert_eq!(content.size(), 10);
        let whole = b"abc2345xyz";
        for start in 0..=10 {
            for end in start..=10 {
                let mut buffer = vec![0; end - start];
                content.read_exact_at(&mut buffer, start as u64).unwrap();
                assert_eq!(buffer, whole[start..end]);
            }
        }
        let parts: Vec<_> = content.parts(1..8).map(|(_, part)| part).collect();
        assert_eq!(parts, [1..3, 0..4, 0..1]);
        assert_eq!(content.parts(7..7).count(), 0);
        let beyond = content.read_exact_at(&mut [0; 2], 9).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }
}
