//! How many connections there are: in all, and of each address.
//!
//! Where all places are taken, new connections wait to be accepted, and those that are idle are closed
//! to make room. One address cannot take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

pub struct Room {
    places: Arc<Semaphore>,
    most_of_one: usize,
    peers: Mutex<HashMap<IpAddr, usize>>,
    wanted: Notify,
    metrics: Arc<Metrics>,
}

/// A connection's place; it is free again when this is dropped.
pub struct Place {
    room: Arc<Room>,
    peer: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub fn new(most: usize, most_of_one: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            most_of_one,
            peers: Mutex::default(),
            wanted: Notify::new(),
            metrics,
        }
    }

    /// Waits for a free place.
    pub async fn free(&self) -> anyhow::Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        self.wanted.notify_waiters();
        let permit = Arc::clone(&self.places).acquire_owned().await;
        permit.context("waiting for room")
    }

    /// Gives the place to an address; `None` where it has too many.
    pub fn admit(self: &Arc<Self>, permit: OwnedSemaphorePermit, peer: IpAddr) -> Option<Place> {
        let mut peers = self.peers();
        let count = peers.entry(peer).or_default();
        if *count >= self.most_of_one {
            return None;
        }
        *count += 1;
        drop(peers);
        self.metrics.http_open.inc();
        Some(Place {
            room: Arc::clone(self),
            peer,
            _permit: permit,
        })
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns when somebody else needs the place more than an idle connection does.
    pub async fn wanted(&self) {
        let wanted = self.room.wanted.notified();
        if self.room.places.available_permits() > 0 {
            wanted.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.metrics.http_open.dec();
        let mut peers = self.room.peers();
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}
