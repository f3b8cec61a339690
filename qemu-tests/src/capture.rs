//! A pcap file of everything that passed the segment.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame;

/// Full-size TCP segments carry image data: their headers are enough, and hundreds of megabytes
/// stay off the disk.
const BULK: usize = 1400;
const BULK_KEPT: usize = 128;
/// The file stops growing here.
const LIMIT: u64 = 256 << 20;
const LINKTYPE_ETHERNET: u32 = 1;

/// An open pcap file (the classic format, microsecond time stamps).
pub struct Capture {
    file: BufWriter<File>,
    written: u64,
}

impl Capture {
    /// Creates the file with its header.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, LINKTYPE_ETHERNET] {
            file.write_all(&u32::to_le_bytes(word))?;
        }
        Ok(Self { file, written: 24 })
    }

    /// Appends a frame with the present time. Past the size limit nothing more is written.
    pub fn record(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.written > LIMIT {
            return Ok(());
        }
        let kept = if frame.len() >= BULK && frame::is_tcp(frame) {
            &frame[..BULK_KEPT]
        } else {
            frame
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        for word in [
            now.as_secs() as u32,
            now.subsec_micros(),
            kept.len() as u32,
            frame.len() as u32,
        ] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.file.write_all(kept)?;
        self.written += 16 + kept.len() as u64;
        Ok(())
    }

    /// Makes what was recorded visible to readers of the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
