//! `ignition-validate.json`: is this config valid?

use anyhow::Result;
use serde::Deserialize;

use super::Run;
use super::command::Hardway;
use super::tally::{Tally, Verdict};

#[derive(Deserialize)]
struct Cases {
    #[serde(default)]
    items: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config_json: String,
    expect: String,
    #[serde(default)]
    why: Option<String>,
}

/// Runs it.
pub fn run(run: &Run, tally: &mut Tally) -> Result<()> {
    let cases: Cases = run.read()?;
    for (index, case) in cases.items.iter().enumerate() {
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
    let file = hardway.write("config.ign", &case.config_json)?;
    let answer = hardway.ignition(&[&"validate", &file])?;
    let config = &case.config_json;
    Ok(match (answer.accepted, case.expect == "ok") {
        (true, true) | (false, false) => Verdict::Passed,
        (true, false) => {
            let why = case.why.as_deref().unwrap_or("no reason given");
            Verdict::Failed(format!("accepted, but: {why}\n    {config}"))
        }
        (false, true) => Verdict::Failed(format!("refused: {}\n    {config}", answer.complaints)),
    })
}
