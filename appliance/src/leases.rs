//! Leases on the disk: a log that is only ever appended to.
//!
//! A client may be told of a lease when it would survive a power cut. So every group of leases that
//! waits is written at once and made durable by one `fdatasync`, on the thread that wants to tell of
//! them; what arrives meanwhile is the next group. Before it is needed the file is filled with zeros, so that a commit changes data
//! and no metadata of the filesystem.
//!
//! A line is the CRC-32 of what follows in eight hexadecimal digits, a space, and the lease as JSON.
//! The last line for an address counts. A line that does not match its checksum was being written when
//! the power went, and was never acknowledged; the zeros are the end. When the log is opened, and when
//! it has grown well past what it says, a file with the live lines alone takes its place. So that answers
//! do not wait, another thread writes that file, and the lines that came meanwhile are added to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hardway_netboot::dhcp::Lease;

/// Zeros that are written at once ahead of the lines, in bytes.
const AHEAD: usize = 1 << 20;
/// A log below this size is not worth rewriting, in bytes.
const SMALL: u64 = if cfg!(test) { 1 << 20 } else { 4 << 20 };

/// Every lease that was stored, expired ones included.
pub type Table = BTreeMap<Ipv4Addr, Lease>;

/// A handle to the log. Cloning it is cheap; the file is closed when the last one is gone.
#[derive(Clone)]
pub struct Leases {
    table: Arc<RwLock<Table>>,
    log: Arc<Mutex<Log>>,
}

/// What one commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Leases that it made durable.
    pub leases: usize,
    /// How long it took.
    pub took: Duration,
}

impl Leases {
    /// Opens the log. `older` is what stood elsewhere before there was a log.
    pub fn open(path: &Path, older: Vec<Lease>) -> anyhow::Result<Self> {
        let table = match File::open(path) {
            Ok(file) => read(file).with_context(|| format!("reading {}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => by_address(older),
            Err(error) => {
                return Err(error).with_context(|| format!("opening {}", path.display()));
            }
        };
        let log = Log::create(path, &table)
            .with_context(|| format!("writing the leases to {}", path.display()))?;
        Ok(Self {
            table: Arc::new(RwLock::new(table)),
            log: Arc::new(Mutex::new(log)),
        })
    }

    /// What is durable now. Not to be held across an `await`.
    pub fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes leases durable. Waits for the disk.
    ///
    /// # Errors
    /// The leases are not to be told of; the next commit begins a new file.
    pub fn commit(&self, leases: &[Lease]) -> anyhow::Result<Stored> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.commit(leases, &self.table)
            .context("writing the leases")
    }
}

fn by_address(leases: impl IntoIterator<Item = Lease>) -> Table {
    let pair = |lease: Lease| (lease.address, lease);
    leases.into_iter().map(pair).collect()
}

/// A lost line is a lost lease, not a lost appliance: it is said, and the others are taken.
fn read(mut file: File) -> std::io::Result<Table> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0);
    let lines = &bytes[..end.unwrap_or(bytes.len())];
    let mut broken = 0;
    let mut table = Table::new();
    for line in lines.split(|byte| *byte == b'\n') {
        match decode(line) {
            Some(lease) => {
                table.insert(lease.address, lease);
            }
            None => broken += usize::from(!line.is_empty()),
        }
    }
    if broken > 0 {
        tracing::warn!("leases: {broken} lines of the log were not whole and are left out");
    }
    Ok(table)
}

fn encode(lease: &Lease, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let start = bytes.len();
    bytes.extend_from_slice(b"00000000 ");
    let json = bytes.len();
    serde_json::to_writer(&mut *bytes, lease)?;
    let sum = checksum(&bytes[json..]);
    write!(&mut bytes[start..start + 8], "{sum:08x}")?;
    bytes.push(b'\n');
    Ok(())
}

fn decode(line: &[u8]) -> Option<Lease> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
    let matches = u32::from_str_radix(sum, 16).ok()? == checksum(json);
    matches.then(|| serde_json::from_slice(json).ok())?
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// The file that is written.
struct Log {
    path: PathBuf,
    file: File,
    /// Where the next line goes.
    end: u64,
    /// Where the zeros ahead end.
    zeros: u64,
    /// Where the lines ended when the file was made.
    initial: u64,
    /// A failed write leaves open what is on the disk: a new file is written before the next line.
    is_doubtful: bool,
    rewriting: Option<Rewriting>,
    buffer: Vec<u8>,
}

/// A file that is to take the place of one that has grown.
struct Rewriting {
    written: JoinHandle<std::io::Result<Log>>,
    /// The lines that it does not have yet.
    since: Vec<u8>,
}

