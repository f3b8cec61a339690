//! Accounts as the upstream tests expect them. Those run stubs in the place of useradd and its kind, which
//! do some things otherwise than the real tools do. What makes the real ones do the same is put into the
//! root as a system's own files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::corpus::Case;

const LOGIN: &str = "etc/login.defs";
const LARGEST_GROUP: &str = "GID_MAX";
/// The first number that the stub gives away.
const FIRST: u64 = 1000;
/// Puts into the root what the stubs need and what their built-in defaults are: folders, the merged
/// `/usr`, and bash as the shell of new users.
///
/// The stubs give a group without a number the first that is free, where useradd prefers the user's, and
/// groupadd the one behind the highest. So numbers of groups end below those that the config names.
pub fn prepare(case: &Case, root: &Path) -> Result<()> {
    if !case.config.contains("passwd") {
        return Ok(());
    }
    for folder in ["home", "usr/bin", "usr/sbin", "usr/lib64", "etc/default"] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("making /{folder}"))?;
    }
    for name in ["lib64", "bin", "sbin"] {
        let link = root.join(name);
        if link.symlink_metadata().is_err() {
            symlink(format!("usr/{name}"), &link)?;
        }
    }
    let defaults = root.join("etc/default/useradd");
    if !defaults.exists() {
        fs::write(&defaults, "SHELL=/bin/bash\n")?;
    }
    let config: Value = serde_json::from_str(&case.config).unwrap_or_default();
    limit_groups(&config["passwd"], root)
}

fn limit_groups(passwd: &Value, root: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(root.join(LOGIN)) else {
        return Ok(());
    };
    let given = [("users", "uid"), ("groups", "gid")];
    let numbers = given.into_iter().flat_map(|(list, key)| {
        let entries = passwd[list].as_array().into_iter().flatten();
        entries.filter_map(move |entry| entry[key].as_u64())
    });
    let lowest = numbers.filter(|number| *number >= FIRST).min();
    let Some(lowest) = lowest.filter(|lowest| *lowest > FIRST + 1) else {
        return Ok(());
    };
    let others = text
        .lines()
        .filter(|line| line.split_whitespace().next() != Some(LARGEST_GROUP));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!("{LARGEST_GROUP} {}\n", lowest - 1));
    fs::write(root.join(LOGIN), text).with_context(|| format!("writing /{LOGIN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_numbered_below_what_the_config_numbers() {
        let root = tempfile::tempdir().unwrap();
        let login = root.path().join(LOGIN);
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(&login, "GID_MIN 1000\nGID_MAX 60000\n").unwrap();
        let case = Case {
            config: r#"{"passwd": {"users": [{"name": "b", "uid": 1044}]}}"#.to_owned(),
            ..Case::default()
        };
        prepare(&case, root.path()).unwrap();
        let text = fs::read_to_string(login).unwrap();
        assert_eq!(text, "GID_MIN 1000\nGID_MAX 1043\n");
    }
}
