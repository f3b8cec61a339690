//! The task that owns every machine's state.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use anyhow::Context as _;
use hardway_model::cluster::Cluster;
use hardway_model::lifecycle::{self, Effect, Event, MachineState, TimelineEntry};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{Command, Snapshot};
use crate::clock;
use crate::journal::{Committed, Contents, Journal, Write};

/// Lines kept of each machine's timeline.
pub const TIMELINE_LENGTH: usize = 500;
/// Undeclared machines that are remembered; the one unheard of for longest makes room.
const UNDECLARED: usize = 500;
/// Commands that are obeyed before a snapshot is published.
const TOGETHER: usize = 256;

pub struct Owner {
    journal: Journal,
    snapshot: Snapshot,
    timelines: BTreeMap<String, Timeline>,
    /// Names of the machines of cluster.yaml.
    declared: HashSet<String>,
    publish: watch::Sender<Arc<Snapshot>>,
    changes: broadcast::Sender<Arc<str>>,
    /// Names of what changed since the last snapshot was published, each once.
    changed: Vec<Arc<str>>,
    /// Who is answered when the next snapshot is published.
    answers: Vec<(oneshot::Sender<Option<Committed>>, Option<Committed>)>,
}

#[derive(Default)]
struct Timeline {
    /// The number of the next line.
    next: u64,
    lines: VecDeque<(u64, TimelineEntry)>,
}

impl Owner {
    pub fn load(
        contents: &Contents,
        journal: Journal,
        changes: broadcast::Sender<Arc<str>>,
    ) -> anyhow::Result<Self> {
        let mut snapshot = Snapshot::default();
        for (name, value) in &contents.machines {
            let state: MachineState = serde_json::from_slice(value)
                .with_context(|| format!("reading the journal's state of {name}"))?;
            snapshot.machines.insert_mut(name.clone(), Arc::new(state));
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
        let (publish, _) = watch::channel(Arc::new(snapshot.clone()));
        Ok(Self {
            journal,
            snapshot,
            timelines,
            declared: HashSet::new(),
            publish,
            changes,
            changed: Vec::new(),
            answers: Vec::new(),
        })
    }

    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.publish.subscribe()
    }

    pub async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut commands = Vec::with_capacity(TOGETHER);
        while queue.recv_many(&mut commands, TOGETHER).await > 0 {
            for command in commands.drain(..) {
                self.obey(command);
            }
            self.publish();
        }
    }

    /// Whoever asked may have gone away: an answer that nobody takes is no error.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Record { name, event, done } => {
                let committed = self.record(&name, *event, done.is_some());
                self.answers.extend(done.map(|done| (done, committed)));
            }
            Command::Adopt { from, to, done } => {
                let committed = self.adopt(&from, &to);
                self.answers.push((done, committed));
            }
            Command::Configure {
                cluster,
                problems,
                done,
            } => {
                if let Some(cluster) = cluster {
                    self.declare(&cluster);
                    self.snapshot.declare(cluster);
                }
                self.snapshot.problems = problems;
                self.has_changed("");
                self.answers.push((done, None));
            }
            Command::Timeline { name, answer } => {
                let lines = self.timelines.get(&name).map(|timeline| &timeline.lines);
                let lines = lines.into_iter().flatten();
                let _ = answer.send(lines.map(|(_, entry)| entry.clone()).collect());
            }
        }
    }

    fn declare(&mut self, cluster: &Cluster) {
        let names = cluster.machines.iter().map(|machine| machine.name.clone());
        self.declared = names.collect();
        for name in &self.declared {
            if !self.snapshot.machines.contains_key(name) {
                self.snapshot.machines.insert_mut(name.clone(), fresh());
            }
        }
    }

    /// An event that nobody waits for is durable a little later.
    fn record(&mut self, name: &str, event: Event, is_awaited: bool) -> Option<Committed> {
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
        machines.insert_mut(name.to_owned(), Arc::new(state));
        self.has_changed(name);
        self.write(writes, persist && is_awaited)
    }

    fn adopt(&mut self, from: &str, to: &str) -> Option<Committed> {
        let undeclared = self.snapshot.machines.get(from).cloned()?;
        self.snapshot.machines.remove_mut(from);
        let timeline = self.timelines.remove(from).unwrap_or_default();
        let mut state = match self.snapshot.machines.get(to) {
            Some(state) => MachineState::clone(state),
            None => MachineState::clone(&fresh()),
        };
        state.token = undeclared.token.clone();
        state.identity = undeclared.identity.clone();
        state.first_seen = state.first_seen.or(undeclared.first_seen);
        state.figures = undeclared.figures.clone();
        state.boot = undeclared.boot.clone();
        let mut writes = vec![Write::ForgetMachine(from.to_owned())];
        for (_, entry) in timeline.lines {
            self.append(to, entry, &mut writes);
        }
        writes.extend(json(&state).map(|value| Write::Machine(to.to_owned(), value)));
        let machines = &mut self.snapshot.machines;
        machines.insert_mut(to.to_owned(), Arc::new(state));
        self.has_changed("");
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
        // Every declared machine has a state.
        if self.snapshot.machines.size() < self.declared.len() + UNDECLARED {
            return;
        }
        let machines = self.snapshot.machines.iter();
        let oldest = machines
            .filter(|(name, _)| !self.declared.contains(*name))
            .min_by_key(|(_, state)| state.last_seen);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.snapshot.machines.remove_mut(&name);
            self.timelines.remove(&name);
            self.journal.append(vec![Write::ForgetMachine(name)]);
        }
    }

    fn has_changed(&mut self, name: &str) {
        if !self.changed.iter().any(|changed| **changed == *name) {
            self.changed.push(name.into());
        }
    }

    /// Lets everybody see what changed, then answers who asked for it.
    fn publish(&mut self) {
        if !self.changed.is_empty() {
            self.publish.send_replace(Arc::new(self.snapshot.clone()));
        }
        for name in self.changed.drain(..) {
            // Nobody subscribed is no error.
            let _ = self.changes.send(name);
        }
        for (done, committed) in self.answers.drain(..) {
            let _ = done.send(committed);
        }
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
