//! Tools that are spawned: one way to run them, one way to say that they failed.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// How much of a failed tool's output is repeated.
const SHOWN_LINES: usize = 20;

/// Runs a tool to its end and returns what it wrote to its standard output. Nothing is shown unless
/// it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` ended with {}{}",
            output.status,
            last_lines(&output)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a tool that speaks to the operator itself: its output goes to the terminal.
pub fn run_visibly(command: &mut Command) -> Result<()> {
    let shown = line(command);
    let status = command
        .status()
        .with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// A command as it would be typed, for messages.
pub fn line(command: &Command) -> String {
    let mut text = quoted(command.get_program());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quoted(argument));
    }
    text
}

/// Whether a tool of this name is on the search path.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps mkfs, depmod and the like where a user's PATH does not look.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// A tool of the system's administration, found although a user's `PATH` leaves out the sbin folders.
pub fn system_tool(program: &str) -> Command {
    let found = ["/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| std::path::Path::new(folder).join(program))
        .find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| program.into()))
}

fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{text}'")
    }
}

fn last_lines(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let mut shown = String::new();
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        let _ = write!(shown, "\n    {line}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_is_named_with_its_last_words() {
        let error =
            run(Command::new("sh").args(["-c", "echo 'no such suite' >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("`sh -c 'echo 'no such suite'"), "{text}");
        assert!(
            text.ends_with("exit status: 3\n    no such suite"),
            "{text}"
        );
    }

    #[test]
    fn output_is_returned() {
        assert_eq!(
            run(Command::new("sh").args(["-c", "echo one; echo two >&2"])).unwrap(),
            "one\n"
        );
    }
}
