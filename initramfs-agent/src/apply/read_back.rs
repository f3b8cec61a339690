//! read-back: what was written is read from the medium again, past the memory's copy, and compared.
//!
//! A disk that takes everything and keeps something else is rarer than a bad cable, and found too late
//! by anybody else: the system on it boots, and fails months later. It costs one reading of the disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use hardway_model::identity::Sha256;

use super::disk::{Device, TargetDisk};

/// Threads at most, two for each processor: one hashes while another waits for the disk. Each holds one
/// chunk.
const THREADS: usize = 8;

/// What write-image put on the disk.
#[derive(Debug, Clone)]
pub struct Written {
    /// Bytes of a chunk; the last may be shorter.
    chunk: u64,
    /// Bytes in all.
    size: u64,
    /// Of each chunk.
    hashes: Vec<Sha256>,
}

impl Written {
    /// From the disk's first byte on: chunks of one length, and the hash of each.
    pub fn new(chunk: u64, size: u64, hashes: Vec<Sha256>) -> Self {
        Self {
            chunk,
            size,
            hashes,
        }
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Compares the disk with it. The ends that are withheld are read from memory: they are written
    /// last, when this is long over.
    pub fn compare<D: Device + Sync>(&self, disk: &mut TargetDisk<D>) -> Result<String> {
        let start = Instant::now();
        disk.sync()?;
        disk.forget().context("forgetting what was written")?;
        let disk = &*disk;
        let next = AtomicUsize::new(0);
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        let outcomes = std::thread::scope(|scope| {
            let start = |_| scope.spawn(|| self.compare_next(disk, &next));
            let started: Vec<_> = (0..THREADS.min(2 * processors)).map(start).collect();
            let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.collect::<Vec<_>>()
        });
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a thread that reads the disk back broke"),
            }
        }
        let seconds = start.elapsed().as_secs_f32().max(0.001);
        let mebibytes = self.size as f32 / (1 << 20) as f32;
        let rate = mebibytes / seconds;
        Ok(format!(
            "{mebibytes:.0} MiB are on the disk as they were written; {seconds:.1} s, {rate:.0} MiB/s"
        ))
    }

    fn compare_next<D: Device>(&self, disk: &TargetDisk<D>, next: &AtomicUsize) -> Result<()> {
        let mut content = vec![0; self.chunk as usize];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(expected) = self.hashes.get(number) else {
                return Ok(());
            };
            let offset = number as u64 * self.chunk;
            let length = (self.size - offset).min(self.chunk) as usize;
            let content = &mut content[..length];
            disk.read(content, offset)
                .with_context(|| format!("reading back {length} bytes at {offset}"))?;
            if hardway_image::hash(content) != *expected {
                next.store(self.hashes.len(), Ordering::Relaxed);
                bail!(
                    "the disk gives back something else than was written, in the {length} bytes at \
                     {offset}: replace it"
                );
            }
        }
    }
}
