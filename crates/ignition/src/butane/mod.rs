//! Butane (YAML) → Ignition: variants `fcos` 1.0.0 to 1.6.0 and `flatcar` 1.0.0 and 1.1.0.
//!
//! The text is turned into the tree that an Ignition config would have made, every value with its
//! place in the YAML, and judged as that.

mod keys;
mod local;
mod mount_unit;
mod resources;
mod trees;

pub use local::{LocalFiles, NoLocalFiles, TreeEntry, TreeNode};

use serde_json::Value as Json;

use crate::config::Config;
use crate::merge::merge_json;
use crate::parse::{Parsed, finish};
use crate::report::{Position, Problem, Report};
use crate::source::decode::decode;
use crate::source::schema::CONFIG;
use crate::source::{Node, Value, yaml};
use crate::validate;

/// A translated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The Ignition config in the version that belongs to the text's own, as Butane would print it.
    pub json: Json,
    /// The same in the newest spec.
    pub config: Config,
    /// What its author should know.
    pub warnings: Vec<Problem>,
}

/// Translates one Butane text. `files` is where `local:` and `trees:` look.
///
/// # Errors
///
/// Everything that is wrong with the text, warnings included, each with its line and column in the
/// YAML and the key's path as written there.
pub fn translate(yaml: &str, files: &dyn LocalFiles) -> Result<Translated, Report> {
    let mut tree = yaml::read(yaml)?;
    let minor = spec_minor(&mut tree)?;
    let mut translation = Translation { minor, files, problems: Vec::new() };
    refuse_sugar(&mut tree, &mut translation);
    resources::embed(&mut tree, &mut translation);
    trees::embed(&mut tree, &mut translation);
    let units = mount_unit::take(&mut tree, &mut translation);
    let tree = keys::rename(tree, minor, &mut translation.problems);
    let mut outcome = judge(&tree, units, minor, translation.problems);
    let problems = match &mut outcome {
        Ok(translated) => &mut translated.warnings,
        Err(report) => &mut report.problems,
    };
    for problem in problems.iter_mut() {
        problem.path = keys::snake_path(&problem.path);
    }
    problems.sort_by_key(|problem| problem.position);
    outcome
}

/// A text under translation.
struct Translation<'a> {
    /// Minor version of the Ignition spec that the text leads to.
    minor: u8,
    files: &'a dyn LocalFiles,
    problems: Vec<Problem>,
}

impl Translation<'_> {
    fn error(&mut self, path: impl Into<String>, position: Position, message: impl Into<String>) {
        self.problems.push(Problem::error(path, message).at(position));
    }

    /// Whether a key of Butane's own exists in the text's version; tells of it where it does not.
    fn knows(&mut self, key: &str, since: u8, path: &str, position: Position) -> bool {
        if self.minor < since {
            let message = format!("key `{key}` is ignored: it came with a later version of the variant");
            self.problems.push(Problem::warning(path, message).at(position));
        }
        self.minor >= since
    }
}

/// Which Ignition spec a text leads to: takes `variant` and `version` out.
fn spec_minor(tree: &mut Node) -> Result<u8, Problem> {
    let start = tree.position;
    if !matches!(tree.value, Value::Object(_)) {
        let message = format!("expected a mapping, found {}", tree.kind());
        return Err(Problem::error("$", message).at(start));
    }
    let (variant, version) = (tree.take("variant"), tree.take("version"));
    let Some(variant) = variant else {
        return Err(Problem::error("$.variant", "`variant: fcos` or `variant: flatcar` is missing").at(start));
    };
    let Some(version) = version else {
        return Err(Problem::error("$.version", "`version:` is missing").at(start));
    };
    let known: &[(&str, u8)] = match variant.as_str().unwrap_or_default() {
        "fcos" => &[
            ("1.0.0", 0),
            ("1.1.0", 1),
            ("1.2.0", 2),
            ("1.3.0", 2),
            ("1.4.0", 3),
            ("1.5.0", 4),
            ("1.6.0", 5),
        ],
        "flatcar" => &[("1.0.0", 3), ("1.1.0", 4)],
        other => {
            let message = format!("variant `{other}` is not supported: `fcos` and `flatcar` are");
            return Err(Problem::error("$.variant", message).at(variant.position));
        }
    };
    let text = version.as_str().unwrap_or_default();
    known.iter().find(|(name, _)| *name == text).map(|(_, minor)| *minor).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let message = format!("version `{text}` is not supported: {} are", names.join(", "));
        Problem::error("$.version", message).at(version.position)
    })
}

/// Sugar for whole disk layouts and boot loaders.
fn refuse_sugar(tree: &mut Node, translation: &mut Translation<'_>) {
    for key in ["boot_device", "grub"] {
        if let Some(node) = tree.take(key) {
            let message = format!("`{key}` is not translated yet: it comes with the disks stage");
            translation.error(format!("$.{key}"), node.position, message);
        }
    }
}

fn judge(tree: &Node, units: Vec<Json>, minor: u8, mut problems: Vec<Problem>) -> Result<Translated, Report> {
    let decoded = decode(tree, &CONFIG, minor);
    problems.extend(decoded.problems);
    let version = format!("3.{minor}.0");
    let mut json = decoded.json;
    json["ignition"]["version"] = version.as_str().into();
    if !units.is_empty() {
        // What the author wrote wins over what is made for them.
        let generated = serde_json::json!({"ignition": {"version": version}, "systemd": {"units": units}});
        json = merge_json(generated, json);
    }
    let config: Config = match serde_json::from_value(json) {
        Ok(config) => config,
        Err(error) => {
            problems.push(Problem::error("$", error.to_string()));
            return Err(problems.into());
        }
    };
    let mut semantic = validate::validate(&config, minor);
    decoded.places.locate(&mut semantic);
    problems.append(&mut semantic);
    let json = serde_json::to_value(&config).unwrap_or_default();
    let Parsed { config, warnings } = finish(config, problems, minor)?;
    Ok(Translated { json, config, warnings })
}
