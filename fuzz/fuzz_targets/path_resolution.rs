//! The agent's operations in a root full of links: whatever they are told, nothing outside changes.

#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../initramfs-agent/src/apply/order.rs"]
mod order;
#[path = "../../initramfs-agent/src/apply/root.rs"]
mod root;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use arbitrary::Arbitrary;
use hardway_ignition::operation::{Directory, Operation, Symlink};
use libfuzzer_sys::fuzz_target;
use root::{Attributes, TargetRoot};

/// What nobody may reach.
const SECRET: &str = "secret";

#[derive(Debug, Arbitrary)]
enum Component {
    A,
    B,
    C,
    Secret,
    Up,
    Same,
    Nothing,
    Outside,
}

/// A path, or the text of a link.
#[derive(Debug, Arbitrary)]
struct Way {
    /// Whether it starts at the root. The operations' own paths always do.
    is_absolute: bool,
    /// Whether it names the folder outside in full.
    is_outside: bool,
    components: Vec<Component>,
}

#[derive(Debug, Arbitrary)]
enum Action {
    Symlink { text: Way, path: Way },
    Replace(Way),
    Append(Way),
    WriteInPlace(Way),
    Scratch(Way),
    Directory(Way),
    HardLink { target: Way, path: Way },
    Rename { from: Way, to: Way },
    Remove(Way),
    Attributes(Way),
    Owner(Way),
    Read(Way),
    List(Way),
    Arrange { folder: Way, link: Way },
}

fuzz_target!(|actions: Vec<Action>| {
    if actions.len() > 40 {
        return;
    }
    let folder = tempfile::tempdir_in("/dev/shm").expect("a temporary folder");
    let outside = folder.path().join("outside");
    std::fs::create_dir_all(outside.join("a")).expect("a folder outside");
    std::fs::write(outside.join(SECRET), SECRET).expect("a file outside");
    std::fs::write(outside.join("a/b"), SECRET).expect("a file outside");
    let inside = folder.path().join("root");
    std::fs::create_dir(&inside).expect("the root");
    let before = tree(&outside);

    let root = TargetRoot::open(&inside).expect("opening the root");
    for action in &actions {
        act(&root, action, &outside);
    }

    assert_eq!(before, tree(&outside), "outside has changed");
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("listing")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["outside", "root"], "something new is outside");
});

fn act(root: &TargetRoot, action: &Action, outside: &Path) {
    let path = |way: &Way| text(way, outside, true);
    let attributes = Attributes::root(0o755);
    // What fails changes nothing that this is about.
    let _ = match action {
        Action::Symlink {
            text: target,
            path: at,
        } => root.symlink(&text(target, outside, false), &path(at)),
        Action::Replace(way) => root.replace(&path(way), b"new", &attributes),
        Action::Append(way) => root.append(&path(way), &b"more"[..]),
        Action::WriteInPlace(way) => root.write_in_place(&path(way), b"in place"),
        Action::Scratch(way) => root.scratch(&path(way)).map(drop),
        Action::Directory(way) => root.make_directory(&path(way), &attributes),
        Action::HardLink { target, path: at } => root.hard_link(&path(target), &path(at)),
        Action::Rename { from, to } => root.rename(&path(from), &path(to)),
        Action::Remove(way) => root.remove(&path(way)),
        Action::Attributes(way) => root.set_attributes(&path(way), &attributes),
        Action::Owner(way) => root.set_owner(&path(way), 7, 7),
        Action::Read(way) => root.read(&path(way)).map(|bytes| {
            let is_secret = bytes.is_some_and(|bytes| bytes == SECRET.as_bytes());
            assert!(!is_secret, "read from outside");
        }),
        Action::List(way) => root.list(&path(way)).map(drop),
        Action::Arrange { folder, link } => arrange(root, path(folder), path(link)),
    };
}

fn arrange(root: &TargetRoot, folder: String, link: String) -> anyhow::Result<()> {
    let entries = [
        Operation::Directory(Directory {
            path: folder,
            mode: None,
            user: None,
            group: None,
            overwrite: false,
        }),
        Operation::Symlink(Symlink {
            path: link,
            target: "x".to_owned(),
            user: None,
            group: None,
            overwrite: false,
        }),
    ];
    for entry in order::arrange(root, &entries)? {
        let place = entry.subject();
        assert!(place.starts_with('/'), "{place} is not absolute");
        let is_clean = place
            .split('/')
            .skip(1)
            .all(|part| !matches!(part, "." | ".."));
        assert!(is_clean, "{place} is not clean");
        if place != "/" {
            assert_eq!(root.place(place)?, place, "a place has a place of its own");
        }
    }
    Ok(())
}

fn text(way: &Way, outside: &Path, is_path: bool) -> String {
    let mut text = String::new();
    if way.is_outside {
        text.push_str(&outside.to_string_lossy());
    }
    for component in way.components.iter().take(8) {
        if !text.is_empty() || way.is_absolute || is_path {
            text.push('/');
        }
        text.push_str(match component {
            Component::A => "a",
            Component::B => "b",
            Component::C => "c",
            Component::Secret => SECRET,
            Component::Up => "..",
            Component::Same => ".",
            Component::Nothing => "",
            Component::Outside => "outside",
        });
    }
    if text.is_empty() {
        "/".to_owned()
    } else {
        text
    }
}

/// Everything of a tree that an operation could change, access times aside.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![folder.to_path_buf()];
    while let Some(path) = ahead.pop() {
        let data = std::fs::symlink_metadata(&path).expect("looking at it");
        let mut text = format!(
            "{:o} {}:{} {} {}.{}",
            data.mode(),
            data.uid(),
            data.gid(),
            data.nlink(),
            data.mtime(),
            data.mtime_nsec()
        );
        if data.is_file() {
            text.push_str(&std::fs::read_to_string(&path).expect("reading it"));
        } else if data.is_dir() {
            let entries = std::fs::read_dir(&path).expect("listing it");
            ahead.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        found.insert(path, text);
    }
    found
}
