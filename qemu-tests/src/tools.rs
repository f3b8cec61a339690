//! Programs of the host that make and read images.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a program to its end and gives what it wrote; what it said of a failure is in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let said = [&output.stdout[..], &output.stderr].concat();
        bail!(
            "{program} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&said).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of the system, which users other than root do not have in their PATH.
pub fn system(program: &str) -> Command {
    let places = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program));
    let found = places.into_iter().find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| program.into()))
}

/// Packs a file quickly.
pub fn pack(plain: &Path, packed: &Path) -> Result<()> {
    zstd("-1", plain, packed)
}

/// Unpacks a file.
pub fn unpack(packed: &Path, plain: &Path) -> Result<()> {
    zstd("-d", packed, plain)
}

fn zstd(what: &str, from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("zstd");
    command.args([what, "-q", "-f"]).arg(from).arg("-o").arg(to);
    run(&mut command).map(drop)
}
