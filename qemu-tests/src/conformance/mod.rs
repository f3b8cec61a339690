//! `hardway-lab conformance`: the real programs' own cases, run through the commands that users have.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`validate`], [`merge`], [`butane`] | `hardway ignition validate`, `merge`, `from-butane` |
//! | [`blackbox`] | `hardway ignition operations` and `hardway-agent apply`, in a guest |
//! | [`tally`], [`deviations`] | counting, and what is excused |
//! | [`command`] | running `hardway` |

mod blackbox;
mod butane;
mod command;
mod deviations;
mod merge;
mod tally;
mod validate;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use command::Hardway;
use deviations::Deviations;
use tally::Tally;

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the corpora.
    pub corpus: PathBuf,
    /// Only this corpus, or `CORPUS/PART`: only its cases with that part in their name.
    pub only: Option<String>,
    /// The build's output.
    pub artifacts: PathBuf,
    /// Where the guests' logs stay; else they go with the run.
    pub keep: Option<PathBuf>,
}

/// A corpus: its name, its file, and who runs it.
struct Corpus {
    name: &'static str,
    file: &'static str,
    run: fn(&Run, &mut Tally) -> Result<()>,
}

/// In the order in which they are run.
const CORPORA: [Corpus; 4] = [
    Corpus {
        name: "validate",
        file: "ignition-validate.json",
        run: validate::run,
    },
    Corpus {
        name: "merge",
        file: "ignition-merge.json",
        run: merge::run,
    },
    Corpus {
        name: "butane-docs",
        file: "butane-docs.json",
        run: butane::run,
    },
    Corpus {
        name: "blackbox",
        file: "ignition-blackbox.json",
        run: blackbox::run,
    },
];

/// What the run of one corpus gets.
struct Run<'a> {
    options: &'a Options,
    file: PathBuf,
    part: Option<&'a str>,
    hardway: Hardway,
}

impl Run<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let file = self.file.display();
        let text = fs::read(&self.file).with_context(|| format!("reading {file}"))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {file}"))
    }

    /// Whether the case of that name is asked for.
    fn wants(&self, name: &str) -> bool {
        self.part.is_none_or(|part| name.contains(part))
    }
}

/// Runs whichever corpora the folder holds. True when nothing failed that is not listed as a deviation.
pub fn run(options: &Options) -> Result<bool> {
    let (wanted, part) = match options.only.as_deref() {
        None => (None, None),
        Some(only) => match only.split_once('/') {
            Some((name, part)) => (Some(name), Some(part)),
            None => (Some(only), None),
        },
    };
    let present = present(&options.corpus, wanted)?;
    let deviations = Deviations::listed()?;
    let mut all_well = true;
    for corpus in present {
        let run = Run {
            options,
            file: options.corpus.join(corpus.file),
            part,
            hardway: Hardway::new(&options.artifacts)?,
        };
        let mut tally = Tally::new(corpus.name, &deviations);
        (corpus.run)(&run, &mut tally).with_context(|| format!("running {}", corpus.name))?;
        all_well &= tally.close();
    }
    Ok(all_well)
}

/// The corpora that are asked for and there.
fn present(folder: &Path, wanted: Option<&str>) -> Result<Vec<&'static Corpus>> {
    if let Some(wanted) = wanted
        && !CORPORA.iter().any(|corpus| corpus.name == wanted)
    {
        let names = CORPORA.each_ref().map(|corpus| corpus.name);
        bail!(
            "there is no corpus {wanted}; there are {}",
            names.join(", ")
        );
    }
    let is_present = |corpus: &&Corpus| {
        wanted.is_none_or(|wanted| wanted == corpus.name) && folder.join(corpus.file).is_file()
    };
    let present: Vec<_> = CORPORA.iter().filter(is_present).collect();
    if present.is_empty() {
        let files = CORPORA.each_ref().map(|corpus| corpus.file);
        bail!(
            "{} holds none of {} that is asked for",
            folder.display(),
            files.join(", ")
        );
    }
    Ok(present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_left_out_and_an_empty_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(present(folder.path(), None).is_err());
        fs::write(folder.path().join("butane-docs.json"), "{}").unwrap();
        let names =
            |found: Vec<&Corpus>| found.iter().map(|corpus| corpus.name).collect::<Vec<_>>();
        assert_eq!(
            names(present(folder.path(), None).unwrap()),
            ["butane-docs"]
        );
        assert!(present(folder.path(), Some("merge")).is_err());
        let error = present(folder.path(), Some("nonsense")).err().unwrap();
        assert!(
            error
                .to_string()
                .contains("validate, merge, butane-docs, blackbox")
        );
    }
}
