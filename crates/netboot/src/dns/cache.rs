//! Answers of upstream servers, for as long as their TTLs say, within bounds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use hardway_model::lifecycle::Timestamp;

use super::forward::{Answer, FAILURE, Key};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Questions.
    pub entries: usize,
    /// Bytes, of questions and answers without the cache's own book-keeping.
    pub bytes: usize,
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The answer, and how many seconds ago it came.
    Answer(Arc<Answer>, u32),
    /// No upstream server could say a moment ago.
    Failed,
}

/// Answers by question.
#[derive(Debug)]
pub struct Cache {
    limits: Limits,
    entries: HashMap<Key, Entry>,
    /// By the end of their time: what makes room first.
    ends: BTreeSet<(Timestamp, Key)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// `None` for a failure.
    answer: Option<Arc<Answer>>,
    since: Timestamp,
    end: Timestamp,
}

impl Entry {
    fn size(&self, key: &Key) -> usize {
        // The key stands in both collections.
        2 * key.size() + self.answer.as_ref().map_or(0, |answer| answer.size())
    }
}

impl Cache {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            ends: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// What is known of a question at `now`.
    pub fn get(&self, key: &Key, now: Timestamp) -> Option<Known> {
        // A clock that was set back makes an answer young, not old: then it is asked for again.
        let entry = self.entries.get(key);
        let entry = entry.filter(|entry| (entry.since..entry.end).contains(&now))?;
        let age = u32::try_from((now - entry.since) / 1000).unwrap_or(u32::MAX);
        Some(match &entry.answer {
            Some(answer) => Known::Answer(Arc::clone(answer), age),
            None => Known::Failed,
        })
    }

    /// Keeps what came of a question at `now`: an answer, or `None` where no upstream server could say.
    pub fn insert(&mut self, key: Key, answer: Option<Arc<Answer>>, now: Timestamp) {
        self.remove(&key);
        let lifetime = answer.as_ref().map_or(FAILURE, |answer| answer.lifetime());
        let end = now.saturating_add(u64::from(lifetime) * 1000);
        let entry = Entry {
            answer,
            since: now,
            end,
        };
        let size = entry.size(&key);
        if lifetime == 0 || size > self.limits.bytes || self.limits.entries == 0 {
            return;
        }
        while self.bytes + size > self.limits.bytes || self.entries.len() >= self.limits.entries {
            let Some((_, first)) = self.ends.first().cloned() else {
                return;
            };
            self.remove(&first);
        }
        self.bytes += size;
        self.ends.insert((end, key.clone()));
        self.entries.insert(key, entry);
    }

    /// How many questions are kept, and how many bytes that takes.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.size(key);
            self.ends.remove(&(entry.end, key.clone()));
        }
    }
}
