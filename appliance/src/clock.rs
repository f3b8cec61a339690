//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use hardway_model::lifecycle::Timestamp;

/// Milliseconds since 1970-01-01 UTC; 0 on a clock that stands before it.
pub fn now() -> Timestamp {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as Timestamp)
}
