//! Trying again: what fails for a passing reason is repeated with growing pauses.

use std::time::Duration;

use crate::http::HttpError;
use crate::reports::Reports;

/// How often a request is made before its failure counts.
const ATTEMPTS: u32 = 30;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Repeats `request` while it fails for a passing reason, about four minutes in all.
pub fn patiently<T>(
    reports: &Reports,
    mut request: impl FnMut() -> Result<T, HttpError>,
) -> Result<T, HttpError> {
    let mut attempt = 0;
    loop {
        match request() {
            Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                let pause = pause(attempt);
                reports.log(&format!("{}; trying again in {pause:?}", chain(&error)));
                std::thread::sleep(pause);
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// The pause after the `attempt`th failure, counted from 0: half a second, doubling up to ten.
pub fn pause(attempt: u32) -> Duration {
    Duration::from_millis(500)
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_PAUSE)
}

/// An error and its causes in one line, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses: Vec<u128> = [0, 1, 2, 5, 40].map(|n| pause(n).as_millis()).into();
        assert_eq!(pauses, [500, 1000, 2000, 10_000, 10_000]);
    }

    #[test]
    fn a_final_refusal_is_not_repeated() {
        let mut calls = 0;
        let outcome: Result<(), _> = patiently(&Reports::unheard(), || {
            calls += 1;
            Err(HttpError::Refused("spent".into()))
        });
        assert!(matches!(outcome, Err(HttpError::Refused(_))));
        assert_eq!(calls, 1);
    }
}
