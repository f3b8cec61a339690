//! Paths that try to leave the root, and those that stay.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

/// A root in a temporary folder, and beside it something that nobody may reach.
pub fn root() -> (tempfile::TempDir, TargetRoot) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["root", "outside"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("outside/secret"), "secret").unwrap();
    let root = TargetRoot::open(&folder.path().join("root")).unwrap();
    (folder, root)
}

/// The attributes of whoever runs the tests, who need not be root.
pub fn own(mode: u32) -> Attributes {
    Attributes {
        mode,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    }
}

#[test]
fn no_path_leads_out() {
    let (folder, root) = root();
    let inside = folder.path().join("root");
    let outside = folder.path().join("outside");
    symlink(&outside, inside.join("absolute")).unwrap();
    symlink("../outside", inside.join("relative")).unwrap();
    symlink("relative", inside.join("chained")).unwrap();
    symlink("/proc/self/cwd", inside.join("magic")).unwrap();
    for path in [
        "/absolute/new",
        "/relative/new",
        "/chained/new",
        "/../outside/new",
        "/a/../../outside/new",
    ] {
        // It fails, or what it wrote is inside.
        let _ = root.replace(path, b"x", &own(0o644));
        let _ = root.symlink("x", path);
        let _ = root.make_directory(path, &own(0o755));
    }
    for path in [
        "/absolute/secret",
        "/relative/secret",
        "/chained/secret",
        "/../outside/secret",
    ] {
        assert_ne!(
            root.read(path).ok().flatten(),
            Some(b"secret".to_vec()),
            "{path}"
        );
        let _ = root.append(path, &b"x"[..]);
        let _ = root.remove(path);
    }
    let left: Vec<_> = std::fs::read_dir(&outside)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(
        std::fs::read_to_string(outside.join("secret")).unwrap(),
        "secret"
    );
}

#[test]
fn a_link_in_the_way_is_followed_and_at_the_end_is_not() {
    let (folder, root) = root();
    let inside = folder.path().join("root");
    std::fs::create_dir_all(inside.join("usr/lib")).unwrap();
    symlink("/usr/lib", inside.join("lib")).unwrap();
    root.replace("/lib/file", b"one", &own(0o640)).unwrap();
    assert_eq!(
        std::fs::read_to_string(inside.join("usr/lib/file")).unwrap(),
        "one"
    );
    assert_eq!(
        inside.join("usr/lib/file").metadata().unwrap().mode() & 0o7777,
        0o640
    );
    root.symlink("file", "/lib/link").unwrap();
    root.replace("/lib/link", b"two", &own(0o644)).unwrap();
    assert_eq!(
        root.kind("/lib/link").unwrap(),
        Some(Kind::File),
        "the link was replaced"
    );
    assert_eq!(root.read("/usr/lib/file").unwrap().unwrap(), b"one");
}

#[test]
fn removal_takes_a_tree_and_no_link_target() {
    let (folder, root) = root();
    root.replace("/a/b/c/file", b"x", &own(0o644)).unwrap();
    symlink(
        folder.path().join("outside"),
        folder.path().join("root/a/b/out"),
    )
    .unwrap();
    root.remove("/a").unwrap();
    root.remove("/a").unwrap();
    assert_eq!(root.kind("/a").unwrap(), None);
    assert!(folder.path().join("outside/secret").exists());
}

#[test]
fn a_path_without_a_name_is_refused() {
    let (_folder, root) = root();
    for path in ["", "/", "/a/", "/a/..", "relative"] {
        assert!(root.replace(path, b"", &own(0o644)).is_err(), "{path}");
    }
}

#[test]
fn a_place_has_no_links_left_in_it() {
    let (folder, root) = root();
    let inside = folder.path().join("root");
    std::fs::create_dir_all(inside.join("usr/lib")).unwrap();
    std::fs::write(inside.join("file"), "").unwrap();
    for (text, link) in [
        ("/usr/lib", "lib"),
        ("../../..", "usr/up"),
        ("lib/deep", "chained"),
        ("/not/yet", "dangling"),
        ("round", "round"),
        ("/", "usr/lib/top"),
    ] {
        symlink(text, inside.join(link)).unwrap();
    }
    for (path, expected) in [
        ("/a", Some("/a")),
        ("/lib/a", Some("/usr/lib/a")),
        ("/lib", Some("/lib")),
        ("/usr/up/lib/x", Some("/usr/lib/x")),
        ("/chained/x", Some("/usr/lib/deep/x")),
        ("/dangling/a/b", Some("/not/yet/a/b")),
        ("/lib/top/etc/x", Some("/etc/x")),
        ("/lib/../x", Some("/usr/x")),
        ("/file/x", Some("/file/x")),
        ("/file/x/y", None),
        ("/round/x", None),
        ("/", None),
    ] {
        assert_eq!(root.place(path).ok().as_deref(), expected, "{path}");
    }
    root.replace("/dangling/a/b", b"made", &own(0o644)).unwrap();
    assert_eq!(root.read("/not/yet/a/b").unwrap().unwrap(), b"made");
}

#[test]
fn behind_relative_links() {
    let (_folder, root) = root();
    root.replace("/a/file", b"", &own(0o640)).unwrap();
    for (text, path) in [
        ("file", "/a/near"),
        ("../a/near", "/b/through"),
        ("/a/file", "/b/absolute"),
        ("absolute", "/b/at-last-absolute"),
        ("../../a/file", "/b/above"),
        ("nothing", "/b/lost"),
    ] {
        root.symlink(text, path).unwrap();
    }
    for (path, expected) in [
        ("/a/near", Some(own(0o640))),
        ("/b/through", Some(own(0o640))),
        ("/b/absolute", None),
        ("/b/at-last-absolute", None),
        ("/b/above", None),
        ("/b/lost", None),
    ] {
        assert_eq!(root.behind(path), expected, "{path}");
    }
}
