//! `test`: format, lints, unit tests, real clients, and the scenarios on virtual machines.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::binaries::{self, Program};
use crate::{daemons, lab, loaders, process, setup, workspace};

/// What the real clients come in.
const CLIENTS: &[(&str, &str)] = &[
    ("atftp", "atftp"),
    ("bind9-dnsutils", "dig"),
    ("chrony", "chronyd"),
    ("curl", "curl"),
    ("dnsmasq-base", "dnsmasq"),
    ("tftp-hpa", "tftp"),
    ("udhcpc", "udhcpc"),
];

/// One kind of test.
#[derive(Debug, Subcommand)]
pub enum Kind {
    /// Unit, property and tidy tests
    Unit,
    /// Real clients against `hardway serve` in network namespaces
    Interop {
        /// The case's name, or a part of it
        name: Option<String>,
    },
    /// Scenarios on virtual machines: all, or the one whose name is given
    E2e {
        /// The scenario's name, or a part of it
        name: Option<String>,
    },
    /// Power cuts at 40 points of an installation on the machine and at 20 on the appliance: an hour or more
    PowerCuts {
        /// `machine` or `appliance`; both, without
        side: Option<String>,
        /// The number of the first point
        #[arg(long)]
        first: Option<usize>,
        /// The number of the last point
        #[arg(long)]
        last: Option<usize>,
    },
}

/// Runs one kind, or all of them in order of what they cost.
pub fn run(kind: Option<Kind>) -> Result<()> {
    setup::ensure()?;
    match kind {
        Some(Kind::Unit) => unit(),
        Some(Kind::Interop { name }) => interop(name.as_deref()),
        Some(Kind::E2e { name }) => scenarios(name.as_deref()),
        Some(Kind::PowerCuts { side, first, last }) => power_cuts(side, first, last),
        None => {
            cargo(&["fmt", "--all", "--check"])?;
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "--deny",
                "warnings",
            ])?;
            unit()?;
            interop(None)?;
            scenarios(None)
        }
    }
}

fn unit() -> Result<()> {
    let has_nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_nextest {
        return cargo(&["test", "--workspace", "--locked"]);
    }
    // nextest runs no documentation tests.
    cargo(&[
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--no-fail-fast",
    ])?;
    cargo(&["test", "--workspace", "--locked", "--doc"])
}

fn interop(name: Option<&str>) -> Result<()> {
    daemons::ensure(CLIENTS)?;
    let (program, lab) = {
        let _lock = workspace::lock()?;
        (
            binaries::build(Program::Hardway)?,
            binaries::build(Program::Lab)?,
        )
    };
    let mut command = Command::new(lab);
    command
        .arg("interop")
        .args(name)
        .arg("--program")
        .arg(program);
    process::run_visibly(command.current_dir(workspace::root()))
        .context("running the interop cases")
}

fn scenarios(name: Option<&str>) -> Result<()> {
    if name.is_none_or(|name| loaders::SCENARIO.contains(name)) {
        let _lock = workspace::lock()?;
        loaders::fetch(None)?;
    }
    let words = name.into_iter().map(str::to_owned);
    in_labs("test", words).context("running the scenarios")
}

fn power_cuts(side: Option<String>, first: Option<usize>, last: Option<usize>) -> Result<()> {
    let number =
        |name: &str, number: Option<usize>| number.map(|number| format!("--{name}={number}"));
    let words = side.into_iter();
    let words = words
        .chain(number("first", first))
        .chain(number("last", last));
    in_labs("power-cuts", words).context("playing the power cuts")
}

/// Builds everything that labs run on, and lets the lab's program do this.
fn in_labs(what: &str, words: impl Iterator<Item = String>) -> Result<()> {
    let program = lab::build(None, true)?;
    let mut command = Command::new(program);
    command
        .arg(what)
        .args(words)
        .arg("--artifacts")
        .arg(workspace::out());
    process::run_visibly(command.current_dir(workspace::root()))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(workspace::root());
    eprintln!("test: {}", process::line(&command));
    process::run_visibly(&mut command)
}