impl Log {
    /// A new file that holds the table, in the place of the former one.
    fn create(path: &Path, table: &Table) -> std::io::Result<Self> {
        let log = Self::write(&path.with_extension("new"), table)?;
        log.install(path)
    }

    /// A durable file that holds the table.
    fn write(path: &Path, table: &Table) -> std::io::Result<Self> {
        let file = File::create(path)?;
        let mut buffer = Vec::new();
        for lease in table.values() {
            encode(lease, &mut buffer)?;
        }
        let end = buffer.len() as u64;
        file.write_all_at(&buffer, 0)?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            end,
            zeros: end,
            initial: end,
            is_doubtful: false,
            rewriting: None,
            buffer: Vec::new(),
        };
        // Room until it is rewritten, and for what comes meanwhile: a file that grows is durable only
        // with the filesystem's journal, which may have to wait for all that others write.
        log.fill(log.longest() + AHEAD as u64)?;
        log.file.sync_all()?;
        Ok(log)
    }

    /// Where the lines may end before the file is rewritten.
    fn longest(&self) -> u64 {
        SMALL.max(4 * self.initial)
    }

    /// Writes zeros, at least up to there.
    fn fill(&mut self, up_to: u64) -> std::io::Result<()> {
        let zeros = vec![0; AHEAD];
        while self.zeros < up_to {
            self.file.write_all_at(&zeros, self.zeros)?;
            self.zeros += AHEAD as u64;
        }
        Ok(())
    }

    /// Takes the place of the file at `path`.
    fn install(self, path: &Path) -> std::io::Result<Self> {
        std::fs::rename(&self.path, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self {
            path: path.to_owned(),
            ..self
        })
    }

    fn commit(&mut self, leases: &[Lease], table: &RwLock<Table>) -> std::io::Result<Stored> {
        let began = Instant::now();
        self.tidy(table)?;
        if let Err(error) = self.append(leases) {
            self.is_doubtful = true;
            return Err(error);
        }
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.since.extend_from_slice(&self.buffer);
        }
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        for lease in leases {
            table.insert(lease.address, lease.clone());
        }
        Ok(Stored {
            leases: leases.len(),
            took: began.elapsed(),
        })
    }

    /// Goes on in a new file where this one is in doubt, or has grown and the new one is ready.
    fn tidy(&mut self, table: &RwLock<Table>) -> std::io::Result<()> {
        let read = || table.read().unwrap_or_else(PoisonError::into_inner);
        match self.rewriting.take() {
            Some(rewriting) if self.is_doubtful || rewriting.written.is_finished() => {
                self.take_over(rewriting);
            }
            Some(rewriting) => self.rewriting = Some(rewriting),
            None if self.end > self.longest() => {
                let table = read().clone();
                self.rewrite(table);
            }
            None => {}
        }
        if self.is_doubtful {
            *self = Self::create(&self.path, &read())?;
        }
        Ok(())
    }

    fn rewrite(&mut self, table: Table) {
        let path = self.path.with_extension("next");
        let thread = std::thread::Builder::new().name("leases-anew".into());
        match thread.spawn(move || Self::write(&path, &table)) {
            Ok(written) => {
                let since = Vec::new();
                self.rewriting = Some(Rewriting { written, since });
            }
            Err(error) => self.stay(&error),
        }
    }

    /// Goes on in this file, and tries again when it has grown as much again.
    fn stay(&mut self, error: &std::io::Error) {
        tracing::warn!("leases: rewriting the log: {error}");
        self.initial = self.end;
    }

    fn take_over(&mut self, rewriting: Rewriting) {
        let written = rewriting.written.join();
        let written = written.unwrap_or_else(|_| Err(std::io::Error::other("a panic")));
        let mut new = match written {
            Ok(new) => new,
            Err(error) => return self.stay(&error),
        };
        new.buffer = rewriting.since;
        let installed = new.flush().and_then(|()| new.install(&self.path));
        match installed {
            Ok(new) if !self.is_doubtful => *self = new,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("leases: taking over the new log: {error}");
                self.is_doubtful = true;
            }
        }
    }

    fn append(&mut self, leases: &[Lease]) -> std::io::Result<()> {
        self.buffer.clear();
        for lease in leases {
            encode(lease, &mut self.buffer)?;
        }
        self.flush()
    }

    /// Makes what is in the buffer the last lines.
    fn flush(&mut self) -> std::io::Result<()> {
        let end = self.end + self.buffer.len() as u64;
        if end >= self.zeros {
            self.fill(end + AHEAD as u64)?;
        }
        self.file.write_all_at(&self.buffer, self.end)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
