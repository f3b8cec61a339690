//! write-image from an imported image: its chunks are fetched, unpacked, checked and written by two threads
//! for each processor, so that one unpacks while another waits for the wire.
//!
//! Nothing is written that has not been compared with its hash. What a former installation left is
//! compared first where the plan says so: a cut-off installation goes on where it was, and a
//! reinstallation writes what differs.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_image::{CHUNK, Index};
use hardway_model::identity::Sha256;
use hardway_model::messages::AgentEvent;

use super::disk::{Device, TargetDisk};
use super::read_back::Written;
use super::table;
use crate::http::{Appliance, HttpError};
use crate::patience::patiently;
use crate::reports::Reports;

/// Chunks that one thread takes at a time: 2 MiB of content, fetched by one request.
const RUN: usize = 8;
/// Threads at most: each holds a run as it is stored, what stands on the disk in its place, and a chunk,
/// 5 MiB together.
const THREADS: usize = 8;
/// Bytes of the blocks in which a chunk is compared with what stands in its place.
const BLOCK: usize = 4096;
/// How often a chunk that came damaged is fetched again.
const ATTEMPTS: u32 = 5;
/// How often the threads are looked after, and how often it is told how far they are.
const LOOK: Duration = Duration::from_millis(10);
const PROGRESS: Duration = Duration::from_millis(500);

/// What is written, and what it has to be.
pub struct Source<'a> {
    /// Path of the index on the appliance.
    pub index: &'a str,
    /// Of the index.
    pub sha256: Sha256,
    /// Path of the chunks on the appliance.
    pub data: &'a str,
    /// Whether the disk is read first.
    pub compare: bool,
}

/// Writes the image, and sees that what came out is a disk with partitions.
pub fn write<D: Device + Send + Sync>(
    source: &Source<'_>,
    disk: &mut TargetDisk<D>,
    appliance: &Appliance,
    reports: &Reports,
) -> Result<(Written, String)> {
    let start = Instant::now();
    let index = fetch_index(source, appliance, reports)?;
    if index.size() > disk.size() {
        let (image, size) = (index.size(), disk.size());
        bail!("the image makes a disk of {image} bytes, and this one has {size}");
    }
    let (fetched, written) = copy(source, &index, disk, appliance, reports)?;
    disk.sync()?;
    let table = table::settle(disk)?;
    let seconds = start.elapsed().as_secs_f32().max(0.001);
    let rate = index.size() as f32 / (1 << 20) as f32 / seconds;
    let summary = format!(
        "wrote {} of {} MiB with {} partitions from {} MiB in {seconds:.1} s, {rate:.0} MiB/s; every \
         chunk as expected",
        written >> 20,
        index.size() >> 20,
        table.partitions.len(),
        fetched >> 20,
    );
    let hashes = index.chunks().iter().map(|chunk| chunk.sha256);
    let written = Written::new(CHUNK, index.size(), hashes.collect());
    Ok((written, summary))
}

fn fetch_index(source: &Source<'_>, appliance: &Appliance, reports: &Reports) -> Result<Index> {
    let url = source.index;
    let bytes = patiently(reports, || appliance.get(url, &[]));
    let bytes = bytes.with_context(|| format!("fetching {url}"))?;
    let found = hardway_image::hash(&bytes);
    if found != source.sha256 {
        bail!(
            "{url} has SHA-256 {found}, and {} was expected; nothing of the image was written",
            source.sha256
        );
    }
    Index::decode(&bytes).with_context(|| format!("reading {url}"))
}

/// Gives the bytes that were fetched and those that were written.
fn copy<D: Device + Send + Sync>(
    source: &Source<'_>,
    index: &Index,
    disk: &mut TargetDisk<D>,
    appliance: &Appliance,
    reports: &Reports,
) -> Result<(u64, u64)> {
    let work = Work {
        source,
        index,
        disk: RwLock::new(disk),
        appliance,
        reports,
        next: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        done: AtomicU64::new(0),
        fetched: AtomicU64::new(0),
        written: AtomicU64::new(0),
    };
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let outcomes = std::thread::scope(|scope| {
        let start = |_| scope.spawn(|| work.run());
        let started: Vec<_> = (0..THREADS.min(2 * processors)).map(start).collect();
        let mut told = Instant::now();
        while !started.iter().all(|thread| thread.is_finished()) {
            std::thread::sleep(LOOK);
            if told.elapsed() >= PROGRESS {
                work.tell();
                told = Instant::now();
            }
        }
        let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.collect::<Vec<_>>()
    });
    for outcome in outcomes {
        match outcome {
            Ok(outcome) => outcome?,
            Err(_) => bail!("a thread that writes the image broke"),
        }
    }
    work.tell();
    Ok((work.fetched.into_inner(), work.written.into_inner()))
}

/// What the threads share.
struct Work<'a, D> {
    source: &'a Source<'a>,
    index: &'a Index,
    disk: RwLock<&'a mut TargetDisk<D>>,
    appliance: &'a Appliance,
    reports: &'a Reports,
    /// The first chunk that nobody has taken.
    next: AtomicUsize,
    /// A thread has failed.
    is_over: AtomicBool,
    /// Bytes of content that are in place.
    done: AtomicU64,
    fetched: AtomicU64,
    written: AtomicU64,
}

