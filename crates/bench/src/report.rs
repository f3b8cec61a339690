//! The rows, as a table and as data.

use std::fmt::Write as _;

use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: String,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Report {
    /// Without rows.
    pub fn new(machine: String) -> Self {
        Self {
            machine,
            rows: Vec::new(),
        }
    }

    /// Adds rows, and shows them on the terminal while the next ones are measured.
    pub fn add(&mut self, rows: Vec<Row>) {
        eprint!("{}", table(&rows));
        self.rows.extend(rows);
    }
}

/// One thing that was measured, of ours and of its peers.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What the figures count.
    pub unit: &'static str,
    /// Which figure is the better one.
    pub better: Better,
    /// Hardway's.
    pub ours: Figure,
    /// The others'.
    pub peers: Vec<Figure>,
    /// Our median by the best peer's; `None` without a peer, or where its figure is zero.
    pub ratio: Option<f64>,
    /// What was wanted.
    pub target: Option<String>,
    /// Whether it was reached.
    pub met: Option<bool>,
}

/// Which figure is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Throughput.
    Higher,
    /// Time, CPU, memory.
    Lower,
}

/// What is wanted of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Nothing: the row is there to be known.
    Known,
    /// So many times the best peer's figure, or more.
    AtLeast(f64),
    /// So many times the best peer's figure, or less.
    AtMost(f64),
    /// A figure of at most this, whatever the peers have.
    Limit(f64),
}

/// One program's figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The program.
    pub name: String,
    /// Its version, as it says itself.
    pub version: String,
    /// The lowest of the repeats.
    pub min: f64,
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The highest.
    pub max: f64,
    /// All, in the order in which they were taken.
    pub repeats: Vec<f64>,
}

impl Figure {
    /// A figure of at least one repeat.
    pub fn new(name: &str, version: &str, repeats: Vec<f64>) -> Self {
        let mut sorted = repeats.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            min: sorted.first().copied().unwrap_or(f64::NAN),
            median,
            max: sorted.last().copied().unwrap_or(f64::NAN),
            repeats,
        }
    }
}

impl Row {
    /// Compares our figure, the first, with the others.
    pub fn new(
        what: impl Into<String>,
        unit: &'static str,
        better: Better,
        ours: Figure,
        peers: Vec<Figure>,
        target: Target,
    ) -> Self {
        let medians = peers.iter().map(|peer| peer.median);
        let best = match better {
            Better::Higher => medians.reduce(f64::max),
            Better::Lower => medians.reduce(f64::min),
        };
        let ratio = best
            .filter(|best| *best > 0.0)
            .map(|best| ours.median / best);
        let (target, met) = judge(target, ratio, &ours);
        Self {
            what: what.into(),
            unit,
            better,
            ours,
            peers,
            ratio,
            target,
            met,
        }
    }
}

fn judge(target: Target, ratio: Option<f64>, ours: &Figure) -> (Option<String>, Option<bool>) {
    match target {
        Target::Known => (None, None),
        Target::AtLeast(factor) => (
            Some(format!("≥ {factor} × the best peer")),
            ratio.map(|ratio| ratio >= factor),
        ),
        Target::AtMost(factor) => (
            Some(format!("≤ {factor} × the best peer")),
            ratio.map(|ratio| ratio <= factor),
        ),
        // Every repeat has to keep to it, not the middle one.
        Target::Limit(limit) => (Some(format!("≤ {}", shown(limit))), Some(ours.max <= limit)),
    }
}

/// Lines for the terminal.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = write!(text, "{:<58} {:>10}", row.what, shown(row.ours.median));
        for peer in &row.peers {
            let _ = write!(text, " | {} {}", peer.name, shown(peer.median));
        }
        let ratio = row
            .ratio
            .map_or(String::new(), |ratio| format!(" | × {ratio:.2}"));
        let _ = writeln!(text, " {}{ratio} {}", row.unit, verdict(row));
    }
    text
}

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("Measured on: {}.\n\n", report.machine);
    text.push_str(
        "| what | unit | Hardway | peers | ratio | target | met |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in &report.rows {
        let peers: Vec<String> = row
            .peers
            .iter()
            .map(|peer| format!("{} {}", peer.name, spread(peer)))
            .collect();
        let ratio = row
            .ratio
            .map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {ratio} | {} | {} |",
            row.what,
            row.unit,
            spread(&row.ours),
            peers.join("<br>"),
            row.target.as_deref().unwrap_or("–"),
            verdict(row)
        );
    }
    let versions: Vec<String> = versions(report)
        .into_iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let _ = writeln!(text, "\nVersions: {}.", versions.join(", "));
    text
}

fn verdict(row: &Row) -> &'static str {
    match row.met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    }
}

/// Median, and the lowest and highest repeat.
fn spread(figure: &Figure) -> String {
    if figure.repeats.len() < 2 {
        return shown(figure.median);
    }
    format!(
        "{} ({} to {})",
        shown(figure.median),
        shown(figure.min),
        shown(figure.max)
    )
}

/// Three digits that say something.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Every program once, in the order of the rows; without what stands in parentheses behind its name.
fn versions(report: &Report) -> Vec<(&str, &str)> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for row in &report.rows {
        for figure in std::iter::once(&row.ours).chain(&row.peers) {
            let name = figure.name.split(" (").next().unwrap_or_default();
            let version = (name, figure.version.as_str());
            if !seen.contains(&version) {
                seen.push(version);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, repeats: &[f64]) -> Figure {
        Figure::new(name, "1", repeats.to_vec())
    }

    fn row(better: Better, ours: &[f64], peers: &[&[f64]], target: Target) -> Row {
        let peers = peers.iter().map(|peer| figure("peer", peer)).collect();
        Row::new(
            "what",
            "MiB/s",
            better,
            figure("hardway", ours),
            peers,
            target,
        )
    }

    #[test]
    fn repeats_have_a_middle() {
        assert_eq!(figure("x", &[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(figure("x", &[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(figure("x", &[3.0, 1.0]).repeats, [3.0, 1.0]);
    }

    #[test]
    fn the_best_peer_is_what_counts() {
        let fast = row(
            Better::Higher,
            &[30.0],
            &[&[10.0], &[20.0]],
            Target::AtLeast(1.5),
        );
        assert_eq!((fast.ratio, fast.met), (Some(1.5), Some(true)));
        let slow = row(
            Better::Lower,
            &[30.0],
            &[&[10.0], &[20.0]],
            Target::AtMost(1.0),
        );
        assert_eq!((slow.ratio, slow.met), (Some(3.0), Some(false)));
    }

    #[test]
    fn every_repeat_keeps_to_a_limit() {
        let row = row(
            Better::Lower,
            &[10.0, 300.0, 11.0],
            &[],
            Target::Limit(256.0),
        );
        assert_eq!((row.ratio, row.met), (None, Some(false)));
    }

    #[test]
    fn the_report_names_figures_and_versions() {
        let mut report = Report::new("a machine".to_owned());
        let target = Target::AtLeast(2.0);
        report
            .rows
            .push(row(Better::Higher, &[1.0, 2.0, 3.0], &[&[0.5]], target));
        let text = markdown(&report);
        let line = "| what | MiB/s | 2.00 (1.00 to 3.00) | peer 0.500 | 4.00 | ≥ 2 × the best peer | yes |";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("Versions: hardway 1, peer 1.\n"), "{text}");
    }
}
