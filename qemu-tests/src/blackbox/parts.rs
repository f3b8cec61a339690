//! Which configs a case is given, in their order.
//!
//! Real Ignition looks for them on the host: fragments in `base.d` and `base.platform.d/PLATFORM` of
//! three folders (runtime before local before vendor, where two have the same name), then one user's
//! config: `user.ign`, or else what the platform gives. Hardway has no such lookup, its cluster.yaml
//! lists the parts. So the lookup is done here, and what it finds becomes the list of parts.

use std::collections::BTreeMap;

use super::corpus::{Case, Node};

/// Ignition's name for where the upstream tests' user config comes from: a file.
const PLATFORM: &str = "file";

/// Where real Ignition finds no config at all it does what this one asks for.
const NO_CONFIG: &str = r#"{"ignition": {"version": "3.0.0"}}"#;

/// The configs to merge, first to last.
pub fn of(case: &Case) -> Vec<String> {
    // Later folders win.
    let folders = [
        &case.system_files,
        &case.system_local_files,
        &case.system_runtime_files,
    ];
    let mut parts = fragments(&folders, "");
    parts.extend(fragments(&folders, "base.d"));
    parts.extend(fragments(&folders, &format!("base.platform.d/{PLATFORM}")));
    let user = folders
        .iter()
        .rev()
        .flat_map(|files| files.iter())
        .find(|file| clean(&file.path) == "user.ign");
    let user = user.map_or(&case.config, |file| &file.contents);
    if points_to_config(kernel_command_line(case).unwrap_or_default()) {
        // That one stands before every other user's config, and is looked up by the program.
    } else if !user.trim().is_empty() {
        parts.push(user.clone());
    } else if parts.is_empty() {
        parts.push(NO_CONFIG.to_owned());
    }
    parts
}

/// Whether a kernel command line says where the config is, well or not.
fn points_to_config(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.any(|word| {
        word.strip_prefix("ignition.config.")
            .and_then(|rest| rest.split_once('='))
            .is_some_and(|(name, value)| {
                matches!(name, "url" | "device" | "path") && !value.is_empty()
            })
    })
}

/// The fragments in one subfolder of all folders, by name. In the folders themselves only the one that
/// older programs read counts.
fn fragments(folders: &[&Vec<Node>], subfolder: &str) -> Vec<String> {
    let mut found = BTreeMap::new();
    for file in folders.iter().flat_map(|files| files.iter()) {
        let path = clean(&file.path);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if folder == subfolder && (!folder.is_empty() || name == "base.ign") {
            found.insert(name.to_owned(), file.contents.clone());
        }
    }
    found.into_values().collect()
}

fn clean(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// The kernel command line that the case brings, if it brings one: upstream reads the file that a
/// variable of the environment names instead of `/proc/cmdline`.
pub fn kernel_command_line(case: &Case) -> Option<&str> {
    let place = case
        .env
        .iter()
        .find_map(|line| line.strip_prefix("IGNITION_KERNEL_CMDLINE_PATH="))?;
    let name = clean(place.strip_prefix("$SYSTEM_CONFIG_DIR").unwrap_or(place));
    let file = case
        .system_files
        .iter()
        .find(|file| clean(&file.path) == name);
    Some(file.map_or("", |file| file.contents.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, contents: &str) -> Node {
        Node {
            path: path.to_owned(),
            contents: contents.to_owned(),
            ..Node::default()
        }
    }

    #[test]
    fn fragments_by_name_then_the_platforms_then_the_users() {
        let case = Case {
            config: "provider".to_owned(),
            system_files: vec![
                file("/base.platform.d/file/10.ign", "platform"),
                file("/base.platform.d/other/10.ign", "another platform"),
                file("/base.ign", "old base"),
                file("/base.d/50.ign", "vendor 50"),
                file("/base.d/40.ign", "vendor 40"),
            ],
            system_local_files: vec![file("/base.d/45.ign", "local 45")],
            system_runtime_files: vec![file("base.d/40.ign", "runtime 40")],
            ..Case::default()
        };
        assert_eq!(
            of(&case),
            [
                "old base",
                "runtime 40",
                "local 45",
                "vendor 50",
                "platform",
                "provider"
            ]
        );
    }

    #[test]
    fn a_users_file_stands_before_the_platforms_config() {
        let mut case = Case {
            config: "provider".to_owned(),
            system_files: vec![file("/user.ign", "vendor")],
            system_local_files: vec![file("/user.ign", "local")],
            ..Case::default()
        };
        assert_eq!(of(&case), ["local"]);
        case.system_local_files.clear();
        assert_eq!(of(&case), ["vendor"]);
        assert_eq!(of(&Case::default()), [NO_CONFIG]);
    }

    #[test]
    fn the_kernels_command_line_is_a_file_of_the_case() {
        let case = Case {
            env: vec!["IGNITION_KERNEL_CMDLINE_PATH=$SYSTEM_CONFIG_DIR/cmdline".to_owned()],
            system_files: vec![file("/cmdline", "quiet")],
            ..Case::default()
        };
        assert_eq!(kernel_command_line(&case), Some("quiet"));
        assert!(points_to_config("quiet ignition.config.path=/a"));
        assert!(!points_to_config(
            "quiet ignition.config.path= ignition.platform.id=file"
        ));
        assert_eq!(kernel_command_line(&Case::default()), None);
    }
}
