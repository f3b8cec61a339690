//! Data packets, made ready once for everybody who fetches the same file with the same block size.
//!
//! A rack that is powered on fetches one file a thousand times. Its blocks, each with its header before
//! it, lie one after another as they go out, so that a window is one piece of memory and a block costs
//! no read and no copy of this program's.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use hardway_netboot::tftp::encode_data;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::datagrams::Part;
use crate::serve::content::{Content, Piece};

/// About so many bytes of packets are made at once.
const PAGE: usize = 64 << 10;
/// Bytes of pages of one generation. Two are kept.
const GENERATION: usize = 12 << 20;
/// How far ahead of what is read a file is asked for, in bytes.
const AHEAD: u64 = 1 << 20;
/// Opcode and block number.
const HEADER: usize = 4;

/// The packets of one file for one block size, as one client takes them.
#[derive(Debug)]
pub struct Source {
    content: Content,
    /// The file, where the content is one whole file: its pages are shared.
    shared: Option<Arc<File>>,
    block_size: usize,
    /// The page that was last sent from.
    page: Option<(u64, Arc<[u8]>)>,
}

impl Source {
    /// `block_size` is that of the transfer.
    pub fn new(content: Content, block_size: u16) -> Self {
        let shared = match content.pieces() {
            [
                Piece::File {
                    file, offset: 0, ..
                },
            ] => Some(Arc::clone(file)),
            _ => None,
        };
        Self {
            content,
            shared,
            block_size: block_size.into(),
            page: None,
        }
    }

    /// Bytes of the content.
    pub fn size(&self) -> u64 {
        self.content.size()
    }

    /// Bytes of every packet but the last.
    pub fn full(&self) -> usize {
        HEADER + self.block_size
    }

    /// The packet of the block that begins at `offset` and has `length` bytes.
    pub fn packet(&mut self, offset: u64, length: usize, pages: &mut Pages) -> io::Result<Part> {
        let block = offset / self.block_size as u64;
        let blocks = self.blocks_in_page();
        let page = self.page(block / blocks, pages)?;
        // Less than a page.
        let start = (block % blocks) as usize * self.full();
        Ok(Part {
            packets: page,
            start,
            end: start + HEADER + length,
        })
    }

    fn blocks_in_page(&self) -> u64 {
        (PAGE / self.full()).max(1) as u64
    }

    fn page(&mut self, number: u64, pages: &mut Pages) -> io::Result<Arc<[u8]>> {
        if let Some((known, page)) = &self.page
            && *known == number
        {
            return Ok(Arc::clone(page));
        }
        let page = match &self.shared {
            None => self.make(number)?,
            Some(file) => {
                let key = (Arc::as_ptr(file) as usize, self.block_size, number);
                match pages.find(key) {
                    Some(page) => page,
                    None => {
                        let page = self.make(number)?;
                        pages.keep(key, Arc::clone(file), Arc::clone(&page));
                        page
                    }
                }
            }
        };
        self.page = Some((number, Arc::clone(&page)));
        Ok(page)
    }

    fn make(&self, number: u64) -> io::Result<Arc<[u8]>> {
        let first = number * self.blocks_in_page();
        let block_size = self.block_size as u64;
        let start = first * block_size;
        let end = (start + self.blocks_in_page() * block_size).min(self.size());
        self.read_ahead(end);
        let mut data = vec![0; end.saturating_sub(start) as usize];
        self.content.read_exact_at(&mut data, start)?;
        let mut packets = Vec::with_capacity(PAGE);
        let mut block = first;
        let mut blocks = data.chunks(self.block_size);
        for _ in 0..self.blocks_in_page() {
            let data = blocks.next().unwrap_or_default();
            block += 1;
            // The number goes on from 0 after 65535.
            packets.extend(encode_data(block as u16, data));
            if data.len() < self.block_size {
                break;
            }
        }
        Ok(packets.into())
    }

    /// The kernel begins to read what comes next, so that nobody waits for a disk.
    fn read_ahead(&self, from: u64) {
        if let Some(file) = &self.shared
            && from < self.size()
        {
            let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
            let _ = posix_fadvise(file, from as i64, AHEAD as i64, advice);
        }
    }
}

/// The file by the address of its handle, which its page holds; the block size; the page's number.
type Key = (usize, usize, u64);

/// Pages that were used lately.
#[derive(Debug, Default)]
pub struct Pages {
    young: HashMap<Key, Page>,
    old: HashMap<Key, Page>,
    bytes: usize,
}

#[derive(Debug)]
struct Page {
    file: Arc<File>,
    packets: Arc<[u8]>,
}

impl Pages {
    fn find(&mut self, key: Key) -> Option<Arc<[u8]>> {
        if let Some(page) = self.young.get(&key) {
            return Some(Arc::clone(&page.packets));
        }
        let Page { file, packets } = self.old.remove(&key)?;
        self.keep(key, file, Arc::clone(&packets));
        Some(packets)
    }

    fn keep(&mut self, key: Key, file: Arc<File>, packets: Arc<[u8]>) {
        self.bytes += packets.len();
        if self.bytes > GENERATION {
            self.bytes = packets.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, Page { file, packets });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size)
            .map(|index| (index * 7 + index / 251) as u8)
            .collect()
    }

    #[test]
    fn packets_are_the_blocks_with_their_numbers() {
        for (size, block_size) in [
            (0, 512),
            (512, 512),
            (200_000, 512),
            (200_000, 1468),
            (99, 8),
        ] {
            let data = bytes(size);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&data).unwrap();
            let whole = Content::file(file).unwrap();
            let pieces = Content::of(vec![Piece::Bytes(data.clone().into())]);
            let mut pages = Pages::default();
            for content in [whole.clone(), pieces, whole] {
                let mut source = Source::new(content, block_size);
                for block in 0..=size / usize::from(block_size) {
                    let offset = block * usize::from(block_size);
                    let length = usize::from(block_size).min(size - offset);
                    let part = source.packet(offset as u64, length, &mut pages).unwrap();
                    let expected = encode_data(block as u16 + 1, &data[offset..offset + length]);
                    assert_eq!(
                        part.packets[part.start..part.end],
                        expected,
                        "{size} {block}"
                    );
                }
            }
        }
    }

    #[test]
    fn pages_that_nobody_asks_for_are_dropped() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes(8 << 20)).unwrap();
        let content = Content::file(file).unwrap();
        let mut pages = Pages::default();
        for _ in 0..5 {
            let mut source = Source::new(Content::of(content.pieces().to_vec()), 512);
            for offset in (0..8 << 20).step_by(512) {
                source.packet(offset, 512, &mut pages).unwrap();
            }
            let other = tempfile::tempfile().unwrap();
            other.set_len(8 << 20).unwrap();
            let mut source = Source::new(Content::file(other).unwrap(), 512);
            for offset in (0..8 << 20).step_by(512) {
                source.packet(offset, 512, &mut pages).unwrap();
            }
            let kept = pages.young.values().chain(pages.old.values());
            let kept: usize = kept.map(|page| page.packets.len()).sum();
            assert!(kept <= 2 * GENERATION, "{kept}");
        }
    }
}
