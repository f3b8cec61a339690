//! The task that owns every machine's state.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use hardway_model::lifecycle::{self, Effect, Event, MachineState, TimelineEntry};
use hardway_netboot::dhcp::Lease;
use tokio::sync::{broadcast, mpsc, watch};

use super::{Command, Snapshot};
use crate::clock;
use crate::journal::{Committed, Journal, Write};

/// Lines kept of each machine's timeline.
pub const TIMELINE_LENGTH: usize = 500;
/// Undeclared machines that are remembered; the one unheard of for longest makes room.
const UNDECLARED: usize = 500;

pub struct Owner {
    journal: Journal,
    snapshot: Snapshot,
    timelines: BTreeMap<String, Timeline>,
    leases: BTreeMap<Ipv4Addr, Lease>,
    publish: watch::Sender<Arc<Snapshot>>,
    changes: broadcast::Sender<Arc<str>>,
}

#[derive(Default)]
struct Timeline {
    /// The number of the next line.
    next: u64,
    lines: VecDeque<(u64, TimelineEntry)>,
}

impl Owner {
    pub fn load(journal: Journal, changes: broadcast::Sender<Arc<str>>) -> anyhow::Result<Self> {
        let contents = journal.read()?;
        let mut snapshot = Snapshot::default();
        for (name, value) in &contents.machines {
            let state: MachineState = serde_json::from_slice(value)
                .with_context(|| format!("reading the journal's state of {name}"))?;
            snapshot.machines.insert(name.clone(), Arc::new(state));
        }
        let mut timelines: BTreeMap<String, Timeline> = BTreeMap::new();
        for (name, lines) in &contents.timelines {
            let timeline = timelines.entry(name.clone()).or_default();
            for (number, value) in lines {
                let entry = serde_json::from_slice(value)
                    .with_context(|| format!("reading the journal's timeline of {name}"))?;
                timeline.lines.push_back((*number, entry));
                timeline.next = number + 1;
            }
        }
        let mut leases = BTreeMap::new();
        for (address, value) in &contents.leases {
            let lease: Lease = serde_json::from_slice(value)
                .with_context(|| format!("reading the journal's lease of {address}"))?;
            leases.insert(lease.address, lease);
        }
        let (publish, _) = watch::channel(Arc::new(snapshot.clone()));
        Ok(Self {
            journal,
            snapshot,
            timelines,
            leases,
            publish,
            changes,
        })
    }

    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.publish.subscribe()
    }

    pub async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.recv().await {
            self.obey(command);
        }
    }

    /// Whoever asked may have gone away: an answer that nobody takes is no error.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Record { name, event, done } => {
                let _ = done.send(self.record(&name, *event));
            }
            Command::Adopt { from, to, done } => {
                let _ = done.send(self.adopt(&from, &to));
            }
            Command::Configure {
                cluster,
                problems,
                done,
            } => {
                if let Some(cluster) = cluster {
                    for machine in &cluster.machines {
                        let machines = &mut self.snapshot.machines;
                        machines.entry(machine.name.clone()).or_insert_with(fresh);
                    }
                    self.snapshot.cluster = Some(cluster);
                }
                self.snapshot.problems = problems;
                self.publish("");
                let _ = done.send(None);
            }
            Command::Timeline { name, answer } => {
                let lines = self.timelines.get(&name).map(|timeline| &timeline.lines);
                let lines = lines.into_iter().flatten();
                let _ = answer.send(lines.map(|(_, entry)| entry.clone()).collect());
            }
            Command::StoreLease { lease, done } => {
                let write =
                    json(&*lease).map(|value| Write::Lease(lease.address.to_string(), value));
                self.leases.insert(lease.address, *lease);
                let _ = done.send(write.map(|write| self.journal.commit(vec![write])));
            }
            Command::Leases { answer } => {
                let _ = answer.send(self.leases.values().cloned().collect());
            }
        }
    }

    fn record(&mut self, name: &str, event: Event) -> Option<Committed> {
        let state = match self.snapshot.machines.get(name) {
            Some(state) => MachineState::clone(state),
            None => {
                self.make_room();
                MachineState::clone(&fresh())
            }
        };
        let (state, effects) = lifecycle::step(state, event, clock::now());
        let mut writes = Vec::new();
        let mut persist = false;
        for effect in effects {
            match effect {
                Effect::Timeline(entry) => self.append(name, entry, &mut writes),
                Effect::Persist => persist = true,
            }
        }
        if persist && let Some(value) = json(&state) {
            writes.push(Write::Machine(name.to_owned(), value));
        }
        let machines = &mut self.snapshot.machines;
        machines.insert(name.to_owned(), Arc::new(state));
        self.publish(name);
        self.write(writes, persist)
    }

    fn adopt(&mut self, from: &str, to: &str) -> Option<Committed> {
        let undeclared = self.snapshot.machines.remove(from)?;
        let timeline = self.timelines.remove(from).unwrap_or_default();
        let mut state = match self.snapshot.machines.get(to) {
            Some(state) => MachineState::clone(state),
            None => MachineState::clone(&fresh()),
        };
        state.token = undeclared.token.clone();
        state.identity = undeclared.identity.clone();
        state.first_seen = state.first_seen.or(undeclared.first_seen);
        state.figures = undeclared.figures.clone();
        let mut writes = vec![Write::ForgetMachine(from.to_owned())];
        for (_, entry) in timeline.lines {
            self.append(to, entry, &mut writes);
        }
        writes.extend(json(&state).map(|value| Write::Machine(to.to_owned(), value)));
        let machines = &mut self.snapshot.machines;
        machines.insert(to.to_owned(), Arc::new(state));
        self.publish("");
        self.write(writes, true)
    }

    fn append(&mut self, name: &str, entry: TimelineEntry, writes: &mut Vec<Write>) {
        let timeline = self.timelines.entry(name.to_owned()).or_default();
        if let Some(value) = json(&entry) {
            writes.push(Write::Timeline(name.to_owned(), timeline.next, value));
        }
        timeline.lines.push_back((timeline.next, entry));
        timeline.next += 1;
        while timeline.lines.len() > TIMELINE_LENGTH {
            if let Some((number, _)) = timeline.lines.pop_front() {
                writes.push(Write::DropTimeline(name.to_owned(), number));
            }
        }
    }

    fn write(&self, writes: Vec<Write>, durable: bool) -> Option<Committed> {
        if durable {
            return Some(self.journal.commit(writes));
        }
        if !writes.is_empty() {
            self.journal.append(writes);
        }
        None
    }

    /// Keeps strangers from filling memory and journal.
    fn make_room(&mut self) {
        let cluster = self.snapshot.cluster.clone();
        let declared = |name: &str| {
            let machine = cluster.as_ref().and_then(|cluster| cluster.machine(name));
            machine.is_some()
        };
        let strangers = || {
            self.snapshot
                .machines
                .iter()
                .filter(|(name, _)| !declared(name))
        };
        if strangers().count() < UNDECLARED {
            return;
        }
        let oldest = strangers().min_by_key(|(_, state)| state.last_seen);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.snapshot.machines.remove(&name);
            self.timelines.remove(&name);
            self.journal.append(vec![Write::ForgetMachine(name)]);
        }
    }

    fn publish(&self, changed: &str) {
        self.publish.send_replace(Arc::new(self.snapshot.clone()));
        // Nobody subscribed is no error.
        let _ = self.changes.send(changed.into());
    }
}

/// A machine that was never heard of, with its first generation wanted.
fn fresh() -> Arc<MachineState> {
    Arc::new(MachineState {
        generation: 1,
        ..MachineState::default()
    })
}

/// These types hold nothing that JSON cannot; a value that still fails is logged, not written.
fn json<T: serde::Serialize>(value: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(value)
        .inspect_err(|error| tracing::error!("encoding for the journal: {error}"))
        .ok()
}
