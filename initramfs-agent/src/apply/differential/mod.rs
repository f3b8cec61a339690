//! The files stage against the real program: the same configuration on the same tree, and the same
//! tree afterwards.
//!
//! Configurations of spec 3.0 to 3.3 are generated ([`generator`]) with a tree that they meet
//! ([`world`]). One copy goes through this program (compile → operations → the agent's own code, in
//! this process), the other through Debian's `ignition` 2.14, shut in a chroot of a mount namespace of
//! its own ([`oracle`]): it follows chained links out of its root, and must find nothing to write
//! there. Either both refuse, or both trees are compared whole ([`tree`]).
//!
//! `HARDWAY_DIFFERENTIAL_CASES` and `HARDWAY_DIFFERENTIAL_SEED` are numbers. It takes a root user, or
//! a user with subordinate ids, for whom it starts itself again in a user namespace.
//!
//! What differs on purpose, and is left out of the comparison:
//!
//! - links that enable units, beside the preset lines (decision 7);
//! - a line that disables instances: the real program asks systemctl about all of them as one name with
//!   spaces, which counts as enabled only where the template has no `[Install]`; none is written here;
//! - the order of the preset lines, which 2.14 leaves to chance;
//! - the day in the third field of shadow, which the agent leaves empty;
//! - the backups and locks of shadow's tools, and `/etc/.ignition-result.json`;
//! - a place below a link of the configuration itself, relative or absolute: refused here; followed
//!   there, an absolute one out of the root, where the link leads nowhere and ends in a refusal too;
//! - a group that was there: changed here as a user would be, while 2.14 only ever adds groups;
//! - a user who was there and has no home: there it is missed when labels are put down, so that
//!   nothing else is done any more.

mod generator;
mod oracle;
mod tree;
mod world;

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use hardway_ignition::{Circumstances, NoFetch, Part, PartKind, butane, compile, operations};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::config::files_stage;
use super::content::Sources;
use super::root::TargetRoot;
use crate::reports::Reports;

const CASES: &str = "HARDWAY_DIFFERENTIAL_CASES";
const SEED: &str = "HARDWAY_DIFFERENTIAL_SEED";
const INSIDE: &str = "HARDWAY_DIFFERENTIAL_INSIDE";
/// About 0.15 s each.
const USUAL_CASES: u32 = 100;

#[test]
fn files_stage_is_as_ignitions() {
    if !rustix::process::geteuid().is_root() {
        return again_as_root();
    }
    oracle::require();
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: u64 = number(SEED).unwrap_or(1);
    let cases = number(CASES).map_or(USUAL_CASES, |cases: u64| cases as u32);
    eprintln!("{cases} cases, {SEED}={seed}");

    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 150,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let counts = Counts::default();
    let outcome = TestRunner::new_with_rng(config, random)
        .run(&generator::case(), |case| compare(&case, &counts));
    eprintln!("{counts}");
    if let Err(error) = outcome {
        panic!("{SEED}={seed}: {error}");
    }
    assert!(
        counts.applied.get() >= cases / 2,
        "most cases are refused by both and show nothing: {counts}"
    );
}

#[derive(Default)]
struct Counts {
    applied: Cell<u32>,
    refused: Cell<u32>,
    tolerated: Cell<u32>,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            applied,
            refused,
            tolerated,
        } = self;
        write!(
            f,
            "{} applied by both with the same result, {} refused by both, {} differ on purpose",
            applied.get(),
            refused.get(),
            tolerated.get()
        )
    }
}

fn compare(case: &generator::Case, counts: &Counts) -> Result<(), TestCaseError> {
    let count = |counter: &Cell<u32>| {
        counter.set(counter.get() + 1);
        Ok(())
    };
    let fail = |message: String| Err(TestCaseError::fail(message));
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    for root in [&ours, &theirs] {
        world::build(root, &case.world);
    }
    let here = apply(&case.config.to_string(), &ours);
    let there = oracle::apply(&case.config.to_string(), &theirs, folder.path());
    match (here, there) {
        (Err(_), Err(_)) => count(&counts.refused),
        (Err(error), Ok(())) if is_deliberate(&error) => count(&counts.tolerated),
        (Err(error), Ok(())) => fail(format!("refused here only: {error:#}")),
        (Ok(()), Err(log)) if oracle::is_accident(&log) => count(&counts.tolerated),
        (Ok(()), Err(log)) => fail(format!("refused there only: {log}")),
        (Ok(()), Ok(())) => {
            let differences = tree::differences(&ours, &theirs, &case.enabled());
            if !differences.is_empty() {
                return fail(differences.join("\n"));
            }
            count(&counts.applied)
        }
    }
}

/// What the agent would do with a machine's configuration.
fn apply(json: &str, root: &Path) -> Result<()> {
    let part = Part {
        name: "config.ign".to_owned(),
        kind: PartKind::Ignition,
        text: json.to_owned(),
    };
    let compiled = match compile(&[part], &butane::NoLocalFiles, &mut NoFetch) {
        Ok(compiled) => compiled,
        Err(report) => bail!("{report}"),
    };
    let work = match operations(&compiled.config, &Circumstances::default()) {
        Ok(work) => work,
        Err(problems) => bail!("{problems:?}"),
    };
    let sources = Sources {
        fetching: &work.fetching,
        reports: &Reports::unheard(),
    };
    let root = TargetRoot::open(root).context("opening the root")?;
    files_stage(&work.operations, &root, &sources)
}

fn is_deliberate(error: &anyhow::Error) -> bool {
    format!("{error:#}").ends_with(", a link of this configuration")
}

/// Owners can only be given away by root; a user namespace with subordinate ids has one.
fn again_as_root() {
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "not root inside a user namespace either"
    );
    let name = std::thread::current().name().unwrap().to_owned();
    let status = Command::new("unshare")
        .args(["--user", "--map-auto", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    let ended_well = status.as_ref().is_ok_and(|status| status.success());
    assert!(
        ended_well,
        "run by a user who is not root, this test needs unshare(1) and subordinate ids (subuid(5)), \
         and it ended with {status:?} there"
    );
}
