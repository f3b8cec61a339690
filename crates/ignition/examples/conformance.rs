//! Runs this crate over a folder of cases that were labelled by the real programs:
//! `cargo run -p hardway-ignition --example conformance -- DIR`.
//!
//! The folder may hold `ignition-validate.json`, `ignition-merge.json` and `butane-docs.json`. Every
//! case that differs is printed, and one line closes each corpus. Without a folder nothing is run, and
//! the lines say so. Exit code 1 if a case differs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use hardway_ignition::{Severity, merge, parse, validate};
use serde_json::Value;

fn main() -> ExitCode {
    let folder = std::env::args().nth(1);
    let mut failed = 0;
    for (name, list, run) in [
        ("ignition-validate", "items", judge as fn(&Value) -> Outcome),
        ("ignition-merge", "pairs", merge_pair),
    ] {
        let cases = folder.as_deref().map(|folder| cases(folder, name, list)).unwrap_or_default();
        let mut tally = Tally::default();
        for (index, case) in cases.iter().enumerate() {
            tally.add(&format!("{name}[{index}]"), run(case));
        }
        failed += tally.close(name);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn add(&mut self, case: &str, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(how) => {
                self.failed += 1;
                println!("{case}: {how}");
            }
            Outcome::Skipped(why) => *self.skipped.entry(why).or_default() += 1,
        }
    }

    fn close(self, name: &str) -> usize {
        for (why, count) in &self.skipped {
            println!("{name}: {count} skipped: {why}");
        }
        let skipped: usize = self.skipped.values().sum();
        println!("{name}: {} passed, {} failed, {skipped} skipped", self.passed, self.failed);
        self.failed
    }
}

fn cases(folder: &str, name: &str, list: &str) -> Vec<Value> {
    let path = Path::new(folder).join(format!("{name}.json"));
    let Ok(text) = std::fs::read(&path) else { return Vec::new() };
    match serde_json::from_slice::<Value>(&text) {
        Ok(mut corpus) => corpus[list].as_array_mut().map(std::mem::take).unwrap_or_default(),
        Err(error) => {
            println!("reading {}: {error}", path.display());
            Vec::new()
        }
    }
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_default()
}

fn judge(case: &Value) -> Outcome {
    let config = text(case, "config_json");
    let why = text(case, "why");
    match (parse(config.as_bytes()), text(case, "expect")) {
        (Ok(_), "ok") | (Err(_), "error") => Outcome::Passed,
        (Ok(_), _) => Outcome::Failed(format!("accepted, but: {why}\n    {config}")),
        (Err(report), _) => Outcome::Failed(format!("refused: {report}\n    {config}")),
    }
}

/// The experimental spec that the corpus was made with is read as the newest stable one.
fn merge_pair(case: &Value) -> Outcome {
    let stable = |key| text(case, key).replace("3.7.0-experimental", "3.6.0");
    let (parent, child) = (parse(stable("parent").as_bytes()), parse(stable("child").as_bytes()));
    let (Ok(parent), Ok(child)) = (parent, child) else {
        return Outcome::Failed(format!("not parsed:\n    {case}"));
    };
    let merged = merge(&parent.config, &child.config);
    let mut found = serde_json::to_value(&merged).unwrap_or_default();
    let mut expected = case["merged_as_3_7_exp"].clone();
    for config in [&mut found, &mut expected] {
        config["ignition"]["version"] = Value::Null;
    }
    let is_valid = validate(&merged).iter().all(|problem| problem.severity != Severity::Error);
    if found != expected {
        Outcome::Failed(format!("merged otherwise:\n    {found}\n    {expected}"))
    } else if Some(is_valid) != case["merged_valid"].as_bool() {
        Outcome::Failed(format!("valid: {is_valid}\n    {found}"))
    } else {
        Outcome::Passed
    }
}
