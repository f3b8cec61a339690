//! Directories, files and links, and what they do to one another.

use super::{Problems, check_path, resource};
use crate::config::{NodeOwner, Storage};

/// Permission bits with setuid, setgid and sticky.
const MODE_MASK: i64 = 0o7777;
const SPECIAL_BITS: i64 = 0o7000;

pub(super) fn check(storage: &Storage, problems: &mut Problems) {
    for (index, directory) in storage.directories.iter().enumerate() {
        let at = format!("$.storage.directories.{index}");
        check_node(
            &directory.path,
            &directory.user,
            &directory.group,
            &at,
            problems,
        );
        check_mode(directory.mode, &at, problems);
        if is_under_link(&directory.path, storage) {
            problems.error(at, "the directory lies under a link of this config");
        }
    }
    for (index, file) in storage.files.iter().enumerate() {
        let at = format!("$.storage.files.{index}");
        check_node(&file.path, &file.user, &file.group, &at, problems);
        check_mode(file.mode, &at, problems);
        if file.overwrite == Some(true) && file.contents.source.is_none() {
            problems.error(
                format!("{at}.overwrite"),
                "nothing to overwrite with: contents have no source",
            );
        }
        resource::check(&file.contents, &format!("{at}.contents"), problems);
        for (part, appended) in file.append.iter().enumerate() {
            resource::check(appended, &format!("{at}.append.{part}"), problems);
        }
        if is_under_link(&file.path, storage) {
            problems.error(at, "the file lies under a link of this config");
        }
    }
    check_links(storage, problems);
}

fn check_links(storage: &Storage, problems: &mut Problems) {
    for (index, link) in storage.links.iter().enumerate() {
        let at = format!("$.storage.links.{index}");
        check_node(&link.path, &link.user, &link.group, &at, problems);
        if is_under_link(&link.path, storage) {
            problems.error(&at, "the link lies under another link of this config");
        }
        let target = link.target.as_deref().unwrap_or_default();
        // Before 3.3 an empty target passes here and fails in the files stage.
        if target.is_empty() && problems.minor >= 3 {
            problems.error(format!("{at}.target"), "a link needs a target");
        }
        if link.hard != Some(true) {
            continue;
        }
        let target = absolute_target(&link.path, target);
        if storage
            .directories
            .iter()
            .any(|directory| directory.path == target)
        {
            problems.error(&at, "a hard link cannot lead to a directory");
        }
        for (key, owner) in [("user", &link.user), ("group", &link.group)] {
            if owner.id.is_some() {
                problems.warning(
                    format!("{at}.{key}.id"),
                    "ignored: a hard link has its target's owner",
                );
            }
            if owner.name.is_some() {
                problems.warning(
                    format!("{at}.{key}.name"),
                    "ignored: a hard link has its target's owner",
                );
            }
        }
    }
}

fn check_node(path: &str, user: &NodeOwner, group: &NodeOwner, at: &str, problems: &mut Problems) {
    check_path(path, &format!("{at}.path"), problems);
    for (key, owner) in [("user", user), ("group", group)] {
        if owner.id.is_some() && owner.name.as_deref().is_some_and(|name| !name.is_empty()) {
            problems.error(format!("{at}.{key}"), "either an id or a name, not both");
        }
    }
}

fn check_mode(mode: Option<i64>, at: &str, problems: &mut Problems) {
    let Some(mode) = mode else { return };
    if !(0..=MODE_MASK).contains(&mode) {
        let message = format!("mode {mode} is not within 0 and 4095 (octal 7777)");
        problems.error(format!("{at}.mode"), message);
    } else if problems.minor < 6 && mode & SPECIAL_BITS != 0 {
        let message = "setuid, setgid and sticky bits are ignored before spec 3.6.0";
        problems.warning(format!("{at}.mode"), message);
    }
}

fn is_under_link(path: &str, storage: &Storage) -> bool {
    storage.links.iter().any(|link| {
        path.strip_prefix(link.path.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Where a hard link's target is, from the root.
pub(crate) fn absolute_target(link: &str, target: &str) -> String {
    if target.starts_with('/') {
        crate::paths::clean(target)
    } else {
        crate::paths::clean(&format!("{link}/{target}"))
    }
}
