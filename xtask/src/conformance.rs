//! `conformance`: builds what the cases are run through, then hands over to `hardway-lab`, which runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::binaries::{self, Program};
use crate::{agent, process, setup, toolbox, workspace};

/// The corpus that is played in a guest: only that takes more than the command line.
const BLACKBOX: &str = "blackbox";
const BLACKBOX_FILE: &str = "ignition-blackbox.json";

/// What is run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder that holds any of ignition-validate.json, ignition-merge.json, butane-docs.json and
    /// ignition-blackbox.json
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Only this corpus: validate, merge, butane-docs or blackbox. With a part of a case's name behind a
    /// slash, only such cases
    #[arg(long, value_name = "NAME[/CASE]")]
    only: Option<String>,
    /// Put the guests' logs there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Debian mirror for the images, instead of the one that this machine's apt uses
    #[arg(long)]
    mirror: Option<String>,
}

/// Builds, runs, and ends with status 0 when nothing failed that is not listed as a deviation.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure()?;
    let program = build(arguments)?;
    let mut command = Command::new(program);
    command.arg("conformance");
    command.args(words(arguments));
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", process::line(&command)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn build(arguments: &Arguments) -> Result<PathBuf> {
    let needs_guest = needs_guest(&arguments.corpus, arguments.only.as_deref());
    if needs_guest {
        setup::wish("swtpm", "TPM in the guests");
    }
    let _lock = workspace::lock()?;
    binaries::build(Program::Hardway)?;
    if needs_guest {
        let mirror = arguments.mirror.as_deref();
        agent::build(mirror)?;
        toolbox::build(mirror)?;
        binaries::build(Program::Blackbox)?;
    }
    binaries::build(Program::Lab)
}

fn needs_guest(corpus: &Path, only: Option<&str>) -> bool {
    let name = only.map(|only| only.split('/').next().unwrap_or(only));
    name.is_none_or(|name| name == BLACKBOX) && corpus.join(BLACKBOX_FILE).is_file()
}

fn words(arguments: &Arguments) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string();
    let options = [
        ("--corpus", Some(shown(&arguments.corpus))),
        ("--only", arguments.only.clone()),
        ("--artifacts", Some(shown(&workspace::out()))),
        ("--keep", arguments.keep.as_deref().map(shown)),
    ];
    let given = options
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_owned(), value?]));
    given.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_blackbox_corpus_needs_a_guest() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!needs_guest(folder.path(), None));
        std::fs::write(folder.path().join(BLACKBOX_FILE), "{}").unwrap();
        assert!(needs_guest(folder.path(), None));
        assert!(needs_guest(folder.path(), Some("blackbox/files")));
        assert!(!needs_guest(folder.path(), Some("merge")));
    }

    #[test]
    fn what_was_given_is_handed_on() {
        let arguments = Arguments {
            corpus: "cases".into(),
            only: Some("merge".to_owned()),
            keep: None,
            mirror: None,
        };
        let out = workspace::out().display().to_string();
        assert_eq!(
            words(&arguments),
            ["--corpus", "cases", "--only", "merge", "--artifacts", &out]
        );
    }
}
