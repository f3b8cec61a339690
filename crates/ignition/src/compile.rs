//! All the parts of a machine's config → one config.

use sha2::{Digest, Sha256};

use crate::butane::{self, LocalFiles};
use crate::config::Config;
use crate::merge::merge;
use crate::parse::{Parsed, parse};
use crate::references::{Fetch, Fetched, Resolver};
use crate::report::{Problem, Report, Severity};

/// One part of a machine's config, its templates rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file's name, for messages.
    pub name: String,
    /// What language it is in.
    pub kind: PartKind,
    /// The text.
    pub text: String,
}

/// The language of a config part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Butane, in YAML.
    Butane,
    /// Ignition, in JSON.
    Ignition,
}

impl PartKind {
    /// Judges by the file's name: `.bu`, `.yaml` and `.yml` are Butane, `.ign` and `.json` Ignition.
    pub fn of_file_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("bu" | "yaml" | "yml") => Some(Self::Butane),
            Some("ign" | "json") => Some(Self::Ignition),
            _ => None,
        }
    }
}

/// A machine's whole config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The parts merged in order, in the newest spec. The configs that they name are merged in, or have
    /// taken their place.
    pub config: Config,
    /// The config as canonical JSON: the same config has the same text. It is what an image with its
    /// own Ignition is given, so its version is the oldest that will do: the newest of the parts'.
    pub json: String,
    /// The certificate authorities that the config names: PEM, one or several each.
    pub authorities: Vec<String>,
    /// What was fetched for it: another time this may be something else.
    pub fetched: Vec<Fetched>,
    /// What the authors should know.
    pub warnings: Vec<Problem>,
}

impl Compiled {
    /// SHA-256 of [`Compiled::json`], in lower-case hexadecimal.
    pub fn digest(&self) -> String {
        Sha256::digest(self.json.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Translates the parts, resolves what they name, and merges each into those before it.
///
/// # Errors
///
/// Everything that is wrong with any of the parts, each with its file, line and column; the first
/// thing that cannot be fetched; or what is wrong with what they make together.
pub fn compile(
    parts: &[Part],
    files: &dyn LocalFiles,
    fetcher: &mut dyn Fetch,
) -> Result<Compiled, Report> {
    let mut parsed = Vec::new();
    let mut report = Report::default();
    for part in parts {
        let warnings = match parse_part(part, files) {
            Ok(Parsed {
                config,
                minor,
                warnings,
            }) => {
                parsed.push((&part.name, config, minor));
                Report::from(warnings)
            }
            Err(report) => report,
        };
        report
            .problems
            .extend(warnings.in_file(&part.name).problems);
    }
    if report.is_fatal() {
        return Err(report);
    }
    let mut merged = Config::empty();
    let mut newest_minor = 0;
    let mut resolver = Resolver::new(fetcher);
    for (name, config, minor) in parsed {
        let in_file = |report: Report| report.in_file(name);
        resolver
            .adopt(&merge(&merged, &config).ignition)
            .map_err(in_file)?;
        let resolved = resolver.resolve(config, 0).map_err(in_file)?;
        merged = merge(&merged, &resolved);
        newest_minor = newest_minor.max(minor);
    }
    let authorities = resolver.keep_authorities(&mut merged)?;
    newest_minor = newest_minor.max(resolver.newest_minor);
    report.problems.append(&mut resolver.warnings);
    let fetched = resolver.fetched;
    let together = crate::validate(&merged);
    report.problems.extend(
        together
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error),
    );
    if report.is_fatal() {
        return Err(report);
    }
    // Through a value, whose maps are sorted by key.
    let mut json = serde_json::to_value(&merged).unwrap_or_default();
    json["ignition"]["version"] = format!("3.{newest_minor}.0").into();
    let json = json.to_string();
    Ok(Compiled {
        config: merged,
        json,
        authorities,
        fetched,
        warnings: report.problems,
    })
}

fn parse_part(part: &Part, files: &dyn LocalFiles) -> Result<Parsed, Report> {
    match part.kind {
        PartKind::Ignition => parse(part.text.as_bytes()),
        PartKind::Butane => butane::translate(&part.text, files).map(|translated| Parsed {
            config: translated.config,
            minor: translated.minor,
            warnings: translated.warnings,
        }),
    }
}
