//! Each case of `hardway_ignition::operation`'s descriptions, on a root in a temporary folder.

use hardway_ignition::operation::{Compression, Fetching, Resource, Source, Verification};

use super::*;
use crate::apply::root::tests::{own, root};
use crate::reports::Reports;

struct Bench {
    _folder: tempfile::TempDir,
    root: TargetRoot,
    fetching: Fetching,
    reports: Reports,
}

fn bench() -> Bench {
    let (folder, root) = root();
    Bench {
        _folder: folder,
        root,
        fetching: Fetching::default(),
        reports: Reports::unheard(),
    }
}

impl Bench {
    fn file(&self, wanted: &File) -> Result<()> {
        let sources = Sources {
            fetching: &self.fetching,
            reports: &self.reports,
        };
        file(&self.root, wanted, &sources)
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.root.read(path).unwrap().unwrap()).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        self.root.stat(path).unwrap().unwrap().st_mode & 0o7777
    }
}

fn inline(bytes: &[u8]) -> Resource {
    Resource {
        source: Source::Inline(bytes.to_owned()),
        compression: Compression::None,
        verification: None,
    }
}

fn empty(path: &str) -> File {
    File {
        path: path.to_owned(),
        contents: None,
        append: Vec::new(),
        mode: None,
        user: None,
        group: None,
        overwrite: false,
    }
}

#[test]
fn a_file_is_made_kept_appended_to_and_overwritten() {
    let bench = bench();
    let path = "/etc/deep/er/file";
    let new = File {
        contents: Some(inline(b"one\n")),
        mode: Some(0o4750),
        ..empty(path)
    };
    bench.file(&new).unwrap();
    assert_eq!(
        (bench.text(path).as_str(), bench.mode(path)),
        ("one\n", 0o4750)
    );
    assert_eq!(bench.mode("/etc/deep/er"), 0o755);

    let error = bench.file(&new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a file stands there already, and `overwrite` is not set"
    );

    let more = File {
        append: vec![inline(b"two\n"), inline(b"three\n")],
        ..empty(path)
    };
    bench.file(&more).unwrap();
    assert_eq!(
        (bench.text(path).as_str(), bench.mode(path)),
        ("one\ntwo\nthree\n", 0o750)
    );

    let mode_only = File {
        mode: Some(0o600),
        ..empty(path)
    };
    bench.file(&mode_only).unwrap();
    assert_eq!(
        (bench.text(path).as_str(), bench.mode(path)),
        ("one\ntwo\nthree\n", 0o600)
    );

    let fresh = File {
        contents: Some(inline(b"new")),
        overwrite: true,
        ..empty(path)
    };
    bench.file(&fresh).unwrap();
    assert_eq!(
        (bench.text(path).as_str(), bench.mode(path)),
        ("new", 0o644),
        "nothing is kept"
    );

    bench.file(&empty("/etc/empty")).unwrap();
    assert_eq!(bench.text("/etc/empty"), "");
}

#[test]
fn a_link_or_directory_in_a_files_place_needs_overwrite() {
    let bench = bench();
    bench.root.symlink("/etc/passwd", "/link").unwrap();
    bench
        .root
        .replace("/folder/inside", b"x", &own(0o644))
        .unwrap();
    for path in ["/link", "/folder"] {
        let wanted = File {
            contents: Some(inline(b"x")),
            ..empty(path)
        };
        assert!(bench.file(&wanted).is_err());
        assert!(bench.file(&empty(path)).is_err());
        bench
            .file(&File {
                overwrite: true,
                ..wanted
            })
            .unwrap();
        assert_eq!(bench.text(path), "x");
    }
}

#[test]
fn content_is_checked_before_anything_changes() {
    let bench = bench();
    bench.root.replace("/file", b"old", &own(0o644)).unwrap();
    let wanted = File {
        contents: Some(Resource {
            verification: Some(Verification::Sha256("00".to_owned())),
            ..inline(b"new")
        }),
        overwrite: true,
        ..empty("/file")
    };
    let error = format!("{:#}", bench.file(&wanted).unwrap_err());
    assert!(error.ends_with("and 00 was expected"), "{error}");
    assert_eq!(bench.text("/file"), "old");
}

#[test]
fn directories_are_adopted_or_replaced() {
    let bench = bench();
    let wanted = |mode, overwrite| Directory {
        path: "/var/lib/data".to_owned(),
        mode,
        user: None,
        group: None,
        overwrite,
    };
    directory(&bench.root, &wanted(Some(0o1777), false)).unwrap();
    assert_eq!(bench.mode("/var/lib/data"), 0o1777);
    bench
        .root
        .replace("/var/lib/data/file", b"x", &own(0o644))
        .unwrap();
    directory(&bench.root, &wanted(None, false)).unwrap();
    assert_eq!(
        (
            bench.text("/var/lib/data/file").as_str(),
            bench.mode("/var/lib/data")
        ),
        ("x", 0o1777)
    );
    directory(&bench.root, &wanted(None, true)).unwrap();
    assert_eq!(bench.root.list("/var/lib/data").unwrap(), [""; 0]);
    assert_eq!(bench.mode("/var/lib/data"), 0o755);
    bench.root.replace("/plain", b"x", &own(0o644)).unwrap();
    let error = directory(
        &bench.root,
        &Directory {
            path: "/plain".into(),
            ..wanted(None, false)
        },
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "something other than a directory stands there"
    );
}

