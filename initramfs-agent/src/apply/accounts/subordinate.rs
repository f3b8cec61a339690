//! Subordinate ids of users (subuid(5), subgid(5)), where the system has these files.

use anyhow::{Context, Result};

use super::Defaults;
use crate::apply::root::{Attributes, TargetRoot};

const FILES: [(&str, &str); 2] = [("/etc/subuid", "UID"), ("/etc/subgid", "GID")];

/// Gives a new user the first range that is free, unless it has one.
pub fn assign(root: &TargetRoot, user: &str, defaults: &Defaults) -> Result<()> {
    for (path, kind) in FILES {
        let Some(mut text) = load(root, path)? else {
            continue;
        };
        let (range, count) = defaults.subordinate(kind);
        let has_one = text.lines().any(|line| is_of(line, user));
        if has_one || count == 0 {
            continue;
        }
        let first = first_free(&text, *range.start(), count);
        let is_there_room = first
            .checked_add(count - 1)
            .is_some_and(|last| last <= *range.end());
        if !is_there_room {
            anyhow::bail!("no range of {path} is free");
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        store(root, path, &format!("{text}{user}:{first}:{count}\n"))?;
    }
    Ok(())
}

/// Takes a user's ranges away.
pub fn withdraw(root: &TargetRoot, user: &str) -> Result<()> {
    for (path, _) in FILES {
        let Some(text) = load(root, path)? else {
            continue;
        };
        let others = text.lines().filter(|line| !is_of(line, user));
        let kept: String = others.flat_map(|line| [line, "\n"]).collect();
        if kept != text {
            store(root, path, &kept)?;
        }
    }
    Ok(())
}

fn is_of(line: &str, user: &str) -> bool {
    line.split(':').next() == Some(user)
}

/// Where `count` numbers are free, from `first` on.
fn first_free(text: &str, mut first: u32, count: u32) -> u32 {
    let range = |line: &str| {
        let mut fields = line
            .split(':')
            .skip(1)
            .map(|field| field.trim().parse::<u32>());
        match (fields.next(), fields.next()) {
            (Some(Ok(start)), Some(Ok(length))) => Some((start, length)),
            _ => None,
        }
    };
    let mut taken: Vec<(u32, u32)> = text.lines().filter_map(range).collect();
    taken.sort_unstable();
    for (start, length) in taken {
        let is_before = first.checked_add(count).is_some_and(|end| end <= start);
        if is_before {
            break;
        }
        first = first.max(start.saturating_add(length));
    }
    first
}

fn load(root: &TargetRoot, path: &str) -> Result<Option<String>> {
    root.read(path)?
        .map(|bytes| String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8")))
        .transpose()
}

fn store(root: &TargetRoot, path: &str, text: &str) -> Result<()> {
    let attributes = root.stat(path)?.map(|stat| Attributes::of(&stat));
    let attributes = attributes.unwrap_or(Attributes::root(0o644));
    root.replace(path, text.as_bytes(), &attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gap_is_taken() {
        for (text, expected) in [
            ("", 100),
            ("a:100:10\n", 110),
            ("a:105:10\n", 115),
            ("a:110:10\n", 100),
            ("b:130:10\na:100:10\n# x\n", 110),
            ("b:115:10\na:100:10\n", 125),
            ("a:4294967290:10\n", 100),
        ] {
            assert_eq!(first_free(text, 100, 10), expected, "{text}");
        }
    }
}
