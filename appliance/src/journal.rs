//! Durable state beside the leases: one redb file, written by one thread.
//!
//! Values are JSON, so that the file can be exported and read without this program. Every write
//! that somebody waits for is on the disk (two-phase commit, fsync) before they hear of it; writes
//! that arrive together share one commit. Timeline lines alone are not worth an fsync: they go with
//! the next commit, after [`LINGER`] at the latest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

/// Machine name → [`hardway_model::lifecycle::MachineState`].
const MACHINES: TableDefinition<&str, &[u8]> = TableDefinition::new("machines");
/// IPv4 address → lease, as older appliances kept them; see [`crate::leases`].
const LEASES: TableDefinition<&str, &[u8]> = TableDefinition::new("leases");
/// Machine name and running number → [`hardway_model::lifecycle::TimelineEntry`].
const TIMELINE: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("timeline");
/// What the appliance remembers for itself.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// How long a write that nobody waits for may stay in memory.
const LINGER: Duration = Duration::from_secs(2);
/// Writes that share one commit at most.
const GROUP: usize = 512;

/// One change of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A machine's state.
    Machine(String, Vec<u8>),
    /// A machine is forgotten, timeline and all.
    ForgetMachine(String),
    /// A line of a machine's timeline, under its running number.
    Timeline(String, u64, Vec<u8>),
    /// A line that fell out of the bounded timeline.
    DropTimeline(String, u64),
    /// The leases of an older appliance, which stand elsewhere now.
    ForgetLeases,
    /// Something of the appliance's own.
    Meta(String, Vec<u8>),
}

/// Everything that the file holds. Values are JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Machine name → state.
    pub machines: BTreeMap<String, Vec<u8>>,
    /// Machine name → running number → line.
    pub timelines: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    /// Address → lease, as an older appliance left them.
    pub leases: BTreeMap<String, Vec<u8>>,
    /// What the appliance remembers for itself.
    pub meta: BTreeMap<String, Vec<u8>>,
}

struct Batch {
    writes: Vec<Write>,
    /// Told when the writes are on the disk, or why they are not.
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// A handle to the writing thread. The file is closed when the last one is gone.
#[derive(Clone)]
pub struct Journal {
    batches: Sender<Batch>,
    database: Arc<Database>,
}

impl Journal {
    /// Opens the file, repairs it if the power was cut, and starts the writing thread.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let database = Database::create(path)
            .with_context(|| format!("opening the journal {}", path.display()))?;
        let database = Arc::new(database);
        create_tables(&database).with_context(|| format!("preparing {}", path.display()))?;
        let (batches, queue) = channel();
        let writer = Arc::clone(&database);
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_batches(&writer, &queue))
            .context("starting the journal's thread")?;
        Ok(Self { batches, database })
    }

    /// Everything, for the start and for the export.
    pub fn read(&self) -> anyhow::Result<Contents> {
        read_contents(&self.database).context("reading the journal")
    }

    /// Queues writes that nobody waits for.
    pub fn append(&self, writes: Vec<Write>) {
        // The thread ends only when every handle is gone, or in a panic that has been logged.
        let _ = self.batches.send(Batch { writes, done: None });
    }

    /// Queues writes. The receiver hears when they are on the disk.
    pub fn commit(&self, writes: Vec<Write>) -> Committed {
        let (done, committed) = oneshot::channel();
        let _ = self.batches.send(Batch {
            writes,
            done: Some(done),
        });
        Committed(committed)
    }
}

/// A commit under way.
pub struct Committed(oneshot::Receiver<Result<(), String>>);

impl Committed {
    /// Waits until the writes are on the disk.
    pub async fn wait(self) -> anyhow::Result<()> {
        match self.0.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(anyhow::anyhow!(error).context("writing the journal")),
            Err(_) => Err(anyhow::anyhow!("the journal's thread has ended")),
        }
    }
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(MACHINES)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(TIMELINE)?;
    transaction.open_table(META)?;
    transaction.commit()?;
    Ok(())
}

fn write_batches(database: &Database, queue: &Receiver<Batch>) {
    let mut pending: Vec<Batch> = Vec::new();
    let mut deadline: Option<Instant> = None;
    loop {
        let received = match deadline {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match received {
            Ok(batch) => {
                pending.push(batch);
                while pending.len() < GROUP {
                    let Ok(batch) = queue.try_recv() else { break };
                    pending.push(batch);
                }
                let awaited = pending.iter().any(|batch| batch.done.is_some());
                if !awaited && pending.len() < GROUP {
                    deadline.get_or_insert_with(|| Instant::now() + LINGER);
                    continue;
                }
                finish(database, &mut pending);
                deadline = None;
            }
            Err(RecvTimeoutError::Timeout) => {
                finish(database, &mut pending);
                deadline = None;
            }
            Err(RecvTimeoutError::Disconnected) => {
                finish(database, &mut pending);
                return;
            }
        }
    }
}

/// Commits what is pending and tells who waits.
fn finish(database: &Database, pending: &mut Vec<Batch>) {
    if pending.is_empty() {
        return;
    }
    let writes = pending.iter().flat_map(|batch| &batch.writes);
    let result = commit(database, writes).map_err(|error| error.to_string());
    if let Err(error) = &result {
        tracing::error!("writing the journal: {error}");
    }
    for done in pending.drain(..).filter_map(|batch| batch.done) {
        let _ = done.send(result.clone());
    }
}

fn commit<'a>(
    database: &Database,
    writes: impl Iterator<Item = &'a Write>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    {
        let mut machines = transaction.open_table(MACHINES)?;
        let mut leases = transaction.open_table(LEASES)?;
        let mut timeline = transaction.open_table(TIMELINE)?;
        let mut meta = transaction.open_table(META)?;
        for write in writes {
            match write {
                Write::Machine(name, value) => {
                    machines.insert(name.as_str(), value.as_slice())?;
                }
                Write::ForgetMachine(name) => {
                    machines.remove(name.as_str())?;
                    let lines = (name.as_str(), 0)..=(name.as_str(), u64::MAX);
                    timeline.retain_in(lines, |_, _| false)?;
                }
                Write::Timeline(name, number, value) => {
                    timeline.insert((name.as_str(), *number), value.as_slice())?;
                }
                Write::DropTimeline(name, number) => {
                    timeline.remove((name.as_str(), *number))?;
                }
                Write::ForgetLeases => leases.retain(|_, _| false)?,
                Write::Meta(key, value) => {
                    meta.insert(key.as_str(), value.as_slice())?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn read_contents(database: &Database) -> Result<Contents, redb::Error> {
    let transaction = database.begin_read()?;
    let read = |definition| -> Result<BTreeMap<String, Vec<u8>>, redb::Error> {
        let table = transaction.open_table::<&str, &[u8]>(definition)?;
        let mut values = BTreeMap::new();
        for row in table.iter()? {
            let (key, value) = row?;
            values.insert(key.value().to_owned(), value.value().to_vec());
        }
        Ok(values)
    };
    let mut timelines: BTreeMap<String, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
    for row in transaction.open_table(TIMELINE)?.iter()? {
        let (key, value) = row?;
        let (name, number) = key.value();
        let lines = timelines.entry(name.to_owned()).or_default();
        lines.insert(number, value.value().to_vec());
    }
    Ok(Contents {
        machines: read(MACHINES)?,
        timelines,
        leases: read(LEASES)?,
        meta: read(META)?,
    })
}

#[cfg(test)]
mod tests;
