//! Any bytes as an Ignition config and as Butane: no panic; and what is taken for valid stays so, and
//! the same, when it is written and read again.

#![no_main]

use hardway_ignition::butane::{self, NoLocalFiles};
use hardway_ignition::{Circumstances, Config, operations, parse, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(parsed) = parse(data) {
        survives(&parsed.config);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(translated) = butane::translate(text, &NoLocalFiles)
    {
        survives(&translated.config);
    }
});

fn survives(config: &Config) {
    let json = serde_json::to_vec(config).expect("a config is JSON");
    let again = match parse(&json) {
        Ok(again) => again.config,
        Err(report) => panic!("valid, written, and no longer valid: {report}"),
    };
    assert_eq!(&again, config, "written and read again it is another");
    let _ = validate(config);
    // Refused or not, no machine is needed to say so.
    let _ = operations(config, &Circumstances::default());
}
