//! `butane-docs.json`: the examples in Butane's documents.

use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::Run;
use super::command::Hardway;
use super::tally::{Tally, Verdict};

/// The variants that this program translates.
const VARIANTS: [&str; 2] = ["fcos", "flatcar"];
const FILES: &str = "files";

#[derive(Deserialize)]
struct Cases {
    #[serde(default)]
    items: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    butane: String,
    ok: bool,
    #[serde(default)]
    ignition: Option<String>,
    #[serde(default)]
    source: Option<String>,
}

/// Runs it.
pub fn run(run: &Run, tally: &mut Tally) -> Result<()> {
    let cases: Cases = run.read()?;
    for (index, case) in cases.items.iter().enumerate() {
        let source = case.source.as_deref().unwrap_or_default();
        let name = format!("{index} ({source})");
        if run.wants(&name) {
            let verdict = judge(&run.hardway, case);
            tally.add(
                &name,
                verdict.unwrap_or_else(|error| Verdict::Failed(format!("{error:#}"))),
            );
        }
    }
    Ok(())
}

fn judge(hardway: &Hardway, case: &Case) -> Result<Verdict> {
    let document = &case.butane;
    let variant = variant(document).unwrap_or_default();
    if !VARIANTS.contains(&variant) {
        let why = format!(
            "variant {variant:?}: only {} are translated",
            VARIANTS.join(" and ")
        );
        return Ok(Verdict::Skipped(why));
    }
    for (path, text) in local_files(document) {
        hardway.write(&format!("{FILES}/{path}"), text)?;
    }
    // There has to be such a folder, also where no document asks for a file.
    hardway.write(&format!("{FILES}/unused"), "")?;
    let file = hardway.write("document.bu", document)?;
    let answer = hardway.ignition(&[&"from-butane", &file, &"--files-dir", &FILES])?;
    Ok(match (answer.accepted, case.ok) {
        (false, false) => Verdict::Passed,
        (true, false) => Verdict::Failed(format!("accepted:\n{document}")),
        (false, true) => Verdict::Failed(format!("refused: {}\n{document}", answer.complaints)),
        (true, true) => {
            let mut found: Value =
                serde_json::from_str(&answer.output).context("reading the result")?;
            let expected = case.ignition.as_deref().unwrap_or("null");
            let mut expected: Value = serde_json::from_str(expected).context("reading the case")?;
            unpack(&mut found);
            unpack(&mut expected);
            match found == expected {
                true => Verdict::Passed,
                false => Verdict::Failed(format!(
                    "translated otherwise:\n    {found}\n    {expected}"
                )),
            }
        }
    })
}

fn variant(document: &str) -> Option<&str> {
    let mut lines = document.lines();
    lines
        .find_map(|line| line.strip_prefix("variant:"))
        .map(|value| value.trim().trim_matches(['"', '\'']))
}

/// The files that a document names, with what stood in them when the corpus was made: one key in each
/// `.pub`, a file `a` in each tree, a line `x` in all others.
fn local_files(document: &str) -> Vec<(String, &'static str)> {
    let mut files = Vec::new();
    let (mut in_trees, mut in_keys) = (false, false);
    for line in document.lines() {
        let bare = line.trim().trim_start_matches("- ").trim();
        if let Some((key, value)) = bare
            .split_once(": ")
            .or_else(|| bare.strip_suffix(':').map(|key| (key, "")))
        {
            in_keys = key.ends_with("_local") && value.is_empty();
            in_trees = key == "trees" || (in_trees && matches!(key, "local" | "path"));
            if (key == "local" || key.ends_with("_local")) && !value.is_empty() {
                files.push(file(value, in_trees));
            }
        } else if in_keys && line.trim().starts_with("- ") {
            files.push(file(bare, false));
        }
    }
    files
}

fn file(value: &str, is_tree: bool) -> (String, &'static str) {
    let path = value.trim().trim_matches(['"', '\'']);
    match path {
        _ if is_tree => (format!("{path}/a"), "a\n"),
        path if path.ends_with(".pub") => (path.to_owned(), "ssh-rsa AAAA x\n"),
        path => (path.to_owned(), "x\n"),
    }
}

/// Replaces packed data by what it holds: no two programs pack alike.
fn unpack(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(unpack),
        Value::Object(members) => {
            let is_packed = members
                .get("compression")
                .is_some_and(|kind| kind == "gzip");
            let text = members
                .get("source")
                .and_then(Value::as_str)
                .filter(|_| is_packed)
                .and_then(|source| {
                    let data = STANDARD
                        .decode(source.strip_prefix("data:;base64,")?)
                        .ok()?;
                    let mut text = String::new();
                    MultiGzDecoder::new(&data[..])
                        .read_to_string(&mut text)
                        .ok()?;
                    Some(text)
                });
            if let Some(text) = text {
                members.insert("source".to_owned(), text.into());
            }
            members.values_mut().for_each(unpack);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_names_is_there() {
        let document = "variant: fcos\nstorage:\n  trees:\n    - local: tree\n      path: /etc\n  files:\n    - path: /a\n      contents:\n        local: \"one\"\n      append:\n        - local: two\npasswd:\n  users:\n    - name: core\n      ssh_authorized_keys_local:\n        - id.pub\nsystemd:\n  units:\n    - name: a.service\n      contents_local: a.service\n";
        let files = local_files(document);
        let shown: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, *text)).collect();
        assert_eq!(
            shown,
            [
                ("tree/a", "a\n"),
                ("one", "x\n"),
                ("two", "x\n"),
                ("id.pub", "ssh-rsa AAAA x\n"),
                ("a.service", "x\n"),
            ]
        );
        assert_eq!(variant(document), Some("fcos"));
    }
}
