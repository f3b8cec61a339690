//! `ignition-merge.json`: what does a child make of its parent?

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::Run;
use super::command::Hardway;
use super::tally::{Tally, Verdict};

/// The spec in the making where the corpus comes from, and the newest stable one that it is read as.
const EXPERIMENTAL: (&str, &str) = ("3.7.0-experimental", "3.6.0");

#[derive(Deserialize)]
struct Cases {
    #[serde(default)]
    pairs: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    parent: String,
    child: String,
    merged_as_3_7_exp: Value,
    merged_valid: bool,
}

/// Runs it.
pub fn run(run: &Run, tally: &mut Tally) -> Result<()> {
    let cases: Cases = run.read()?;
    for (index, case) in cases.pairs.iter().enumerate() {
        let name = index.to_string();
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
    let stable = |text: &str| text.replace(EXPERIMENTAL.0, EXPERIMENTAL.1);
    let parent = hardway.write("parent.ign", &stable(&case.parent))?;
    let child = hardway.write("child.ign", &stable(&case.child))?;
    let answer = hardway.ignition(&[&"merge", &parent, &child])?;
    if !answer.accepted {
        // Either is not valid by itself, or what they make together is not.
        let alone = hardway.ignition(&[&"validate", &parent, &child])?;
        return Ok(if !alone.accepted {
            let is_experimental = [&case.parent, &case.child]
                .iter()
                .any(|text| text.contains(EXPERIMENTAL.0));
            match is_experimental {
                true => Verdict::Skipped("uses what only the experimental spec has".to_owned()),
                false => Verdict::Failed(format!("not accepted: {}", alone.complaints)),
            }
        } else if case.merged_valid {
            Verdict::Failed(format!("the result is refused: {}", answer.complaints))
        } else {
            Verdict::Passed
        });
    }
    let mut found: Value = serde_json::from_str(&answer.output).context("reading the result")?;
    let mut expected = case.merged_as_3_7_exp.clone();
    for config in [&mut found, &mut expected] {
        if let Some(version) = config.pointer_mut("/ignition/version") {
            *version = Value::Null;
        }
    }
    Ok(if !case.merged_valid {
        Verdict::Failed(format!("accepted, and is not valid:\n    {found}"))
    } else if found != expected {
        Verdict::Failed(format!("merged otherwise:\n    {found}\n    {expected}"))
    } else {
        Verdict::Passed
    })
}
