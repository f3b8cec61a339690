//! Leases on the disk: a log that is only ever appended to, written by one thread.
//!
//! A client may be told of a lease when it would survive a power cut. So every group of leases that
//! waits is written at once and made durable by one `fdatasync`; the leases that arrive meanwhile are
//! the next group. Before it is needed the file is filled with zeros, so that a commit changes data
//! and no metadata of the filesystem.
//!
//! A line is the CRC-32 of what follows in eight hexadecimal digits, a space, and the lease as JSON.
//! The last line for an address counts. A line that does not match its checksum was being written when
//! the power went, and was never acknowledged; the zeros are the end. When the log is opened, and when
//! it has grown well past what it says, a file with the live lines alone takes its place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hardway_netboot::dhcp::Lease;
use tokio::sync::oneshot;

/// Zeros that are written ahead of the lines, in bytes.
const AHEAD: usize = 1 << 20;
/// A log below this size is not worth rewriting, in bytes. Answers wait for a rewrite.
const SMALL: u64 = if cfg!(test) { 1 << 20 } else { 8 << 20 };
/// Groups that share one commit at most.
const GROUPS: usize = 1024;

/// Every lease that was stored, expired ones included.
pub type Table = BTreeMap<Ipv4Addr, Lease>;

/// A handle to the log. Cloning it is cheap; the file is closed when the last one is gone.
#[derive(Clone)]
pub struct Leases {
    table: Arc<RwLock<Table>>,
    groups: Sender<Group>,
}

/// What one commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Leases that it made durable.
    pub leases: usize,
    /// How long it took.
    pub took: Duration,
}

struct Group {
    leases: Vec<Lease>,
    done: oneshot::Sender<Result<Stored, String>>,
}

impl Leases {
    /// Opens the log and starts its thread. `older` is what stood elsewhere before there was a log.
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
        let table = Arc::new(RwLock::new(table));
        let (groups, queue) = channel();
        let shared = Arc::clone(&table);
        std::thread::Builder::new()
            .name("leases".into())
            .spawn(move || write_groups(log, &shared, &queue))
            .context("starting the thread of the leases")?;
        Ok(Self { table, groups })
    }

    /// What is durable now. Not to be held across an `await`.
    pub fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues leases. What is returned resolves when they are durable.
    pub fn store(&self, leases: Vec<Lease>) -> Storing {
        let (done, outcome) = oneshot::channel();
        // The thread ends only when every handle is gone, or in a panic that has been logged.
        let _ = self.groups.send(Group { leases, done });
        Storing(outcome)
    }
}

/// A commit under way.
pub struct Storing(oneshot::Receiver<Result<Stored, String>>);

impl Storing {
    /// Waits until the leases are durable. May be dropped and called again.
    pub async fn wait(&mut self) -> anyhow::Result<Stored> {
        match (&mut self.0).await {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(error)) => Err(anyhow::anyhow!(error).context("writing the leases")),
            Err(_) => Err(anyhow::anyhow!("the thread of the leases has ended")),
        }
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

fn encode(lease: &Lease, bytes: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let start = bytes.len();
    bytes.extend_from_slice(b"00000000 ");
    let json = bytes.len();
    serde_json::to_writer(&mut *bytes, lease)?;
    let sum = format!("{:08x}", checksum(&bytes[json..]));
    bytes[start..start + 8].copy_from_slice(sum.as_bytes());
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

fn write_groups(mut log: Log, table: &RwLock<Table>, queue: &Receiver<Group>) {
    while let Ok(first) = queue.recv() {
        let mut groups = vec![first];
        groups.extend(queue.try_iter().take(GROUPS - 1));
        let outcome = log.commit(&groups, table);
        if let Err(error) = &outcome {
            tracing::error!("writing the leases: {error}");
        }
        let outcome = outcome.map_err(|error| error.to_string());
        for group in groups {
            // Whoever asked may have gone away.
            let _ = group.done.send(outcome.clone());
        }
    }
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
    buffer: Vec<u8>,
}

impl Log {
    /// A new file that holds the table, in the place of the former one.
    fn create(path: &Path, table: &Table) -> std::io::Result<Self> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        let mut buffer = Vec::new();
        for lease in table.values() {
            encode(lease, &mut buffer)?;
        }
        let end = buffer.len();
        buffer.resize(end + AHEAD, 0);
        file.write_all(&buffer)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self {
            path: path.to_owned(),
            file,
            end: end as u64,
            zeros: (end + AHEAD) as u64,
            initial: end as u64,
            is_doubtful: false,
            buffer: Vec::new(),
        })
    }

    fn commit(&mut self, groups: &[Group], table: &RwLock<Table>) -> std::io::Result<Stored> {
        let began = Instant::now();
        let read = || table.read().unwrap_or_else(PoisonError::into_inner);
        let has_grown = self.end > SMALL && self.end > 4 * self.initial;
        if self.is_doubtful || has_grown {
            *self = Self::create(&self.path, &read())?;
        }
        let leases = || groups.iter().flat_map(|group| &group.leases);
        if let Err(error) = self.append(leases()) {
            self.is_doubtful = true;
            return Err(error);
        }
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        table.extend(by_address(leases().cloned()));
        Ok(Stored {
            leases: leases().count(),
            took: began.elapsed(),
        })
    }

    fn append<'l>(&mut self, leases: impl Iterator<Item = &'l Lease>) -> std::io::Result<()> {
        self.buffer.clear();
        for lease in leases {
            encode(lease, &mut self.buffer)?;
        }
        let end = self.end + self.buffer.len() as u64;
        if end >= self.zeros {
            let zeros = vec![0; AHEAD + (end - self.zeros) as usize];
            self.file.write_all_at(&zeros, self.zeros)?;
            self.zeros += zeros.len() as u64;
        }
        self.file.write_all_at(&self.buffer, self.end)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
