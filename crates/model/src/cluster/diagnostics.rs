//! Problems of a cluster.yaml, each with its place and a way to mend it.

use std::fmt;

use super::tree::Place;

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
            false => writeln!(f, " {}", self.path)?,
        }
        writeln!(f, "{number}│ {}", self.source_line.replace('\t', " "))?;
        let indent = " ".repeat(self.column.saturating_sub(1));
        let carets = "^".repeat(self.length.max(1));
        writeln!(f, "{margin}│ {indent}{carets} {}", self.help)
    }
}

/// Collects the problems of one text.
pub(super) struct Problems<'a> {
    lines: Vec<&'a str>,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            lines: text.lines().collect(),
            found: Vec::new(),
        }
    }

    /// Adds a problem at a place. A place without a length means the word that stands there.
    pub(super) fn add(
        &mut self,
        place: Place,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let line = place.line.clamp(1, self.lines.len().max(1));
        let source_line = self.lines.get(line - 1).copied().unwrap_or_default();
        let column = place.column.max(1);
        let rest = source_line.chars().skip(column - 1);
        let word = rest.clone().take_while(|c| !c.is_whitespace()).count();
        let length = match place.length {
            0 => word,
            length => length.min(rest.count()),
        };
        self.found.push(Problem {
            message: message.into(),
            line,
            column,
            length: length.max(1),
            path: path.to_owned(),
            source_line: source_line.to_owned(),
            help: help.into(),
        });
    }

    /// The value if nothing was wrong, else every problem in the order of the text.
    pub(super) fn finish<T>(mut self, file: &str, value: Option<T>) -> Result<T, Diagnostics> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                self.found
                    .sort_by_key(|problem| (problem.line, problem.column));
                Err(Diagnostics {
                    file: file.to_owned(),
                    problems: self.found,
                })
            }
        }
    }
}

/// "did you mean `etcd`?" for a near miss, else what there is to choose from.
pub(super) fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), *name))
        .min();
    match nearest {
        // A third of the letters may differ, and always one.
        Some((distance, name)) if distance <= (wrong.chars().count() / 3).max(1) => {
            format!("did you mean `{name}`?")
        }
        _ if known.is_empty() => "there is none to choose from".to_owned(),
        _ => {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("known: {}", names.join(", "))
        }
    }
}
