//! Streams an OS image to the disk: fetched, hashed and decompressed on one thread, written on
//! another. A broken connection is taken up where it broke.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_model::desired::Compression;
use hardway_model::identity::Sha256;
use hardway_model::messages::AgentEvent;
use sha2::Digest;

use super::disk::{Device, TargetDisk};
use super::read_back::Written;
use super::{Execution, table};
use crate::http::{Appliance, Stream};
use crate::patience::{chain, pause};
use crate::reports::Reports;

/// Bytes of one write.
const CHUNK: usize = 1 << 20;
/// Chunks between the two threads.
const AHEAD: usize = 8;
/// How often a connection may break without a single byte in between.
const ATTEMPTS: u32 = 30;
const PROGRESS: Duration = Duration::from_millis(500);

/// Which image, and what it has to be.
pub struct Source<'a> {
    /// Absolute, or a path on the appliance.
    pub url: &'a str,
    /// How it is packed.
    pub compression: Compression,
    /// Of the bytes as served.
    pub sha256: Sha256,
}

/// Writes the image and checks it: its hash, and that what came out is a disk with partitions.
pub fn write<D: Device>(
    source: &Source<'_>,
    disk: &mut TargetDisk<D>,
    execution: &Execution<'_>,
) -> Result<(Written, String)> {
    let start = Instant::now();
    let served = Served::new(
        execution.appliance.clone(),
        source.url,
        execution.reports.clone(),
    );
    let written = copy(served, source, disk, execution.reports)?;
    disk.sync()?;
    let table = table::settle(disk)?;
    let seconds = start.elapsed().as_secs_f32();
    let mebibytes = written.size() as f32 / (1 << 20) as f32;
    let rate = mebibytes / seconds.max(0.001);
    let summary = format!(
        "wrote {mebibytes:.0} MiB with {} partitions in {seconds:.1} s, {rate:.0} MiB/s; SHA-256 as \
         expected",
        table.partitions.len()
    );
    Ok((written, summary))
}

fn copy<D: Device>(
    served: Served,
    source: &Source<'_>,
    disk: &mut TargetDisk<D>,
    reports: &Reports,
) -> Result<Written> {
    let progress = served.progress.clone();
    let (chunks, arriving) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(served, source.compression, chunks));
        let written = consume(arriving, disk, &progress, reports);
        let produced = match producer.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("the thread that fetches the image broke"),
        };
        // A full disk makes the producer fail, too: the disk's error is the cause.
        let written = written?;
        let produced = produced.with_context(|| format!("fetching {}", source.url))?;
        if produced.sha256 != source.sha256 {
            // A damaged file rarely decompresses: the hash is the cause, and names the mend.
            let symptom = produced.unpacked.err().map(|error| chain(error.as_ref()));
            bail!(
                "{} has SHA-256 {}, and {} was expected; the disk stays unbootable{}",
                source.url,
                produced.sha256,
                source.sha256,
                symptom.map_or(String::new(), |symptom| format!(" ({symptom})"))
            );
        }
        produced
            .unpacked
            .with_context(|| format!("unpacking {}, whose SHA-256 is as expected", source.url))?;
        Ok(written)
    })
}

/// What came of fetching an image to its end.
struct Produced {
    /// Of all that was served.
    sha256: Sha256,
    /// Whether it could be decompressed.
    unpacked: Result<()>,
}

/// Decompresses until the end, and fetches to the end even where that fails, for the hash's sake.
fn produce(
    mut served: Served,
    compression: Compression,
    chunks: SyncSender<Vec<u8>>,
) -> Result<Produced> {
    let unpacked = unpack(&mut served, compression, chunks);
    // What stands behind the compressed stream belongs to the hash all the same.
    io::copy(&mut served, &mut io::sink()).context("reading to the end")?;
    Ok(Produced {
        sha256: Sha256(served.hash.finalize().into()),
        unpacked,
    })
}

