//! The one owner of desired state and lifecycle: commands in, snapshots out.
//!
//! A single task holds every machine's state, so that events of one machine are judged one after
//! the other. What has to be durable is, before [`Fleet::record`] returns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hardway_model::cluster::{Cluster, Machine};
use hardway_model::identity::Identity;
use hardway_model::lifecycle::{Event, MachineState, TimelineEntry};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// A handle to the fleet. Cloning it is cheap.
#[derive(Clone)]
pub struct Fleet {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    changes: broadcast::Sender<String>,
}

/// Everything known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The cluster, `None` as long as its file could never be read.
    pub cluster: Option<Arc<Cluster>>,
    /// What is wrong with cluster.yaml, as `hardway check` prints it.
    pub problems: Vec<String>,
    /// Every declared machine and every other that was heard of, by name.
    pub machines: BTreeMap<String, Arc<MachineState>>,
}
