//! What a VM says on its serial port: a growing file in which patterns are awaited.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

const POLL: Duration = Duration::from_millis(100);
/// Lines that an error shows.
const SHOWN: usize = 20;

/// A serial log. What was said before the VM's last power-on is skipped by [`Serial::expect`].
#[derive(Debug, Clone)]
pub struct Serial {
    path: PathBuf,
    start: usize,
}

impl Serial {
    /// The log at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            start: 0,
        }
    }

    /// Where the log stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on only what is said later counts.
    pub fn skip_to_end(&mut self) {
        self.start = fs::read(&self.path).map_or(0, |bytes| bytes.len());
    }

    /// Everything that was said since the last power-on, without terminal control sequences.
    pub fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        plain(&String::from_utf8_lossy(
            bytes.get(self.start..).unwrap_or_default(),
        ))
    }

    /// Waits until `pattern` was said.
    pub fn expect(&self, pattern: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.text().contains(pattern) {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} did not say {pattern:?} within {} s; its last lines:\n{}",
                    self.path.display(),
                    patience.as_secs(),
                    self.tail(SHOWN)
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The last `count` lines that are not empty.
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Drops escape sequences (ECMA-48 CSI) and other control characters: firmware draws its screens
/// on serial.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next_if_eq(&'[').is_some() {
                    while characters
                        .next()
                        .is_some_and(|next| !('@'..='~').contains(&next))
                    {}
                }
            }
            '\n' | '\t' => plain.push(character),
            _ if character.is_control() => {}
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_hide_words() {
        assert_eq!(
            plain("\u{1b}[2J\u{1b}[01;01HiPXE\r\n\u{1b}[1mnet0\u{1b}[0m"),
            "iPXE\nnet0"
        );
    }

    #[test]
    fn an_earlier_power_on_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serial.log");
        let mut serial = Serial::new(&path);
        fs::write(&path, "login:\n").unwrap();
        assert!(serial.expect("login:", Duration::ZERO).is_ok());
        serial.skip_to_end();
        let error = serial.expect("login:", Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("did not say"), "{error}");
    }
}
