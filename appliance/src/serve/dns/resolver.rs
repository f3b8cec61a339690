//! The answer to a question: from the zone, the cache, or an upstream server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hardway_netboot::dns::cache::Known;
use hardway_netboot::dns::forward::{Answer, Key, Question};
use hardway_netboot::dns::{Reply, Transport, respond};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::names::{Current, Names};
use super::upstream::{self, Preference};
use crate::clock;

/// Questions that are forwarded at once.
const MOST: usize = 256;

/// What comes of a question that an upstream server is being asked.
type Outcome = OnceCell<Option<Arc<Answer>>>;

/// What all clients share.
pub struct Resolver {
    names: Names,
    /// Questions that an upstream server is being asked. Whoever asks the same waits for the same
    /// answer: a thousand machines ask for one mirror, and many open questions for one name would
    /// make a forged answer likely (RFC 5452 section 5).
    open: Mutex<HashMap<Key, Arc<Outcome>>>,
    room: Arc<Semaphore>,
    preference: Preference,
}

impl Resolver {
    /// One that has asked nothing yet.
    pub fn new(names: Names) -> Arc<Self> {
        Arc::new(Self {
            names,
            open: Mutex::default(),
            room: Arc::new(Semaphore::new(MOST)),
            preference: Preference::default(),
        })
    }

    /// Room for one more question that is forwarded.
    pub fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// What can be said at once, which includes what is in the cache.
    pub fn respond(&self, query: &[u8], transport: Transport) -> Reply {
        let Some(current) = self.names.current() else {
            return Reply::Silence;
        };
        let forwards = !current.upstream.is_empty();
        let now = clock::now();
        let reply = respond(query, &current.zone, forwards, transport, now);
        let Reply::Forward(question) = reply else {
            return reply;
        };
        match lock(&current.cache).get(&question.key(), now) {
            Some(Known::Answer(answer, age)) => Reply::Answer(answer.message_for(&question, age)),
            Some(Known::Failed) => Reply::Answer(question.failure()),
            None => Reply::Forward(question),
        }
    }

    /// What an upstream server says; that none does, where none does.
    pub async fn forward(&self, question: &Question) -> Vec<u8> {
        let answer = match self.names.current() {
            Some(current) => self.ask(question, &current).await,
            None => None,
        };
        match answer {
            Some(answer) => answer.message_for(question, 0),
            None => question.failure(),
        }
    }

    async fn ask(&self, question: &Question, current: &Current) -> Option<Arc<Answer>> {
        let key = question.key();
        let open = Arc::clone(lock(&self.open).entry(key.clone()).or_default());
        let asked = open.get_or_init(|| async {
            let answer = upstream::ask(question, &current.upstream, &self.preference).await;
            let answer = answer.map(Arc::new);
            lock(&current.cache).insert(key.clone(), answer.clone(), clock::now());
            answer
        });
        let answer = asked.await.clone();
        let mut questions = lock(&self.open);
        if questions
            .get(&key)
            .is_some_and(|cell| Arc::ptr_eq(cell, &open))
        {
            questions.remove(&key);
        }
        answer
    }
}

/// A panic while the lock was held left nothing half done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
