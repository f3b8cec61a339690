//! Bytes → a config in the newest spec, with every problem at once.

use crate::config::{Config, NEWEST_VERSION};
use crate::report::{Problem, Report};
use crate::source::decode::{Decoded, decode};
use crate::source::schema::CONFIG;
use crate::source::{Node, json};
use crate::validate;

/// Minor version of the newest spec.
pub(crate) const NEWEST_MINOR: u8 = 6;

/// Permission bits without setuid, setgid and sticky: what configs before 3.6 can set.
const PLAIN_MODE: i64 = 0o777;

/// A config that is valid, in the newest spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The config.
    pub config: Config,
    /// Minor version of the spec that it was written in: nothing in it needs a later one.
    pub minor: u8,
    /// What its author should know.
    pub warnings: Vec<Problem>,
}

/// Reads an Ignition config (JSON, spec 3.0.0 to 3.6.0), judges it by the rules of its own version
/// and brings it to the newest one.
///
/// # Errors
///
/// Everything that is wrong with the config, warnings included, each with its line and column.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Report> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::error("$", "the config is empty").into());
    }
    let node = json::read(bytes)?;
    let minor = spec_minor(&node)?;
    parse_tree(&node, minor)
}

/// Judges a config that stands as a tree already. `minor` is its spec's minor version.
fn parse_tree(node: &Node, minor: u8) -> Result<Parsed, Report> {
    let Decoded {
        json,
        mut problems,
        places,
    } = decode(node, &CONFIG, minor);
    match serde_json::from_value::<Config>(json) {
        Ok(config) => {
            let mut semantic = validate::validate(&config, minor);
            places.locate(&mut semantic);
            problems.append(&mut semantic);
            problems.sort_by_key(|problem| problem.position);
            finish(config, problems, minor)
        }
        Err(error) => {
            // The schema and the types agree, so this is met only where a number is out of range.
            problems.push(Problem::error("$", error.to_string()));
            Err(problems.into())
        }
    }
}

/// The config in the newest spec, unless one of its problems is an error.
pub(crate) fn finish(
    mut config: Config,
    problems: Vec<Problem>,
    minor: u8,
) -> Result<Parsed, Report> {
    let report = Report { problems };
    if report.is_fatal() {
        return Err(report);
    }
    bring_to_newest(&mut config, minor);
    Ok(Parsed {
        config,
        minor,
        warnings: report.problems,
    })
}

/// What the version of a config says, before anything else is looked at.
fn spec_minor(node: &Node) -> Result<u8, Problem> {
    let Decoded {
        json,
        problems,
        places,
    } = decode(node, &CONFIG, NEWEST_MINOR);
    if let Some(problem) = problems.into_iter().find(|problem| {
        problem.path == "$" || problem.path == "$.ignition" || problem.path == "$.ignition.version"
    }) {
        return Err(problem);
    }
    let path = "$.ignition.version";
    let refuse = |message: String| {
        let mut problem = Problem::error(path, message);
        problem.position = places.find(path);
        problem
    };
    let Some(version) = json
        .pointer("/ignition/version")
        .and_then(|version| version.as_str())
    else {
        return Err(refuse(
            "the config names no version: `\"ignition\": {\"version\": \"3.6.0\"}`".to_owned(),
        ));
    };
    known_minor(version).ok_or_else(|| {
        refuse(format!(
            "version {version} is not supported: 3.0.0 to {NEWEST_VERSION} are"
        ))
    })
}

/// The minor version of a version that is accepted.
pub(crate) fn known_minor(version: &str) -> Option<u8> {
    let numbers: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    match numbers?.as_slice() {
        [3, minor, 0] => u8::try_from(*minor)
            .ok()
            .filter(|minor| *minor <= NEWEST_MINOR),
        _ => None,
    }
}

fn bring_to_newest(config: &mut Config, minor: u8) {
    config.ignition.version = NEWEST_VERSION.to_owned();
    if minor < 3 {
        // The target became optional in 3.3; before, an absent one is an empty one.
        for link in &mut config.storage.links {
            link.target.get_or_insert_default();
        }
    }
    if minor == 4 {
        // Ignition loses them on the way from 3.4 to 3.5; validation warns of it.
        let volumes = config.storage.luks.iter_mut();
        for tang in volumes.flat_map(|volume| &mut volume.clevis.tang) {
            tang.advertisement = None;
        }
    }
    if minor < 6 {
        let storage = &mut config.storage;
        let directories = storage
            .directories
            .iter_mut()
            .map(|directory| &mut directory.mode);
        let files = storage.files.iter_mut().map(|file| &mut file.mode);
        for mode in directories.chain(files).flatten() {
            *mode &= PLAIN_MODE;
        }
    }
}
