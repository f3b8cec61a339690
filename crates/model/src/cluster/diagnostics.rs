//! Problems of a cluster.yaml, each with its place and a way to mend it.

use std::fmt;

/// Every problem of one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    /// The file's name, as the operator gave it.
    pub file: String,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, with the offending text in backquotes.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of the line are meant; at least 1.
    pub length: usize,
    /// The key's path, as `machines[2].profile`; empty for the whole file.
    pub path: String,
    /// The line itself.
    pub source_line: String,
    /// How to mend it, as "did you mean `etcd`?".
    pub help: String,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "error: {}", problem.message)?;
            problem.write_place(f, &self.file)?;
        }
        match self.problems.len() {
            1 => write!(f, "1 error; nothing was changed"),
            count => write!(f, "{count} errors; nothing was changed"),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl Problem {
    /// The problem as `FILE:LINE:COLUMN: MESSAGE; HELP`, on one line, for logs and narrow consoles.
    pub fn one_line(&self, file: &str) -> String {
        let Self {
            message,
            line,
            column,
            help,
            ..
        } = self;
        match help.is_empty() {
            true => format!("{file}:{line}:{column}: {message}"),
            false => format!("{file}:{line}:{column}: {message}; {help}"),
        }
    }

    fn write_place(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        write!(f, "{margin}┌─ {file}:{number}:{}", self.column)?;
        match self.path.is_empty() {
            true => writeln!(f)?,
            false => writeln!(f, " ({})", self.path)?,
        }
        writeln!(f, "{number}│ {}", self.source_line.replace('\t', " "))?;
        let indent = " ".repeat(self.column.saturating_sub(1));
        let carets = "^".repeat(self.length.max(1));
        writeln!(f, "{margin}│ {indent}{carets} {}", self.help)
    }
}
