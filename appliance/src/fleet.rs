//! The one owner of desired state and lifecycle: commands in, snapshots out.
//!
//! A single task holds every machine's state, so that events of one machine are judged one after
//! the other. What has to be durable is, before [`Fleet::record`] returns. Commands that wait together
//! are obeyed together: one snapshot is published for all of them before any is answered.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::lifecycle::{Event, MachineState, TimelineEntry};
use hardway_netboot::dhcp::Lease;
use prometheus_client::metrics::counter::Counter;
use rpds::RedBlackTreeMapSync;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::journal::{Committed, Contents, Journal, Write};
use crate::leases::Leases;

mod owner;
#[cfg(test)]
mod tests;

/// Commands that may wait for the owner before senders have to.
const QUEUE: usize = 8192;
/// Changes that a slow subscriber may be behind.
const CHANGES: usize = 1024;

/// A handle to the fleet. Cloning it is cheap.
#[derive(Clone)]
pub struct Fleet {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    changes: broadcast::Sender<Arc<str>>,
    journal: Journal,
    leases: Leases,
    dropped: Counter,
}

/// Machines by name. Cloning it is cheap: clones share what has not changed since.
pub type Machines = RedBlackTreeMapSync<String, Arc<MachineState>>;

/// Everything known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The cluster; `None` while its file has never been right since the start.
    pub cluster: Option<Arc<Cluster>>,
    /// What is wrong with cluster.yaml, as `hardway check` prints it. With a cluster beside it: the
    /// file was broken later, and the last right one is still served.
    pub problems: Vec<String>,
    /// Every declared machine and every other that was heard of, by name.
    pub machines: Machines,
    /// Places of the declared machines by hardware address.
    by_mac: Arc<HashMap<MacAddress, Vec<usize>>>,
}

impl Snapshot {
    /// The declared machine that an identity belongs to, with its state.
    pub fn find(&self, identity: &Identity) -> Option<(&Machine, &MachineState)> {
        let machine = self.identify(identity)?;
        let state = self.machines.get(&machine.name)?;
        Some((machine, state))
    }

    /// [`Cluster::identify`], which looks through all machines, for packets: where a single hardware
    /// address decides, it is looked up.
    fn identify(&self, identity: &Identity) -> Option<&Machine> {
        let cluster = self.cluster.as_ref()?;
        if let [mac] = identity.macs[..] {
            match self.by_mac.get(&mac).map(Vec::as_slice) {
                Some([place]) => return cluster.machines.get(*place),
                Some(_) => return None,
                None if identity.serial.is_none() && identity.uuid.is_none() => return None,
                None => {}
            }
        }
        cluster.identify(identity)
    }

