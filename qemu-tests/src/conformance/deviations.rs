//! The cases in which this program differs on purpose: `qemu-tests/deviations.toml`.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// More than these would be a habit.
const MOST: usize = 5;
const LISTED: &str = include_str!("../../deviations.toml");

/// The list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviations {
    #[serde(default)]
    deviation: Vec<Deviation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    corpus: String,
    /// A case's name; `*` at the end stands for any continuation.
    case: String,
    reason: String,
}

impl Deviations {
    /// The list that is kept with this program.
    pub fn listed() -> Result<Self> {
        Self::parse(LISTED)
    }

    /// Reads a list; one that is too long, or gives no reason, is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text).context("reading deviations.toml")?;
        let count = list.deviation.len();
        ensure!(
            count <= MOST,
            "deviations.toml lists {count} deviations, and {MOST} are allowed"
        );
        for deviation in &list.deviation {
            let has_reason = !deviation.reason.trim().is_empty();
            ensure!(
                has_reason,
                "deviations.toml gives no reason for {}",
                deviation.case
            );
        }
        Ok(list)
    }

    /// Why this case may differ, if it may.
    pub fn reason(&self, corpus: &str, case: &str) -> Option<&str> {
        let found = self.deviation.iter().find(|deviation| {
            deviation.corpus == corpus
                && match deviation.case.strip_suffix('*') {
                    Some(start) => case.starts_with(start),
                    None => case == deviation.case,
                }
        });
        found.map(|deviation| deviation.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: usize, reason: &str) -> String {
        format!("[[deviation]]\ncorpus = \"merge\"\ncase = \"a*\"\nreason = \"{reason}\"\n")
            .repeat(count)
    }

    #[test]
    fn five_at_most_each_with_a_reason() {
        assert!(Deviations::parse(&list(5, "because")).is_ok());
        assert!(Deviations::parse(&list(6, "because")).is_err());
        assert!(Deviations::parse(&list(1, " ")).is_err());
        assert!(Deviations::listed().is_ok());
    }

    #[test]
    fn a_case_is_found_in_its_corpus_by_name_or_start() {
        let found = Deviations::parse(&list(1, "because")).unwrap();
        assert_eq!(found.reason("merge", "abc"), Some("because"));
        assert_eq!(found.reason("merge", "bac"), None);
        assert_eq!(found.reason("validate", "abc"), None);
    }
}
