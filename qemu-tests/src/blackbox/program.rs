//! Programs that a case runs, each under a time limit.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};

const POLL: Duration = Duration::from_millis(10);
/// For a filesystem tool; a case's own programs get more.
pub const TOOL_LIMIT: Duration = Duration::from_secs(60);
/// What is kept of what a program said.
const KEPT: usize = 1200;

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: String,
    /// The end of what it said on standard error.
    pub said: String,
}

/// Runs a program to its end. It has a process group of its own, which is killed when time is up.
///
/// # Errors
///
/// It cannot be started, or time is up. An exit status is no error.
pub fn run(command: &mut Command, limit: Duration, folder: &Path) -> Result<Finished> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (output, said) = (folder.join("stdout"), folder.join("stderr"));
    let open =
        |path: &Path| File::create(path).with_context(|| format!("making {}", path.display()));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(open(&output)?)
        .stderr(open(&said)?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("awaiting {name}"))?
        {
            break status;
        }
        if Instant::now() > deadline {
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            // It may have ended this very moment.
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = child.wait();
            bail!(
                "{name} did not end within {} s; it said: {}",
                limit.as_secs(),
                end_of(&fs::read(&said).unwrap_or_default())
            );
        }
        thread::sleep(POLL);
    };
    Ok(Finished {
        status,
        output: String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).into_owned(),
        said: end_of(&fs::read(&said).unwrap_or_default()),
    })
}

/// Runs a tool that has to succeed, and gives back its output.
pub fn tool(command: &mut Command, folder: &Path) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let finished = run(command, TOOL_LIMIT, folder)?;
    if !finished.status.success() {
        bail!("{name} ended with {}: {}", finished.status, finished.said);
    }
    Ok(finished.output)
}

fn end_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let mut start = text.len().saturating_sub(KEPT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_no_error_and_a_hang_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished = run(&mut shell, TOOL_LIMIT, folder.path()).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!((&*finished.output, &*finished.said), ("out\n", "err"));

        let mut sleep = Command::new("sleep");
        let error = run(sleep.arg("60"), Duration::from_millis(50), folder.path()).unwrap_err();
        assert!(error.to_string().contains("sleep did not end"), "{error}");
    }
}