    fn declare(&mut self, cluster: Arc<Cluster>) {
        let mut by_mac: HashMap<MacAddress, Vec<usize>> = HashMap::new();
        for (place, machine) in cluster.machines.iter().enumerate() {
            for mac in &machine.matches.macs {
                let places = by_mac.entry(*mac).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        self.by_mac = Arc::new(by_mac);
        self.cluster = Some(cluster);
    }

    /// The declaration of a machine, by name.
    pub fn declared(&self, name: &str) -> Option<&Machine> {
        self.cluster.as_ref()?.machine(name)
    }

    /// The name under which events of an identity are recorded: the declared one, else the
    /// hyphenated first hardware address.
    pub fn name_of(&self, identity: &Identity) -> Option<String> {
        match self.find(identity) {
            Some((machine, _)) => Some(machine.name.clone()),
            None => identity.macs.first().map(|mac| mac.hyphenated()),
        }
    }

    /// The machine that a live boot token was issued to.
    pub fn by_token(&self, token: &str) -> Option<(&str, &MachineState)> {
        self.machines.iter().find_map(|(name, state)| {
            let live = state.token.as_ref()?;
            same_secret(&live.token, token).then_some((name.as_str(), state.as_ref()))
        })
    }
}

/// Compares without telling by the time it takes how much was right.
pub fn same_secret(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

enum Command {
    Record {
        name: String,
        event: Box<Event>,
        /// `None` where nobody waits.
        done: Option<oneshot::Sender<Option<Committed>>>,
    },
    Configure {
        cluster: Option<Arc<Cluster>>,
        problems: Vec<String>,
        done: oneshot::Sender<Option<Committed>>,
    },
    /// Hands an undeclared machine's live boot to the name that it was given meanwhile.
    Adopt {
        from: String,
        to: String,
        done: oneshot::Sender<Option<Committed>>,
    },
    Timeline {
        name: String,
        answer: oneshot::Sender<Vec<TimelineEntry>>,
    },
}

impl Fleet {
    /// Reads the journal, takes over the leases that an older appliance left in it, and starts the
    /// owner's task. The log of leases is kept at `leases`.
    pub fn start(journal: Journal, leases: &Path) -> anyhow::Result<Self> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let (changes, _) = broadcast::channel(CHANGES);
        let contents = journal.read()?;
        let older = older_leases(&contents)?;
        let are_left = !older.is_empty();
        let leases = Leases::open(leases, older)?;
        if are_left {
            journal.append(vec![Write::ForgetLeases]);
        }
        let owner = owner::Owner::load(&contents, journal.clone(), changes.clone())?;
        let snapshots = owner.snapshots();
        tokio::spawn(owner.run(queue));
        Ok(Self {
            commands,
            snapshots,
            changes,
            journal,
            leases,
            dropped: Counter::default(),
        })
    }

    /// What is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Judges an event by `lifecycle::step`. When this returns, whatever has to be durable is.
    pub async fn record(&self, name: &str, event: Event) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        let name = name.to_owned();
        let event = Box::new(event);
        let done = Some(done);
        self.send(Command::Record { name, event, done }).await?;
        settle(answer).await
    }

    /// Hands an event over without waiting for anything: it is judged in order with all others. Where
    /// thousands wait already it is dropped, and counted.
    pub fn observe(&self, name: String, event: Box<Event>) {
        let done = None;
        if let Err(TrySendError::Full(_)) =
            self.commands
                .try_send(Command::Record { name, event, done })
        {
            self.dropped.inc();
        }
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Hands a live boot of an undeclared machine to the name that cluster.yaml gives it now.
    pub async fn adopt(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        let (from, to) = (from.to_owned(), to.to_owned());
        self.send(Command::Adopt { from, to, done }).await?;
        settle(answer).await
    }

    /// Takes over a cluster, or what is wrong with its file. Without a cluster the one in use stays.
    pub async fn configure(
        &self,
        cluster: Option<Arc<Cluster>>,
        problems: Vec<String>,
    ) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        let command = Command::Configure {
            cluster,
            problems,
            done,
        };
        self.send(command).await?;
        settle(answer).await
    }

    /// A machine's timeline, oldest first.
    pub async fn timeline(&self, name: &str) -> anyhow::Result<Vec<TimelineEntry>> {
        let (answer, timeline) = oneshot::channel();
        let name = name.to_owned();
        self.send(Command::Timeline { name, answer }).await?;
        timeline.await.context("asking for a timeline")
    }

    /// Makes a lease durable.
    #[cfg(test)]
    pub async fn store_lease(&self, lease: Lease) -> anyhow::Result<()> {
        self.leases.commit(&[lease]).map(drop)
    }

    /// The durable leases: to store several by one commit, and to look one up.
    pub fn lease_log(&self) -> &Leases {
        &self.leases
    }

    /// Every lease that was stored, expired ones included.
    pub async fn leases(&self) -> anyhow::Result<Vec<Lease>> {
        Ok(self.leases.table().values().cloned().collect())
    }

    /// Names of machines as they change; an empty name when the cluster itself did.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Tells subscribers of a change that no event made.
    pub fn announce(&self, name: &str) {
        let _ = self.changes.send(name.into());
    }

    /// Returns when the owner's task has ended, which only a panic does to it.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// The journal, for what is not a machine's.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    async fn send(&self, command: Command) -> anyhow::Result<()> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| anyhow::anyhow!("the fleet's task has ended"))
    }
}

fn older_leases(contents: &Contents) -> anyhow::Result<Vec<Lease>> {
    let leases = contents.leases.iter().map(|(address, value)| {
        serde_json::from_slice(value)
            .with_context(|| format!("reading the journal's lease of {address}"))
    });
    leases.collect()
}

async fn settle(answer: oneshot::Receiver<Option<Committed>>) -> anyhow::Result<()> {
    match answer.await.context("asking the fleet's task")? {
        Some(committed) => committed.wait().await,
        None => Ok(()),
    }
}
