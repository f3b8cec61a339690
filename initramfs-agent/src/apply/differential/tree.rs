//! A tree as text, and where two of them differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What shadow's tools and the real program leave beside what they were asked for.
const LEFT_OUT: [&str; 8] = [
    "/etc/.ignition-result.json",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
];
/// Version 2.14 leaves the order of its lines to chance.
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";
const UNITS: &str = "/etc/systemd/system/";

/// A line for each path at which the trees differ. Links that enable one of the units `enabled` may
/// stand in `ours` alone.
pub fn differences(ours: &Path, theirs: &Path, enabled: &BTreeSet<String>) -> Vec<String> {
    let (here, there) = (describe(ours), describe(theirs));
    let paths: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let (our, their) = (here.get(path), there.get(path));
        let is_left_out = LEFT_OUT.contains(&path.as_str())
            || their.is_none() && may_be_ours_alone(path, enabled);
        if our != their && !is_left_out {
            let text = |side: Option<&String>| side.map_or("nothing".to_owned(), String::clone);
            lines.push(format!(
                "{path}\n  here:  {}\n  there: {}",
                text(our),
                text(their)
            ));
        }
    }
    lines
}

fn may_be_ours_alone(path: &str, enabled: &BTreeSet<String>) -> bool {
    let Some(inside) = path.strip_prefix(UNITS) else {
        return false;
    };
    let is_folder = |name: &str| {
        [".wants", ".requires", ".upholds"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    match inside.split_once('/') {
        Some((folder, unit)) => is_folder(folder) && enabled.contains(unit),
        None => is_folder(inside) && !enabled.is_empty(),
    }
}

fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    let mut names = HashMap::new();
    let top = fs::symlink_metadata(root).unwrap();
    tree.insert("/".to_owned(), owner_and_mode(&top));
    walk(root, "", &mut tree, &mut names);
    tree
}

fn walk(
    root: &Path,
    folder: &str,
    tree: &mut BTreeMap<String, String>,
    names: &mut HashMap<u64, String>,
) {
    let full = root.join(folder.trim_start_matches('/'));
    let mut entries: Vec<_> = fs::read_dir(full)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        let data = fs::symlink_metadata(entry.path()).unwrap();
        let mut text = owner_and_mode(&data);
        if data.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            text = format!("link {}:{} -> {}", data.uid(), data.gid(), target.display());
        } else if data.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            text.push_str(&format!(" {:?}", contents(&path, &bytes)));
            // The first name of the same file.
            let first = names.entry(data.ino()).or_insert_with(|| path.clone());
            text.push_str(&format!(" as {first}"));
        }
        tree.insert(path.clone(), text);
        if data.is_dir() {
            walk(root, &path, tree, names);
        }
    }
}

fn owner_and_mode(data: &fs::Metadata) -> String {
    let kind = if data.is_dir() { "directory" } else { "file" };
    format!(
        "{kind} {:04o} {}:{}",
        data.mode() & 0o7777,
        data.uid(),
        data.gid()
    )
}

fn contents(path: &str, bytes: &[u8]) -> String {
    let text = std::ffi::OsStr::from_bytes(bytes)
        .to_string_lossy()
        .into_owned();
    if path == PRESETS {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        return lines.join("\n");
    }
    if path != "/etc/shadow" {
        return text;
    }
    let without_day = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(day) = fields.get_mut(2) {
            *day = "";
        }
        fields.join(":")
    };
    text.lines().map(|line| without_day(line) + "\n").collect()
}
