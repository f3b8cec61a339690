//! Running `hardway` as a user does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// The program, and a folder for its input.
pub struct Hardway {
    program: PathBuf,
    folder: TempDir,
}

/// How it ended: by itself, with status 0 or 1.
pub struct Answer {
    /// Status 0.
    pub accepted: bool,
    /// What it printed.
    pub output: String,
    /// What it complained of.
    pub complaints: String,
}

impl Hardway {
    /// The program that the build left.
    pub fn new(artifacts: &Path) -> Result<Self> {
        let program = artifacts.join("bin/hardway");
        ensure!(program.is_file(), "{} is missing", program.display());
        let program = fs::canonicalize(&program)?;
        let folder = tempfile::tempdir().context("making a folder for the cases")?;
        Ok(Self { program, folder })
    }

    /// Writes an input file; its folders are made.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// `hardway ignition ARGUMENTS…`.
    ///
    /// # Errors
    ///
    /// Any other end than status 0 or 1: no verdict at all.
    pub fn ignition(&self, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Answer> {
        let mut command = Command::new(&self.program);
        command.arg("ignition");
        command.args(arguments.iter().map(|argument| argument.as_ref()));
        let output = command
            .current_dir(self.folder.path())
            .output()
            .context("starting hardway")?;
        let complaints = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let accepted = match output.status.code() {
            Some(0) => true,
            Some(1) => false,
            _ => bail!("hardway ended with {}: {complaints}", output.status),
        };
        Ok(Answer {
            accepted,
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaints,
        })
    }
}
