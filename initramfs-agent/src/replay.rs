//! `hardway-agent replay`: carries out what a plan writes to a disk as an ordinary process, with the plan
//! in hand. For benches, and behind a feature that the shipped agent does not have.
//!
//! The steps are the agent's own. Every other kind of step is refused before the first one: this computer
//! is not the machine that the plan was made for, and is not to be handed over to anything.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hardway_model::plan::{Plan, Step};
use hardway_userspace::console::Console;

use crate::apply::{self, Execution};
use crate::drivers::Drivers;
use crate::http::Appliance;
use crate::reports::Reports;

const USAGE: &str = "hardway-agent replay --plan FILE --appliance URL --token TOKEN";
/// How long the appliance may take to hear the last word.
const LAST_WORD: Duration = Duration::from_secs(20);

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    plan: PathBuf,
    appliance: String,
    token: String,
}

/// Runs the command with the arguments after `replay`. Exit status 0 when everything was done, 1 when
/// something failed, 2 for wrong arguments.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let request = match Request::parse(arguments) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("{error:#}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match replay(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let (mut plan, mut appliance, mut token) = (None, None, None);
        while let Some(flag) = arguments.next() {
            let place = match flag.as_str() {
                "--plan" => &mut plan,
                "--appliance" => &mut appliance,
                "--token" => &mut token,
                other => bail!("unknown argument `{other}`"),
            };
            let value = arguments.next();
            *place = Some(value.with_context(|| format!("{flag} needs a value"))?);
        }
        Ok(Self {
            plan: plan.context("--plan is missing")?.into(),
            appliance: appliance.context("--appliance is missing")?,
            token: token.context("--token is missing")?,
        })
    }
}

fn replay(request: &Request) -> Result<()> {
    let path = request.plan.display();
    let json = std::fs::read(&request.plan).with_context(|| format!("reading {path}"))?;
    let plan: Plan = serde_json::from_slice(&json).with_context(|| format!("parsing {path}"))?;
    check(&plan)?;
    let appliance = Appliance::new(&request.appliance, &request.token);
    let reports = Reports::start(Console::default(), appliance.clone());
    let mut execution = Execution {
        appliance: &appliance,
        reports: &reports,
        drivers: &mut Drivers::none(&reports),
        config: &mut None,
        confirmation_key: "",
    };
    let outcome = apply::carry_out(&plan, &mut execution);
    outcome.map_err(|failure| failure.error.context(failure.step))?;
    if !reports.flush(LAST_WORD) {
        bail!("the appliance did not hear that everything was written");
    }
    Ok(())
}

/// Lets through what only writes the claimed disk.
fn check(plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        match step {
            Step::ClaimDisk { .. }
            | Step::WriteImage { .. }
            | Step::WriteChunks { .. }
            | Step::ReadBack
            | Step::CommitDisk { .. } => {}
            other => bail!(
                "the plan has the step {}, which is not replayed; leave it out",
                other.name()
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned);
            Request::parse(words).map_err(|error| error.to_string())
        };
        let request = Request {
            plan: "p.json".into(),
            appliance: "http://10.99.0.1".into(),
            token: "t".into(),
        };
        let line = "--token t --plan p.json --appliance http://10.99.0.1";
        assert_eq!(parse(line), Ok(request));
        for (line, message) in [
            ("--plan p", "--appliance is missing"),
            ("--plan", "--plan needs a value"),
            ("/dev/sda", "unknown argument `/dev/sda`"),
        ] {
            assert_eq!(parse(line), Err(message.to_owned()), "{line}");
        }
    }

    #[test]
    fn nothing_but_writing_is_replayed() {
        let plan = |steps: &[Step]| Plan {
            machine: "node1".into(),
            generation: 1,
            steps: steps.to_vec(),
        };
        check(&plan(&[Step::ReadBack])).unwrap();
        assert_eq!(
            check(&plan(&[Step::ReadBack, Step::GrowFilesystem]))
                .unwrap_err()
                .to_string(),
            "the plan has the step grow-filesystem, which is not replayed; leave it out"
        );
    }
}
