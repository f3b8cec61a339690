//! Which chunks an image has.
//!
//! Encoding, all numbers little-endian: the 8 bytes of [`MAGIC`]; the length of the head as u32; the
//! head as JSON; for every chunk in order its stored length as u32 and the SHA-256 of its content. The
//! data are the stored chunks one after another, in a file of their own.

use std::ops::Range;

use hardway_model::identity::Sha256;
use serde::{Deserialize, Serialize};

use crate::CHUNK;
use crate::chunk::Chunk;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"HWIMAGE1";
/// Bytes of one chunk's entry.
const ENTRY: usize = 4 + 32;
/// The largest head that is read, in bytes.
const LARGEST_HEAD: usize = 4096;

/// The index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// SHA-256 of the file that was imported, as it was packed.
    image: Sha256,
    /// Bytes of the disk's content.
    size: u64,
    chunks: Vec<Chunk>,
    /// Where each chunk begins in the data, and at last their end.
    places: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    image: Sha256,
    size: u64,
    chunk: u64,
}

/// Why bytes are no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another file, or a newer version.
    #[error("it is no index of an image that this version knows")]
    Unknown,
    /// It ends too early, or goes on too long.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// Bytes that there are.
        found: usize,
        /// Bytes that the head asks for.
        expected: u64,
    },
    /// The head is damaged.
    #[error("its head is damaged")]
    Head(#[source] serde_json::Error),
    /// A chunk is stored in more bytes than its content has.
    #[error("chunk {0} is stored in more bytes than it has")]
    Chunk(usize),
}

impl Index {
    /// Of the chunks of an image's content, in order.
    ///
    /// # Errors
    /// They are not as many as `size` asks for, or one is longer than it can be.
    pub fn new(image: Sha256, size: u64, chunks: Vec<Chunk>) -> Result<Self, IndexError> {
        if chunks.len() as u64 != size.div_ceil(CHUNK) {
            return Err(IndexError::Length {
                found: chunks.len() * ENTRY,
                expected: size.div_ceil(CHUNK).saturating_mul(ENTRY as u64),
            });
        }
        let mut places = Vec::with_capacity(chunks.len() + 1);
        let mut place = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let length = (size - number as u64 * CHUNK).min(CHUNK);
            if u64::from(chunk.stored) > length {
                return Err(IndexError::Chunk(number));
            }
            places.push(place);
            place += u64::from(chunk.stored);
        }
        places.push(place);
        Ok(Self {
            image,
            size,
            chunks,
            places,
        })
    }

    /// SHA-256 of the file that was imported.
    pub fn image(&self) -> Sha256 {
        self.image
    }

    /// Bytes of the disk's content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Where a chunk's content stands on the disk, in bytes.
    pub fn content(&self, number: usize) -> Range<u64> {
        let start = number as u64 * CHUNK;
        start..(start + CHUNK).min(self.size)
    }

    /// Where a chunk stands in the data, in bytes; empty for a hole.
    pub fn stored(&self, number: usize) -> Range<u64> {
        self.places[number]..self.places[number + 1]
    }

    /// Bytes of the data.
    pub fn stored_size(&self) -> u64 {
        self.places.last().copied().unwrap_or_default()
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// The head cannot be written as JSON, which does not happen.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        let head = Head {
            image: self.image,
            size: self.size,
            chunk: CHUNK,
        };
        let head = serde_json::to_vec(&head).map_err(IndexError::Head)?;
        let mut bytes = Vec::with_capacity(12 + head.len() + self.chunks.len() * ENTRY);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&head);
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.stored.to_le_bytes());
            bytes.extend_from_slice(&chunk.sha256.0);
        }
        Ok(bytes)
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// It is no index, or a damaged one.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(IndexError::Unknown)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(IndexError::Unknown)?;
        let length = u32::from_le_bytes(*length) as usize;
        let parts = rest.split_at_checked(length.min(LARGEST_HEAD));
        let (head, entries) = parts.ok_or(IndexError::Unknown)?;
        let head: Head = serde_json::from_slice(head).map_err(IndexError::Head)?;
        if head.chunk != CHUNK {
            return Err(IndexError::Unknown);
        }
        let expected = head.size.div_ceil(CHUNK).saturating_mul(ENTRY as u64);
        if entries.len() as u64 != expected {
            return Err(IndexError::Length {
                found: entries.len(),
                expected,
            });
        }
        let (entries, _) = entries.as_chunks::<ENTRY>();
        let chunks = entries.iter().map(|entry| {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(&entry[4..]);
            Chunk {
                stored: u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]),
                sha256: Sha256(sha256),
            }
        });
        Self::new(head.image, head.size, chunks.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index() -> Index {
        let chunk = |stored, byte| Chunk {
            stored,
            sha256: Sha256([byte; 32]),
        };
        let chunks = vec![chunk(700, 1), chunk(0, 2), chunk(9, 3)];
        Index::new(Sha256([9; 32]), 2 * CHUNK + 10, chunks).unwrap()
    }

    #[test]
    fn places_follow_from_lengths() {
        let index = index();
        assert_eq!(index.content(1), CHUNK..2 * CHUNK);
        assert_eq!(index.content(2), 2 * CHUNK..2 * CHUNK + 10);
        assert_eq!(index.stored(0), 0..700);
        assert!(index.stored(1).is_empty());
        assert_eq!(index.stored(2), 700..709);
        assert_eq!(index.stored_size(), 709);
    }

    #[test]
    fn it_comes_back_and_a_part_of_it_does_not() {
        let bytes = index().encode().unwrap();
        assert_eq!(Index::decode(&bytes).unwrap(), index());
        for length in 0..bytes.len() {
            assert!(Index::decode(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            Index::decode(&longer),
            Err(IndexError::Length { .. })
        ));
    }

    #[test]
    fn a_chunk_that_cannot_be_is_refused() {
        let chunk = Chunk {
            stored: 11,
            sha256: Sha256([0; 32]),
        };
        let refused = Index::new(Sha256([0; 32]), 10, vec![chunk]);
        assert!(matches!(refused, Err(IndexError::Chunk(0))));
        assert!(Index::new(Sha256([0; 32]), 10, vec![]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, cut in 0_usize..200, at in 0_usize..200, flip: u8) {
            let _ = Index::decode(&bytes);
            let mut whole = index().encode().unwrap();
            let at = at.min(whole.len() - 1);
            whole[at] ^= flip;
            let _ = Index::decode(&whole);
            whole.truncate(cut);
            let _ = Index::decode(&whole);
        }
    }
}