/// A chunk that is to be written, and what was read in its place.
struct Wanted {
    number: usize,
    former: Option<Vec<u8>>,
}

impl<D: Device + Send + Sync> Work<'_, D> {
    fn run(&self) -> Result<()> {
        let count = self.index.chunks().len();
        while !self.is_over.load(Ordering::Relaxed) {
            let first = self.next.fetch_add(RUN, Ordering::Relaxed);
            if first >= count {
                break;
            }
            if let Err(error) = self.put(first..count.min(first + RUN)) {
                // The first failure is the one that is told; the others' tries end with it.
                if self.is_over.swap(true, Ordering::Relaxed) {
                    break;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Brings some chunks to the disk, those that are next to each other together.
    fn put(&self, chunks: Range<usize>) -> Result<()> {
        let mut wanted = Vec::new();
        for number in chunks {
            let former = match self.source.compare {
                true => self.former(number),
                false => None,
            };
            let chunk = self.index.chunks()[number];
            if former
                .as_ref()
                .is_some_and(|former| chunk.compare(former).is_ok())
            {
                self.progress(number);
                self.fetch(&wanted)?;
                wanted.clear();
            } else {
                wanted.push(Wanted { number, former });
            }
        }
        self.fetch(&wanted)
    }

    /// What stands on the disk in a chunk's place. A sector that a power cut tore may be unreadable until
    /// it is written again: then all of the chunk is.
    fn former(&self, number: usize) -> Option<Vec<u8>> {
        let place = self.index.content(number);
        let mut content = vec![0; (place.end - place.start) as usize];
        let disk = self.disk.read().unwrap_or_else(PoisonError::into_inner);
        let read = disk.read(&mut content, place.start);
        drop(disk);
        let failed = |error| {
            self.reports.log(&format!(
                "reading {} bytes at {}: {error}; they are written anew",
                content.len(),
                place.start
            ));
        };
        read.map_err(failed).ok()?;
        Some(content)
    }

    /// Chunks that are next to each other.
    fn fetch(&self, wanted: &[Wanted]) -> Result<()> {
        let [first, ..] = wanted else {
            return Ok(());
        };
        let begin = self.index.stored(first.number).start;
        let end = self.index.stored(first.number + wanted.len() - 1).end;
        let stored = self.stored(begin..end)?;
        for Wanted { number, former } in wanted {
            let part = self.index.stored(*number);
            let part = &stored[(part.start - begin) as usize..(part.end - begin) as usize];
            let content = self.unpack(*number, part)?;
            let start = self.index.content(*number).start;
            let mut disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
            for part in differences(former.as_deref(), &content) {
                let length = part.len() as u64;
                disk.write(&content[part.clone()], start + part.start as u64)?;
                self.written.fetch_add(length, Ordering::Relaxed);
            }
            drop(disk);
            self.progress(*number);
        }
        Ok(())
    }

    /// A chunk's content. One that came damaged is fetched again, by itself.
    fn unpack(&self, number: usize, stored: &[u8]) -> Result<Vec<u8>> {
        let chunk = self.index.chunks()[number];
        let place = self.index.content(number);
        let length = (place.end - place.start) as usize;
        let mut failure = match chunk.unpack(stored, length) {
            Ok(content) => return Ok(content),
            Err(failure) => failure,
        };
        for _ in 0..ATTEMPTS {
            self.reports.log(&format!(
                "chunk {number} of the image came damaged: {failure}; fetching it again"
            ));
            let stored = self.stored(self.index.stored(number))?;
            failure = match chunk.unpack(&stored, length) {
                Ok(content) => return Ok(content),
                Err(failure) => failure,
            };
        }
        Err(failure).with_context(|| {
            format!(
                "chunk {number} of {} is damaged on the appliance, or on every way from it; import the \
                 image again",
                self.source.data
            )
        })
    }

    fn stored(&self, part: Range<u64>) -> Result<Vec<u8>> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.source.data;
        let bytes = patiently(self.reports, || {
            if self.is_over.load(Ordering::Relaxed) {
                return Err(HttpError::GivenUp);
            }
            self.appliance.part(path, part.clone())
        });
        let bytes = bytes.with_context(|| format!("fetching {path}"))?;
        self.fetched
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    fn tell(&self) {
        self.reports.event(AgentEvent::Progress {
            step: "write-image".to_owned(),
            done: self.done.load(Ordering::Relaxed),
            total: Some(self.index.size()),
            fetched: Some(self.fetched.load(Ordering::Relaxed)),
        });
    }

    fn progress(&self, number: usize) {
        let place = self.index.content(number);
        self.done
            .fetch_add(place.end - place.start, Ordering::Relaxed);
    }
}

/// Where content differs from what stands in its place, in whole blocks; all of it, where that was not
/// read.
fn differences(former: Option<&[u8]>, content: &[u8]) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let Some(former) = former else {
        parts.push(0..content.len());
        return parts;
    };
    for (number, (old, new)) in former.chunks(BLOCK).zip(content.chunks(BLOCK)).enumerate() {
        if old == new {
            continue;
        }
        let start = number * BLOCK;
        match parts.last_mut() {
            Some(last) if last.end == start => last.end += new.len(),
            _ => parts.push(start..start + new.len()),
        }
    }
    parts
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
