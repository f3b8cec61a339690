//! An OS image as it is kept for installing, without I/O of its own.
//!
//! A compressed file can be unpacked on one processor only, from its beginning only, and is known to be
//! good at its end only. An imported image is cut into chunks of the disk's content that are compressed
//! and hashed each by itself, so that they can be fetched, unpacked, checked, written, compared with
//! what a disk holds already and read back from it in any order, by as many threads as there are
//! processors.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`index`] | which chunks there are; its encoding |
//! | [`chunk`] | one chunk, packed and unpacked |

pub mod chunk;
pub mod index;

pub use chunk::{Chunk, ChunkError, hash};
pub use index::{Index, IndexError};

/// Bytes of a chunk's content; the last of an image may be shorter. Small enough that a reinstallation
/// writes little for a few changed blocks, large enough that the index of a 10 GiB image is 1.5 MB.
pub const CHUNK: u64 = 256 << 10;
