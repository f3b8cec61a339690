//! What the guest tells the host: one JSON line for each event, on a serial port of its own.

use serde::{Deserialize, Serialize};

/// Every line starts so; whatever else is on the port is noise.
const MARK: &str = "@blackbox ";

/// What becomes of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "how")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Otherwise.
    Failed(String),
    /// Everything was carried out, and something should have refused.
    Wrote,
    /// Not run.
    Skipped(String),
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The case of this index begins.
    Begin {
        /// Index in the corpus.
        index: usize,
    },
    /// It has ended.
    End {
        /// Index in the corpus.
        index: usize,
        /// How.
        outcome: Outcome,
    },
    /// The guest cannot go on at all.
    Broken {
        /// Why.
        why: String,
    },
    /// All cases have ended.
    Done,
}

impl Event {
    /// The line, without its end.
    pub fn line(&self) -> String {
        // An event is always JSON.
        format!("{MARK}{}", serde_json::to_string(self).unwrap_or_default())
    }

    /// All events in what a guest has said so far. A line that is not complete yet does not count.
    pub fn all(said: &str) -> Vec<Self> {
        let complete = said.rfind('\n').map_or("", |end| &said[..end]);
        let lines = complete.lines().filter_map(|line| line.split_once(MARK));
        lines
            .filter_map(|(_, json)| serde_json::from_str(json.trim_end()).ok())
            .collect()
    }
}

/// The work of one boot: a file in the guest's initramfs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Work {
    /// Indices in the corpus, in order.
    pub cases: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_among_noise() {
        let end = Event::End {
            index: 3,
            outcome: Outcome::Failed("a\nb".to_owned()),
        };
        let said = format!(
            "[ 1.0] noise\r\n{}\r\nnoise{}\r\n{}",
            Event::Done.line(),
            end.line(),
            end.line()
        );
        assert_eq!(Event::all(&said), [Event::Done, end]);
    }
}
