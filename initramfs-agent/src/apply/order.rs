//! Directories, files and links in the order and at the places that the target's own links give them.
//!
//! Where a path leads is known only on the target: `/sbin/x` may lie in `/usr/sbin`. So, like the real
//! program, every entry's place is looked up before the first is made; entries whose places are the
//! same are refused; and shallow places come first, so that what a configuration says of a directory
//! is done before anything in it is made. Hard links come last, as their targets may lie deeper.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::Operation;

use super::root::TargetRoot;

/// Whether an operation is one of those that [`arrange`] takes.
pub fn is_entry(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Directory(_)
            | Operation::File(_)
            | Operation::Symlink(_)
            | Operation::HardLink(_)
    )
}

/// The entries of a configuration, each with its place for a path, in the order in which they are made.
///
/// # Errors
///
/// Two entries in the same place, or one below a symbolic link of the configuration itself: at the
/// time when places were looked up it was not there, and what the entry means is not to be guessed.
pub fn arrange(root: &TargetRoot, entries: &[Operation]) -> Result<Vec<Operation>> {
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let mut arranged = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut entry = entry.clone();
        let Some(path) = path_of(&mut entry) else {
            bail!("`{}` has no place in the order", entry.subject());
        };
        let place = place(root, path).with_context(|| format!("looking for {path}"))?;
        let named = std::mem::replace(path, place.clone());
        if let Some(other) = written.insert(place.clone(), named.clone()) {
            bail!("{named} and {other} both lead to {place}");
        }
        arranged.push(entry);
    }
    refuse_below_links(&arranged, &written)?;
    arranged.sort_by_key(|entry| {
        let is_hard_link = matches!(entry, Operation::HardLink(_));
        (is_hard_link, depth(entry, is_hard_link))
    });
    Ok(arranged)
}

fn path_of(entry: &mut Operation) -> Option<&mut String> {
    match entry {
        Operation::Directory(directory) => Some(&mut directory.path),
        Operation::File(file) => Some(&mut file.path),
        Operation::Symlink(link) => Some(&mut link.path),
        Operation::HardLink(link) => Some(&mut link.path),
        _ => None,
    }
}

fn place(root: &TargetRoot, path: &str) -> Result<String> {
    match path {
        "/" => Ok("/".to_owned()),
        path => root.place(path),
    }
}

fn refuse_below_links(entries: &[Operation], written: &BTreeMap<String, String>) -> Result<()> {
    for link in entries {
        let Operation::Symlink(link) = link else {
            continue;
        };
        let below = format!("{}/", link.path);
        let first = written.range(below.clone()..).next();
        if let Some((_, named)) = first.filter(|(place, _)| place.starts_with(&below)) {
            bail!(
                "{named} lies below {}, a link of this configuration",
                link.path
            );
        }
    }
    Ok(())
}

/// Hard links keep the configuration's order.
fn depth(entry: &Operation, is_hard_link: bool) -> usize {
    let components = entry.subject().split('/').filter(|part| !part.is_empty());
    if is_hard_link { 0 } else { components.count() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use hardway_ignition::operation::{Directory, HardLink, Symlink};

    use super::*;
    use crate::apply::root::tests::root;

    fn directory(path: &str) -> Operation {
        Operation::Directory(Directory {
            path: path.to_owned(),
            mode: None,
            user: None,
            group: None,
            overwrite: false,
        })
    }

    fn link(path: &str) -> Operation {
        Operation::Symlink(Symlink {
            path: path.to_owned(),
            target: "x".to_owned(),
            user: None,
            group: None,
            overwrite: false,
        })
    }

    fn hard_link(path: &str) -> Operation {
        Operation::HardLink(HardLink {
            path: path.to_owned(),
            target: "/t".to_owned(),
            overwrite: false,
        })
    }

    /// On a root where `/up` leads to `/` and `/lib` to `/usr/lib`.
    fn check(entries: &[Operation], expected: Result<&[&str], &str>) {
        let (folder, root) = root();
        let inside = folder.path().join("root");
        symlink("/", inside.join("up")).unwrap();
        symlink("usr/lib", inside.join("lib")).unwrap();
        let arranged = arrange(&root, entries).map_err(|error| error.to_string());
        let places: Result<Vec<&str>, &str> = match &arranged {
            Ok(entries) => Ok(entries.iter().map(Operation::subject).collect()),
            Err(error) => Err(error),
        };
        assert_eq!(places, expected.map(<[&str]>::to_vec));
    }

    #[test]
    fn shallow_places_come_first() {
        check(
            &[
                hard_link("/z"),
                directory("/lib/a"),
                directory("/up/b"),
                directory("/c/d"),
                hard_link("/up/y"),
                directory("/"),
            ],
            Ok(&["/", "/b", "/c/d", "/usr/lib/a", "/z", "/y"]),
        );
    }

    #[test]
    fn what_leads_to_one_place_is_refused() {
        check(
            &[directory("/up/a/b"), link("/a/b")],
            Err("/a/b and /up/a/b both lead to /a/b"),
        );
    }

    #[test]
    fn nothing_lies_below_a_link_of_the_configuration() {
        check(
            &[directory("/up/a/b"), link("/a")],
            Err("/up/a/b lies below /a, a link of this configuration"),
        );
        check(&[directory("/ab"), link("/a")], Ok(&["/ab", "/a"]));
    }
}
