//! One chunk of an image: a hole, bytes as they are, or a zstd frame (RFC 8878).

use hardway_model::identity::Sha256;
use sha2::Digest as _;

/// What the index says of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes that it takes in the data: 0 for a hole, as many as the content has where packing won
    /// nothing, else the frame's length.
    pub stored: u32,
    /// SHA-256 of the content, of a hole's zeros, too.
    pub sha256: Sha256,
}

/// Why stored bytes are not what the index says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The frame is damaged.
    #[error("it cannot be unpacked: {0}")]
    Frame(String),
    /// The content is another.
    #[error("it has SHA-256 {found}, and {expected} was expected")]
    Hash {
        /// Of what is there.
        found: Sha256,
        /// By the index.
        expected: Sha256,
    },
}

/// SHA-256 of bytes.
pub fn hash(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

impl Chunk {
    /// Whether the content is zeros, and nothing of it is stored.
    pub fn is_hole(&self) -> bool {
        self.stored == 0
    }

    /// Packs content at a zstd level. Gives what the index says of it, and what is stored.
    pub fn pack(content: &[u8], level: i32) -> std::io::Result<(Self, Vec<u8>)> {
        let sha256 = hash(content);
        let mut stored = match content.iter().all(|byte| *byte == 0) {
            true => Vec::new(),
            false => zstd::bulk::compress(content, level)?,
        };
        if stored.len() >= content.len() {
            stored = content.to_vec();
        }
        let chunk = Self {
            // No longer than the content of a chunk.
            stored: stored.len() as u32,
            sha256,
        };
        Ok((chunk, stored))
    }

    /// The content of `length` bytes that was stored as `stored`, after its hash was compared.
    ///
    /// # Errors
    /// The stored bytes are damaged, or are another chunk's.
    pub fn unpack(&self, stored: &[u8], length: usize) -> Result<Vec<u8>, ChunkError> {
        let content = match stored.len() {
            0 => vec![0; length],
            same if same == length => stored.to_vec(),
            _ => zstd::bulk::decompress(stored, length)
                .map_err(|error| ChunkError::Frame(error.to_string()))?,
        };
        self.compare(&content)?;
        Ok(content)
    }

    /// Whether this is the chunk's content.
    ///
    /// # Errors
    /// It is another.
    pub fn compare(&self, content: &[u8]) -> Result<(), ChunkError> {
        let found = hash(content);
        match found == self.sha256 {
            true => Ok(()),
            false => Err(ChunkError::Hash {
                found,
                expected: self.sha256,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that cannot be packed.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn every_kind_comes_back() {
        let text = b"the same again, ".repeat(500);
        for (content, stored) in [
            (vec![0; 5000], 0..1),
            (text.clone(), 1..200),
            (noise(5000), 5000..5001),
            (vec![7], 1..2),
        ] {
            let (chunk, bytes) = Chunk::pack(&content, 3).unwrap();
            assert!(stored.contains(&bytes.len()), "{}", bytes.len());
            assert_eq!(chunk.stored as usize, bytes.len());
            assert_eq!(chunk.is_hole(), bytes.is_empty());
            assert_eq!(chunk.unpack(&bytes, content.len()), Ok(content));
        }
    }

    #[test]
    fn damage_never_comes_through() {
        let content = b"the same again, ".repeat(500);
        let (chunk, bytes) = Chunk::pack(&content, 3).unwrap();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            if let Ok(unpacked) = chunk.unpack(&damaged, content.len()) {
                assert_eq!(unpacked, content, "byte {index}");
            }
            assert!(chunk.unpack(&bytes[..index], content.len()).is_err());
        }
        let (_, other) = Chunk::pack(&noise(8000), 3).unwrap();
        assert!(matches!(
            chunk.unpack(&other, 8000),
            Err(ChunkError::Hash { .. })
        ));
    }
}