#[test]
fn links() {
    let bench = bench();
    let wanted = |target: &str, overwrite| Symlink {
        path: "/etc/localtime".to_owned(),
        target: target.to_owned(),
        user: None,
        group: None,
        overwrite,
    };
    symlink(&bench.root, &wanted("/usr/share/zoneinfo/UTC", false)).unwrap();
    symlink(&bench.root, &wanted("/usr/share//zoneinfo/./UTC", false)).unwrap();
    let text = || bench.root.read_link("/etc/localtime").unwrap().unwrap();
    assert_eq!(text(), "/usr/share/zoneinfo/UTC", "the same target is kept");
    assert!(symlink(&bench.root, &wanted("/elsewhere", false)).is_err());
    symlink(&bench.root, &wanted("/elsewhere", true)).unwrap();
    assert_eq!(text(), "/elsewhere");

    let hard = |target: &str, overwrite| HardLink {
        path: "/second".to_owned(),
        target: target.to_owned(),
        overwrite,
    };
    let missing = hard_link(&bench.root, &hard("/first", false)).unwrap_err();
    assert_eq!(missing.to_string(), "/first is not there");
    bench.root.replace("/first", b"1", &own(0o644)).unwrap();
    bench.root.replace("/third", b"3", &own(0o644)).unwrap();
    hard_link(&bench.root, &hard("/first", false)).unwrap();
    hard_link(&bench.root, &hard("/first", false)).unwrap();
    assert!(hard_link(&bench.root, &hard("/third", false)).is_err());
    hard_link(&bench.root, &hard("/third", true)).unwrap();
    assert_eq!(bench.text("/second"), "3");
}

#[test]
fn owners_by_name_come_from_the_target() {
    let bench = bench();
    bench
        .root
        .replace("/etc/passwd", b"core:x:1234:77::/:/bin/sh\n", &own(0o644))
        .unwrap();
    bench
        .root
        .replace("/etc/group", b"etcd:x:55:\n", &own(0o644))
        .unwrap();
    let name = |name: &str| Some(Owner::Name(name.to_owned()));
    let found = resolve(&bench.root, own(0o600), None, &name("core"), &name("etcd")).unwrap();
    assert_eq!(
        found,
        Attributes {
            mode: 0o600,
            uid: 1234,
            gid: 55
        }
    );
    let error = resolve(&bench.root, own(0), None, &name("nobody"), &None).unwrap_err();
    assert_eq!(error.to_string(), "there is no user nobody");
}

#[test]
fn clean_paths() {
    for (path, expected) in [
        ("/a//b/./c/", "/a/b/c"),
        ("/a/../b", "/b"),
        ("/..", "/"),
        ("../a", "../a"),
        ("a/../..", ".."),
    ] {
        assert_eq!(clean(path), expected);
    }
}

#[test]
fn a_link_without_an_owner_gets_that_of_what_it_leads_to() {
    let bench = bench();
    bench.root.replace("/a/file", b"", &own(0o644)).unwrap();
    bench.root.set_owner("/a/file", 4000, 4001).unwrap();
    let owner = |path: &str| {
        let stat = bench.root.stat(path).unwrap().unwrap();
        (stat.st_uid, stat.st_gid)
    };
    let link = |path: &str, target: &str| {
        let wanted = Symlink {
            path: path.to_owned(),
            target: target.to_owned(),
            user: None,
            group: None,
            overwrite: false,
        };
        symlink(&bench.root, &wanted).unwrap();
        owner(path)
    };
    assert_eq!(link("/b/relative", "../a/file"), owner("/a/file"));
    if rustix::process::geteuid().is_root() {
        assert_eq!(owner("/a/file"), (4000, 4001));
        assert_eq!(link("/b/absolute", "/a/file"), (0, 0));
    }
}

#[test]
fn a_kept_file_loses_its_set_ids_unless_a_mode_is_given() {
    let bench = bench();
    let path = "/file";
    bench.root.replace(path, b"old", &own(0o644)).unwrap();
    for (before, given, after) in [
        (0o4755, None, 0o755),
        (0o6711, None, 0o711),
        (0o2640, None, 0o2640),
        (0o755, Some(0o4755), 0o4755),
    ] {
        bench.root.set_attributes(path, &own(before)).unwrap();
        let wanted = File {
            mode: given,
            ..empty(path)
        };
        bench.file(&wanted).unwrap();
        assert_eq!(bench.mode(path), after, "{before:o}");
    }
}