fn unpack(
    served: &mut Served,
    compression: Compression,
    chunks: SyncSender<Vec<u8>>,
) -> Result<()> {
    let mut plain = decompress(compression, served)?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        plain
            .by_ref()
            .take(CHUNK as u64)
            .read_to_end(&mut chunk)
            .context("decompressing")?;
        // The writer has failed, and says why.
        if chunk.is_empty() || chunks.send(chunk).is_err() {
            return Ok(());
        }
    }
}

fn decompress<'a>(compression: Compression, packed: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(packed).context("starting zstd")?)
        }
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(packed, true)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        Compression::None => Box::new(packed),
    })
}

fn consume<D: Device>(
    arriving: Receiver<Vec<u8>>,
    disk: &mut TargetDisk<D>,
    progress: &Progress,
    reports: &Reports,
) -> Result<Written> {
    let mut offset = 0;
    let mut hashes = Vec::new();
    let mut told = Instant::now();
    for chunk in arriving {
        disk.write(&chunk, offset)?;
        hashes.push(hardway_image::hash(&chunk));
        offset += chunk.len() as u64;
        if told.elapsed() >= PROGRESS {
            progress.tell(reports);
            told = Instant::now();
        }
    }
    progress.tell(reports);
    Ok(Written::new(CHUNK as u64, offset, hashes))
}

/// How much was served, and of how much. A total of 0 is not known.
#[derive(Default)]
struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    told: AtomicU64,
}

impl Progress {
    /// What was told before is not told again: fetching ends before writing does.
    fn tell(&self, reports: &Reports) {
        let total = self.total.load(Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed);
        if self.told.swap(done, Ordering::Relaxed) == done {
            return;
        }
        reports.event(AgentEvent::Progress {
            step: "write-image".to_owned(),
            done,
            total: (total > 0).then_some(total),
            fetched: None,
        });
    }
}

/// The image's bytes in order, whatever happens to the connections that they come by.
struct Served {
    appliance: Appliance,
    url: String,
    reports: Reports,
    stream: Option<Stream>,
    position: u64,
    /// Failures since the last byte.
    failures: u32,
    hash: sha2::Sha256,
    progress: Arc<Progress>,
}

impl Served {
    fn new(appliance: Appliance, url: &str, reports: Reports) -> Self {
        Self {
            appliance,
            url: url.to_owned(),
            reports,
            stream: None,
            position: 0,
            failures: 0,
            hash: sha2::Sha256::new(),
            progress: Arc::default(),
        }
    }

    /// A stream that continues at the position.
    fn open(&mut self) -> io::Result<()> {
        let stream = self.appliance.stream(&self.url, self.position);
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) if error.is_transient() => return self.retry(&chain(&error)),
            Err(error) => return Err(io::Error::other(error)),
        };
        if stream.offset < self.position {
            // No ranges on that server: what was read before comes again.
            let known = self.position - stream.offset;
            let skipped = io::copy(&mut stream.reader.by_ref().take(known), &mut io::sink());
            if !matches!(skipped, Ok(bytes) if bytes == known) {
                return self.retry("the connection broke again");
            }
        }
        if let Some(total) = stream.total {
            self.progress.total.store(total, Ordering::Relaxed);
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn retry(&mut self, cause: &str) -> io::Result<()> {
        self.stream = None;
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return Err(io::Error::other(format!(
                "giving up after {ATTEMPTS} tries: {cause}"
            )));
        }
        let pause = pause(self.failures - 1);
        self.reports.log(&format!(
            "{cause}; going on at byte {} in {pause:?}",
            self.position
        ));
        std::thread::sleep(pause);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let total = self.progress.total.load(Ordering::Relaxed);
        total == 0 || self.position >= total
    }
}

impl Read for Served {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.open()?;
                continue;
            };
            match stream.reader.read(bytes) {
                Ok(0) if !self.is_complete() => self.retry("the connection ended early")?,
                Ok(length) => {
                    self.failures = 0;
                    self.position += length as u64;
                    self.hash.update(&bytes[..length]);
                    self.progress.done.store(self.position, Ordering::Relaxed);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.retry(&error.to_string())?,
            }
        }
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
