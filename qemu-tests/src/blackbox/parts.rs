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

/// The configs to merge, first to last; none where there is none at all.
pub fn of(case: &Case) -> Vec<String> {
    // Later folders win.
    let folders = [
        &case.system_files,
        &case.system_local_files,
        &case.system_runtime_files,
    ];
    let mut parts = fragments(&folders, "base.d");
    parts.extend(fragments(&folders, &format!("base.platform.d/{PLATFORM}")));
    let user = folders
        .iter()
        .rev()
        .flat_map(|files| files.iter())
        .find(|file| clean(&file.path) == "user.ign");
    let user = user.map_or(&case.config, |file| &file.contents);
    if !user.trim().is_empty() {
        parts.push(user.clone());
    }
    parts
}

/// The fragments in one subfolder of all folders, by name.
fn fragments(folders: &[&Vec<Node>], subfolder: &str) -> Vec<String> {
    let mut found = BTreeMap::new();
    for file in folders.iter().flat_map(|files| files.iter()) {
        if let Some((folder, name)) = clean(&file.path).rsplit_once('/')
            && folder == subfolder
        {
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
        assert!(of(&Case::default()).is_empty());
    }

    #[test]
    fn the_kernels_command_line_is_a_file_of_the_case() {
        let case = Case {
            env: vec!["IGNITION_KERNEL_CMDLINE_PATH=$SYSTEM_CONFIG_DIR/cmdline".to_owned()],
            system_files: vec![file("/cmdline", "quiet")],
            ..Case::default()
        };
        assert_eq!(kernel_command_line(&case), Some("quiet"));
        assert_eq!(kernel_command_line(&Case::default()), None);
    }
}
