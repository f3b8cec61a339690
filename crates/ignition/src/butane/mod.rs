//! Butane (YAML) → Ignition: variants `fcos` 1.0.0 to 1.6.0 and `flatcar` 1.0.0 and 1.1.0.
//!
//! The text is turned into the tree that an Ignition config would have made, every value with its
//! place in the YAML, and judged as that.

mod boot_device;
mod grub;
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
    /// Minor version of the spec that `json` is in.
    pub minor: u8,
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
    let Dialect { minor, fcos } = dialect(&mut tree)?;
    let mut translation = Translation {
        minor,
        fcos,
        files,
        problems: Vec::new(),
    };
    refuse_clevis_on_flatcar(&tree, &mut translation);
    let boot_device = boot_device::take(&mut tree, &mut translation);
    let grub = grub::take(&mut tree, &mut translation);
    resources::embed(&mut tree, &mut translation);
    trees::embed(&mut tree, &mut translation);
    let units = mount_unit::take(&mut tree, &mut translation);
    let generated = [units, boot_device, grub].into_iter().flatten().collect();
    let mut outcome = judge(tree, generated, minor, translation.problems);
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

/// Flatcar's initramfs cannot unlock what clevis locks; Butane refuses it in both versions.
fn refuse_clevis_on_flatcar(tree: &Node, translation: &mut Translation<'_>) {
    let volumes = tree.get("storage").and_then(|storage| storage.get("luks"));
    let volumes = volumes.map(Node::items).unwrap_or_default();
    for (index, volume) in volumes.iter().enumerate() {
        if let (None, Some(clevis)) = (translation.fcos, volume.get("clevis")) {
            let path = format!("$.storage.luks.{index}.clevis");
            let message = "variant flatcar does not support clevis";
            translation.error(path, clevis.position, message);
        }
    }
}

/// A text under translation.
struct Translation<'a> {
    /// Minor version of the Ignition spec that the text leads to.
    minor: u8,
    /// Minor version of the variant, where that is `fcos`.
    fcos: Option<u8>,
    files: &'a dyn LocalFiles,
    problems: Vec<Problem>,
}

impl Translation<'_> {
    fn error(&mut self, path: impl Into<String>, position: Position, message: impl Into<String>) {
        self.problems
            .push(Problem::error(path, message).at(position));
    }

    fn warning(&mut self, path: impl Into<String>, position: Position, message: impl Into<String>) {
        self.problems
            .push(Problem::warning(path, message).at(position));
    }

    /// Whether a key of Butane's own exists where Ignition's spec 3.`since` is led to; tells of it
    /// where it does not.
    fn knows(&mut self, key: &str, since: u8, path: &str, position: Position) -> bool {
        if self.minor < since {
            let message =
                format!("key `{key}` is ignored: it came with a later version of the variant");
            self.warning(path, position, message);
        }
        self.minor >= since
    }

    /// The same for a key at the top that only `fcos` has, since its version 1.`since`.
    fn knows_of_fcos(&mut self, key: &str, since: u8, position: Position) -> bool {
        let is_known = self.fcos.is_some_and(|version| version >= since);
        if !is_known {
            let message =
                format!("key `{key}` is ignored: variant fcos has it since version 1.{since}.0");
            self.warning(format!("$.{key}"), position, message);
        }
        is_known
    }
}

/// What a text's variant and version come to.
struct Dialect {
    /// Minor version of the Ignition spec.
    minor: u8,
    /// Minor version of the variant, where that is `fcos`.
    fcos: Option<u8>,
}

/// Which dialect a text is in: takes `variant` and `version` out.
fn dialect(tree: &mut Node) -> Result<Dialect, Problem> {
    let start = tree.position;
    if !matches!(tree.value, Value::Object(_)) {
        let message = format!("expected a mapping, found {}", tree.kind());
        return Err(Problem::error("$", message).at(start));
    }
    let (Some(variant), Some(version)) = (tree.take("variant"), tree.take("version")) else {
        let message = "`variant:` (`fcos` or `flatcar`) and `version:` are required";
        return Err(Problem::error("$", message).at(start));
    };
    let (known, is_fcos): (&[(&str, u8)], bool) = match variant.as_str().unwrap_or_default() {
        "fcos" => (&FCOS, true),
        "flatcar" => (&FLATCAR, false),
        other => {
            let message = format!("variant `{other}` is not supported: `fcos` and `flatcar` are");
            return Err(Problem::error("$.variant", message).at(variant.position));
        }
    };
    let text = version.as_str().unwrap_or_default();
    let Some(index) = known.iter().position(|(name, _)| *name == text) else {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "version `{text}` is not supported: {} are",
            names.join(", ")
        );
        return Err(Problem::error("$.version", message).at(version.position));
    };
    Ok(Dialect {
        minor: known[index].1,
        fcos: is_fcos.then_some(index as u8),
    })
}

/// Versions and the minor versions of the Ignition spec that they lead to, in order from 1.0.0.
const FCOS: [(&str, u8); 7] = [
    ("1.0.0", 0),
    ("1.1.0", 1),
    ("1.2.0", 2),
    ("1.3.0", 2),
    ("1.4.0", 3),
    ("1.5.0", 4),
    ("1.6.0", 5),
];
const FLATCAR: [(&str, u8); 2] = [("1.0.0", 3), ("1.1.0", 4)];

/// The author's tree under what was generated for it → a valid config.
fn judge(
    tree: Node,
    generated: Vec<Node>,
    minor: u8,
    mut problems: Vec<Problem>,
) -> Result<Translated, Report> {
    let tree = keys::rename(tree, minor, &mut problems);
    let own = decode(&tree, &CONFIG, minor);
    problems.extend(own.problems);
    let mut json = own.json;
    json["ignition"]["version"] = format!("3.{minor}.0").into();
    let mut semantic = judge_json(&json, minor);
    own.places.locate(&mut semantic);
    for part in generated {
        let part = keys::rename(part, minor, &mut problems);
        let part = decode(&part, &CONFIG, minor);
        problems.extend(part.problems);
        // What the author wrote wins over what is made for them.
        json = merge_json(part.json, json);
        semantic = relocate(judge_json(&json, minor), semantic);
    }
    problems.append(&mut semantic);
    match serde_json::from_value::<Config>(json) {
        Ok(config) => {
            let json = serde_json::to_value(&config).unwrap_or_default();
            let Parsed {
                config, warnings, ..
            } = finish(config, problems, minor)?;
            Ok(Translated {
                json,
                config,
                minor,
                warnings,
            })
        }
        Err(error) => {
            problems.push(Problem::error("$", error.to_string()));
            Err(problems.into())
        }
    }
}

fn judge_json(json: &Json, minor: u8) -> Vec<Problem> {
    let config = serde_json::from_value::<Config>(json.clone());
    config
        .map(|config| validate::validate(&config, minor))
        .unwrap_or_default()
}

/// Problems of a merged config, each with the path and place that it had before the merge moved it.
fn relocate(merged: Vec<Problem>, mut before: Vec<Problem>) -> Vec<Problem> {
    let find = |problem: Problem| {
        let index = before
            .iter()
            .position(|other| other.message == problem.message);
        index.map_or(problem, |index| before.remove(index))
    };
    merged.into_iter().map(find).collect()
}
