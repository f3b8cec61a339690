//! Counting: a line for each case that differs or is skipped, and the closing line.

use super::deviations::Deviations;

/// What becomes of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Otherwise, and how.
    Failed(String),
    /// Written what should have been refused. Never excused.
    Wrote(String),
    /// Not run, and why.
    Skipped(String),
}

/// The count of one corpus. A case that fails and is listed as a deviation counts as skipped.
pub struct Tally<'a> {
    corpus: &'static str,
    deviations: &'a Deviations,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl<'a> Tally<'a> {
    /// Nothing counted yet.
    pub fn new(corpus: &'static str, deviations: &'a Deviations) -> Self {
        Self {
            corpus,
            deviations,
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    /// Counts a case and prints what is to be said of it.
    pub fn add(&mut self, case: &str, verdict: Verdict) {
        if let Some(line) = self.count(case, verdict) {
            println!("{line}");
        }
    }

    fn count(&mut self, case: &str, verdict: Verdict) -> Option<String> {
        let excuse = self.deviations.reason(self.corpus, case);
        let corpus = self.corpus;
        match (verdict, excuse) {
            (Verdict::Passed, None) => {
                self.passed += 1;
                None
            }
            (Verdict::Passed, Some(_)) => {
                self.passed += 1;
                Some(format!(
                    "{corpus} {case}: passes, though it is listed as a deviation"
                ))
            }
            (Verdict::Failed(how), Some(reason)) => {
                self.skipped += 1;
                Some(format!(
                    "{corpus} {case}: deviates as listed: {reason} ({how})"
                ))
            }
            (Verdict::Failed(how), None) => {
                self.failed += 1;
                Some(format!("{corpus} {case}: FAILED: {how}"))
            }
            (Verdict::Wrote(how), _) => {
                self.failed += 1;
                Some(format!(
                    "{corpus} {case}: WROTE what should have been refused: {how}"
                ))
            }
            (Verdict::Skipped(why), _) => {
                self.skipped += 1;
                Some(format!("{corpus} {case}: skipped: {why}"))
            }
        }
    }

    /// Prints the closing line. True when nothing failed.
    pub fn close(&self) -> bool {
        println!("{}", self.closing_line());
        self.failed == 0
    }

    fn closing_line(&self) -> String {
        let Self {
            corpus,
            passed,
            failed,
            skipped,
            ..
        } = self;
        format!("{corpus}: {passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_skipped_with_their_reason_and_never_passed() {
        let deviations = Deviations::parse(
            "[[deviation]]\ncorpus = \"merge\"\ncase = \"odd*\"\nreason = \"on purpose\"\n",
        )
        .unwrap();
        let mut tally = Tally::new("merge", &deviations);
        let failed = || Verdict::Failed("x".to_owned());
        let line = tally.count("odd one", failed()).unwrap();
        assert_eq!(line, "merge odd one: deviates as listed: on purpose (x)");
        assert!(tally.count("even", failed()).unwrap().contains("FAILED"));
        assert_eq!(tally.count("plain", Verdict::Passed), None);
        let line = tally.count("odd", Verdict::Wrote("y".to_owned())).unwrap();
        assert!(line.contains("WROTE"), "{line}");
        assert!(tally.count("odd two", Verdict::Passed).is_some());
        tally.count("rest", Verdict::Skipped("none".to_owned()));
        assert_eq!(tally.closing_line(), "merge: 2 passed, 2 failed, 2 skipped");
        assert!(!tally.close());
    }
}
