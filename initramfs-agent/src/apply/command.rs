//! `hardway-agent apply`: carries out a list of operations on the machine that it runs on, without an
//! appliance. For tests, and for trying a configuration out on a machine that may be lost.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::{Operations, Stage};

use super::config;
use super::content::Sources;
use super::disks::{self, Opened, Work};
use super::modules::Modules;
use crate::reports::Reports;

const USAGE: &str = "hardway-agent apply --operations FILE [--stage disks|files] [--root DIR]";

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    operations: PathBuf,
    disks: bool,
    files: bool,
    root: Option<PathBuf>,
}

/// Runs the command with the arguments after `apply`. Exit status 0 when everything was done, 1 when
/// something failed, 2 for wrong arguments.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let request = match Request::parse(arguments) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("{error:#}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match apply(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let (mut operations, mut stage, mut root) = (None, None, None);
        while let Some(flag) = arguments.next() {
            let place = match flag.as_str() {
                "--operations" => &mut operations,
                "--stage" => &mut stage,
                "--root" => &mut root,
                other => bail!("unknown argument `{other}`"),
            };
            let value = arguments.next();
            *place = Some(value.with_context(|| format!("{flag} needs a value"))?);
        }
        let (disks, files) = match stage.as_deref() {
            None => (true, true),
            Some("disks") => (true, false),
            Some("files") => (false, true),
            Some(other) => bail!("there is no stage `{other}`"),
        };
        if files && root.is_none() {
            bail!("the files stage needs --root");
        }
        Ok(Self {
            operations: operations.context("--operations is missing")?.into(),
            disks,
            files,
            root: root.map(PathBuf::from),
        })
    }
}

fn apply(request: &Request) -> Result<()> {
    let path = request.operations.display();
    let json = std::fs::read(&request.operations).with_context(|| format!("reading {path}"))?;
    let work: Operations =
        serde_json::from_slice(&json).with_context(|| format!("parsing {path}"))?;
    let reports = Reports::unheard();
    let sources = Sources {
        fetching: &work.fetching,
        reports: &reports,
    };
    let mut opened = Opened::default();
    if request.disks {
        let mut bench = Work {
            system: None,
            modules: Modules::Modprobe,
            sources: &sources,
            reports: &reports,
            opened: &mut opened,
        };
        disks::carry_out(work.of(Stage::Disks), &mut bench)?;
    }
    if let Some(top) = request.root.as_deref().filter(|_| request.files) {
        config::carry_out(&work, top, &reports, &mut Modules::Modprobe)?;
        return opened.close();
    }
    // As real Ignition does between its stages.
    opened.leave();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        let words = line.split_whitespace().map(str::to_owned);
        Request::parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments() {
        let disks = Request {
            operations: "x.json".into(),
            disks: true,
            files: false,
            root: None,
        };
        assert_eq!(parse("--operations x.json --stage disks"), Ok(disks));
        let both = Request {
            operations: "x.json".into(),
            disks: true,
            files: true,
            root: Some("/mnt".into()),
        };
        assert_eq!(parse("--root /mnt --operations x.json"), Ok(both));
        for (line, message) in [
            ("--stage disks", "--operations is missing"),
            ("--operations x", "the files stage needs --root"),
            ("--operations", "--operations needs a value"),
            ("--operations x --stage kargs", "there is no stage `kargs`"),
            ("x.json", "unknown argument `x.json`"),
        ] {
            assert_eq!(parse(line), Err(message.to_owned()), "{line}");
        }
    }
}
