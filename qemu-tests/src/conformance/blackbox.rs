//! `ignition-blackbox.json`: disks before, a config, disks after.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Run;
use super::tally::{Tally, Verdict};
use crate::blackbox::corpus::{Case, Corpus};
use crate::blackbox::host::{self, Options};
use crate::blackbox::initramfs::Ingredients;
use crate::blackbox::report::Outcome;

/// Runs it.
pub fn run(run: &Run, tally: &mut Tally) -> Result<()> {
    let corpus: Corpus = run.read()?;
    let wanted: Vec<usize> = (0..corpus.tests.len())
        .filter(|index| run.wants(&corpus.tests[*index].name))
        .collect();
    let scratch = tempfile::tempdir().context("making a folder for the guests")?;
    let folder = match &run.options.keep {
        Some(folder) => folder.clone(),
        None => scratch.path().to_owned(),
    };
    let mut outcomes = match wanted.is_empty() {
        true => Default::default(),
        false => host::play(&options(run, folder), &corpus, &wanted)?,
    };
    for index in wanted {
        let case = &corpus.tests[index];
        let verdict = match outcomes.remove(&index) {
            Some(outcome) => verdict(outcome),
            None => Verdict::Failed("it was not run".to_owned()),
        };
        tally.add(&name(case, index), verdict);
    }
    Ok(())
}

fn options(run: &Run, folder: PathBuf) -> Options {
    let artifacts = &run.options.artifacts;
    Options {
        ingredients: Ingredients {
            guest: artifacts.join("bin/hardway-blackbox"),
            hardway: artifacts.join("bin/hardway"),
            agent: artifacts.join("bin/hardway-agent"),
            modules: artifacts.join("agent/modules"),
            toolbox: artifacts.join("toolbox"),
            corpus: run.file.clone(),
        },
        kernel: artifacts.join("agent/vmlinuz"),
        folder,
    }
}

/// Positive and negative cases may have the same name.
fn name(case: &Case, index: usize) -> String {
    match (case.name.as_str(), case.must_fail) {
        ("", _) => index.to_string(),
        (name, false) => name.to_owned(),
        (name, true) => format!("{name} (negative)"),
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Passed => Verdict::Passed,
        Outcome::Failed(how) => Verdict::Failed(how),
        Outcome::Wrote => Verdict::Wrote("every stage succeeded".to_owned()),
        Outcome::Skipped(why) => Verdict::Skipped(why),
    }
}
