//! Two configs with a NUL between them, merged: no panic; an empty config changes nothing on either
//! side; the same twice is the same; and what is valid can be written and read again.

#![no_main]

use hardway_ignition::{Config, Severity, merge, parse, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let mut next = || parse(parts.next().unwrap_or_default()).ok();
    let Some(parent) = next() else { return };
    let parent = parent.config;
    let empty = Config::empty();
    assert_eq!(merge(&parent, &empty), parent, "an empty child");
    assert_eq!(merge(&empty, &parent), parent, "an empty parent");
    let Some(child) = next() else { return };
    let child = child.config;

    let merged = merge(&parent, &child);
    assert_eq!(merge(&parent, &child), merged);
    let is_error = |severity| severity == Severity::Error;
    if validate(&merged)
        .iter()
        .any(|problem| is_error(problem.severity))
    {
        return;
    }
    let json = serde_json::to_vec(&merged).expect("a config is JSON");
    match parse(&json) {
        Ok(again) => assert_eq!(again.config, merged),
        Err(report) => panic!("valid, written, and no longer valid: {report}"),
    }
});
