//! Runs this crate over a folder of cases that were labelled by the real programs:
//! `cargo run -p hardway-ignition --example conformance -- DIR`.
//!
//! The folder may hold `ignition-validate.json`, `ignition-merge.json` and `butane-docs.json`. Every
//! case that differs is printed, and one line closes each corpus. Without a folder nothing is run, and
//! the lines say so. Exit code 1 if a case differs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use flate2::read::GzDecoder;
use hardway_ignition::butane::{self, LocalFiles, TreeEntry, TreeNode};
use hardway_ignition::{Severity, merge, parse, validate};
use serde_json::Value;

fn main() -> ExitCode {
    let folder = std::env::args().nth(1);
    let mut failed = 0;
    for (name, list, run) in [
        ("ignition-validate", "items", judge as fn(&Value) -> Outcome),
        ("ignition-merge", "pairs", merge_pair),
        ("butane-docs", "items", translate_document),
    ] {
        let cases = folder
            .as_deref()
            .map(|folder| cases(folder, name, list))
            .unwrap_or_default();
        let mut tally = Tally::default();
        for (index, case) in cases.iter().enumerate() {
            tally.add(&format!("{name}[{index}]"), run(case));
        }
        failed += tally.close(name);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The spec that is in the making where the corpus comes from.
const EXPERIMENTAL: &str = "3.7.0-experimental";

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
        println!(
            "{name}: {} passed, {} failed, {skipped} skipped",
            self.passed, self.failed
        );
        self.failed
    }
}

fn cases(folder: &str, name: &str, list: &str) -> Vec<Value> {
    let path = Path::new(folder).join(format!("{name}.json"));
    let Ok(text) = std::fs::read(&path) else {
        return Vec::new();
    };
    match serde_json::from_slice::<Value>(&text) {
        Ok(mut corpus) => corpus[list]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default(),
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
    let stable = |key| text(case, key).replace(EXPERIMENTAL, "3.6.0");
    let (parent, child) = (
        parse(stable("parent").as_bytes()),
        parse(stable("child").as_bytes()),
    );
    let (Ok(parent), Ok(child)) = (parent, child) else {
        return if case.to_string().contains(EXPERIMENTAL) {
            Outcome::Skipped("uses what only the experimental spec has")
        } else {
            Outcome::Failed(format!("not parsed:\n    {case}"))
        };
    };
    let merged = merge(&parent.config, &child.config);
    let mut found = serde_json::to_value(&merged).unwrap_or_default();
    let mut expected = case["merged_as_3_7_exp"].clone();
    for config in [&mut found, &mut expected] {
        config["ignition"]["version"] = Value::Null;
    }
    let is_valid = validate(&merged)
        .iter()
        .all(|problem| problem.severity != Severity::Error);
    if found != expected {
        Outcome::Failed(format!("merged otherwise:\n    {found}\n    {expected}"))
    } else if Some(is_valid) != case["merged_valid"].as_bool() {
        Outcome::Failed(format!("valid: {is_valid}\n    {found}"))
    } else {
        Outcome::Passed
    }
}

fn translate_document(case: &Value) -> Outcome {
    let document = text(case, "butane");
    let is_known = |line: &str| matches!(line.trim(), "variant: fcos" | "variant: flatcar");
    if !document.lines().any(is_known) {
        return Outcome::Skipped("another variant than fcos and flatcar");
    }
    let translated = butane::translate(document, &DocumentedFiles);
    match (translated, case["ok"].as_bool()) {
        (Ok(translated), Some(true)) => {
            let mut expected: Value =
                serde_json::from_str(text(case, "ignition")).unwrap_or_default();
            let mut found = translated.json;
            for config in [&mut found, &mut expected] {
                unpack(config);
            }
            if found == expected {
                Outcome::Passed
            } else {
                Outcome::Failed(format!(
                    "translated otherwise:\n    {found}\n    {expected}"
                ))
            }
        }
        (Err(_), Some(false)) => Outcome::Passed,
        (Ok(_), _) => Outcome::Failed(format!("accepted:\n{document}")),
        (Err(report), _) => Outcome::Failed(format!("refused: {report}\n{document}")),
    }
}

/// The files that the documents of the corpus refer to.
struct DocumentedFiles;

impl LocalFiles for DocumentedFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(match path {
            "tree/a" => b"a\n".to_vec(),
            _ if path.ends_with(".pub") => b"ssh-rsa AAAA x\n".to_vec(),
            _ => b"x\n".to_vec(),
        })
    }

    fn list(&self, _path: &str) -> Result<Vec<TreeEntry>, String> {
        let node = TreeNode::File { executable: false };
        Ok(vec![TreeEntry {
            path: "a".to_owned(),
            node,
        }])
    }
}

/// Replaces gzip data by what it holds: two compressors never agree on the bytes.
fn unpack(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(unpack),
        Value::Object(members) => {
            let is_gzip = members
                .get("compression")
                .is_some_and(|kind| kind == "gzip");
            let data = members
                .get("source")
                .and_then(Value::as_str)
                .and_then(|source| {
                    let data = source.strip_prefix("data:;base64,")?;
                    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).ok()
                });
            if let (true, Some(data)) = (is_gzip, data) {
                let mut text = String::new();
                let read = std::io::Read::read_to_string(&mut GzDecoder::new(&data[..]), &mut text);
                if read.is_ok() {
                    members.insert("source".to_owned(), text.into());
                }
            }
            members.values_mut().for_each(unpack);
        }
        _ => {}
    }
}
