//! Runs the toolbox's programs: by name, without a terminal, for a bounded time, and with errors that
//! carry what the program said last.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::MemfdFlags;

/// Where programs are looked for, unless the environment says otherwise. PID 1 has no `PATH`.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a program may run. A large filesystem whose blocks are discarded takes minutes.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const POLL: Duration = Duration::from_millis(10);
/// How much of a program's last words an error carries.
const LAST_LINES: usize = 6;
/// No answer that is read here is longer.
const LONGEST_ANSWER: u64 = 1 << 20;

/// How a program ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Everything on its standard output.
    pub output: String,
    /// The last lines of both outputs.
    pub last_words: String,
}

/// Runs a program that has to succeed, and gives back its standard output.
pub fn run(program: &str, arguments: &[impl AsRef<str>]) -> Result<String> {
    let finished = ask(program, arguments)?;
    finished.succeeded(program)
}

/// Runs a program whose exit status says something.
pub fn ask(program: &str, arguments: &[impl AsRef<str>]) -> Result<Finished> {
    let arguments = arguments.iter().map(AsRef::as_ref);
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdin(Stdio::null());
    finish(program, command)
}

/// Runs a prepared command; its outputs are captured.
pub fn finish(program: &str, mut command: Command) -> Result<Finished> {
    let (output, complaints) = (page(program)?, page(program)?);
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    command
        .env("PATH", path.unwrap_or_else(|| PATH.into()))
        .env("LANG", "C")
        .env("LC_ALL", "C")
        .stdout(Stdio::from(duplicate(&output)?))
        .stderr(Stdio::from(duplicate(&complaints)?));
    if !Path::new("/run/udev/control").exists() {
        // Without udev nobody answers device-mapper's cookies; it makes its nodes itself then.
        command.env("DM_DISABLE_UDEV", "1");
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let status = wait(program, &mut child)?;
    let (output, complaints) = (text(&output)?, text(&complaints)?);
    let last_words = last_lines(if complaints.trim().is_empty() {
        &output
    } else {
        &complaints
    });
    Ok(Finished {
        status: status.code(),
        output,
        last_words,
    })
}

impl Finished {
    /// The standard output of a program that had to succeed.
    pub fn succeeded(self, program: &str) -> Result<String> {
        match self.status {
            Some(0) => Ok(self.output),
            _ => Err(self.failure(program)),
        }
    }

    /// The error that this end is.
    pub fn failure(&self, program: &str) -> anyhow::Error {
        let end = match self.status {
            Some(status) => format!("exit status {status}"),
            None => "ended by a signal".to_owned(),
        };
        match self.last_words.as_str() {
            "" => anyhow::anyhow!("{program} failed ({end}) and said nothing"),
            words => anyhow::anyhow!("{program} failed ({end}): {words}"),
        }
    }
}

/// A file in memory: unlike a pipe it neither fills up nor stays open with a grandchild.
fn page(program: &str) -> Result<File> {
    let page = rustix::fs::memfd_create(program, MemfdFlags::CLOEXEC);
    Ok(File::from(
        page.context("making room for a program's output")?,
    ))
}

fn duplicate(page: &File) -> Result<OwnedFd> {
    let copy = page.try_clone();
    Ok(copy.context("passing a program its output")?.into())
}

fn wait(program: &str, child: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("waiting for {program}"))?
        {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "{program} did not end within {} minutes",
                LIMIT.as_secs() / 60
            );
        }
        std::thread::sleep(POLL);
    }
}

fn text(page: &File) -> Result<String> {
    let length = page.metadata().context("reading a program's output")?.len();
    let mut bytes = vec![0; length.min(LONGEST_ANSWER) as usize];
    // What a program says last counts most.
    let start = length - bytes.len() as u64;
    page.read_exact_at(&mut bytes, start)
        .context("reading a program's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<String> {
        run("sh", &["-c", script])
    }

    #[test]
    fn output_and_last_words() {
        assert_eq!(shell("echo one; echo two >&2").unwrap(), "one\n");
        let error = shell("seq 8 >&2; exit 3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh failed (exit status 3): 3; 4; 5; 6; 7; 8"
        );
        let error = shell("echo only here; exit 1").unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status 1): only here");
        let error = shell("kill -9 $$").unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh failed (ended by a signal) and said nothing"
        );
        let error = run("no-such-program", &["x"]).unwrap_err();
        assert_eq!(error.to_string(), "starting no-such-program");
    }

    #[test]
    fn the_environment_is_plain_and_nothing_is_asked() {
        assert_eq!(
            shell("echo $LANG $LC_ALL; read answer || echo none").unwrap(),
            "C C\nnone\n"
        );
        // A grandchild that lives on does not hold anything up.
        assert_eq!(shell("sleep 5 & echo done").unwrap(), "done\n");
    }
}
