//! Which configs are valid, and what is said about those that are not. The verdicts are those of
//! Ignition's own validator on the same texts.

#![cfg(feature = "front-end")]

use hardway_ignition::{Config, merge, parse};
use proptest::prelude::*;

/// Judges `{"ignition": {"version": "3.VERSION.0"}, BODY}`; `expected` are the paths of its errors.
fn check(minor: u8, body: &str, expected: &[&str]) {
    let comma = if body.is_empty() { "" } else { ", " };
    let text = format!(r#"{{"ignition": {{"version": "3.{minor}.0"}}{comma}{body}}}"#);
    let found = match parse(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(report) => paths(&report.problems),
    };
    assert_eq!(found, expected, "{text}");
}

fn paths(problems: &[hardway_ignition::Problem]) -> Vec<String> {
    let errors = problems
        .iter()
        .filter(|p| p.severity == hardway_ignition::Severity::Error);
    errors
        .map(|problem| problem.path.trim_start_matches("$.").to_owned())
        .collect()
}

#[test]
fn versions() {
    for (version, accepted) in [
        ("3.0.0", true),
        ("3.6.0", true),
        ("03.3.0", true),
        ("3.7.0", false),
        ("3.7.0-experimental", false),
        ("3.3.0+a", false),
        ("3.3", false),
        ("v3.3.0", false),
        (" 3.3.0", false),
        ("2.3.0", false),
        ("", false),
    ] {
        let text = format!(r#"{{"ignition": {{"version": "{version}"}}}}"#);
        let parsed = parse(text.as_bytes());
        assert_eq!(parsed.is_ok(), accepted, "{version}");
        if let Ok(parsed) = parsed {
            assert_eq!(parsed.config.ignition.version, "3.6.0");
        }
    }
    for text in [
        "",
        "  \n",
        "[]",
        "null",
        "{}",
        r#"{"ignition": {"version": 3}}"#,
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn every_problem_has_a_place() {
    let text = "{\"ignition\": {\"version\": \"3.6.0\"},\n \"storage\": {\"files\": [\n  \
                {\"path\": \"a\", \"mode\": 9999},\n  {\"path\": \"/b\", \"overwrite\": true}]}}";
    let report = parse(text.as_bytes())
        .expect_err("refused")
        .in_file("base.ign");
    let expected = "\
base.ign:3:12: error: path `a` is not absolute at $.storage.files.0.path
base.ign:3:25: error: mode 9999 is not within 0 and 4095 (octal 7777) at $.storage.files.0.mode
base.ign:4:31: error: nothing to overwrite with: contents have no source at $.storage.files.1.overwrite";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn nodes() {
    check(
        3,
        r#""storage": {"files": [{"path": "/a/../b"}]}"#,
        &["storage.files.0.path"],
    );
    check(
        3,
        r#""storage": {"files": [{"path": "/a"}], "links": [{"path": "/a", "target": "b"}]}"#,
        &["storage.links.0"],
    );
    check(
        3,
        r#""storage": {"files": [{"path": "/a/b"}], "links": [{"path": "/a", "target": "b"}]}"#,
        &["storage.files.0"],
    );
    check(
        3,
        r#""storage": {"links": [{"path": "/a", "target": ""}]}"#,
        &["storage.links.0.target"],
    );
    check(
        2,
        r#""storage": {"links": [{"path": "/a", "target": ""}]}"#,
        &[],
    );
    check(
        3,
        r#""storage": {"directories": [{"path": "/d/x"}], "links": [{"path": "/d/y", "target": "../x", "hard": true}]}"#,
        &["storage.links.0"],
    );
    check(
        3,
        r#""storage": {"files": [{"path": "/a", "user": {"id": 1, "name": "b"}}]}"#,
        &["storage.files.0.user"],
    );
    check(
        3,
        r#""storage": {"files": [{"path": "/a", "user": {"id": -1, "name": ""}}]}"#,
        &[],
    );
}

#[test]
fn resources() {
    let file = |contents: &str| {
        format!(r#""storage": {{"files": [{{"path": "/a", "contents": {contents}}}]}}"#)
    };
    let sha256 = format!(
        r#"{{"source": "", "verification": {{"hash": "sha256-{}"}}}}"#,
        "z".repeat(64)
    );
    check(
        0,
        &file(&sha256),
        &["storage.files.0.contents.verification.hash"],
    );
    check(1, &file(&sha256), &[]);
    check(
        1,
        &file(r#"{"verification": {"hash": "x"}}"#),
        &["storage.files.0.contents.verification.hash"; 2],
    );
    check(
        3,
        &file(r#"{"source": "arn:aws:s3:::a/b"}"#),
        &["storage.files.0.contents.source"],
    );
    check(4, &file(r#"{"source": "arn:aws:s3:::a/b"}"#), &[]);
    check(
        1,
        &file(r#"{"source": "gs://a/b"}"#),
        &["storage.files.0.contents.source"],
    );
    check(
        4,
        &file(r#"{"source": "s3://b/k?versionId="}"#),
        &["storage.files.0.contents.source"],
    );
    check(
        4,
        &file(r#"{"source": "data:,", "compression": "xz"}"#),
        &["storage.files.0.contents.compression"],
    );
    check(
        4,
        &file(r#"{"source": "data:,", "httpHeaders": [{"name": "a"}]}"#),
        &["storage.files.0.contents.httpHeaders"],
    );
    check(
        4,
        &file(r#"{"source": "http://a", "httpHeaders": [{"name": "a"}]}"#),
        &[],
    );
}

#[test]
fn partitions() {
    let disk = |partitions: &str| {
        format!(r#""storage": {{"disks": [{{"device": "/dev/a", "partitions": [{partitions}]}}]}}"#)
    };
    for (partitions, expected) in [
        (
            r#"{"number": 1, "shouldExist": false, "typeGuid": ""}"#,
            &[][..],
        ),
        (
            r#"{"number": 1, "shouldExist": false, "label": ""}"#,
            &["0"],
        ),
        (
            r#"{"number": 1, "shouldExist": false}, {"label": "x"}"#,
            &[""],
        ),
        (
            r#"{"number": 1, "shouldExist": false}, {"label": "x", "sizeMiB": 64}"#,
            &[],
        ),
        (
            r#"{"number": 1, "shouldExist": false}, {"number": 2, "startMiB": 0}"#,
            &[],
        ),
        (
            r#"{"number": 1, "label": ""}, {"number": 2, "label": ""}"#,
            &["1"],
        ),
        (
            r#"{"number": 1, "startMiB": 1, "sizeMiB": 4}, {"number": 2, "startMiB": 5, "sizeMiB": 1}"#,
            &[],
        ),
        (
            r#"{"number": 1, "startMiB": 1, "sizeMiB": 9}, {"number": 2, "startMiB": 3, "sizeMiB": 0}"#,
            &["1"],
        ),
        (
            r#"{"number": 1, "startMiB": 0, "sizeMiB": 4}, {"number": 2, "startMiB": 1, "sizeMiB": 4}"#,
            &[],
        ),
        (r#"{"number": 1, "guid": "x"}"#, &["0.guid"]),
        (r#"{}"#, &["0"]),
    ] {
        let expected: Vec<String> = expected
            .iter()
            .map(|index| {
                format!("storage.disks.0.partitions.{index}")
                    .trim_end_matches('.')
                    .to_owned()
            })
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(3, &disk(partitions), &expected);
    }
}

#[test]
fn the_rest_of_the_disks() {
    let storage = |key: &str, entry: &str| {
        format!(r#""storage": {{"{key}": [{{"device": "/dev/a", {entry}}}]}}"#)
    };
    let filesystem = |entry: &str| storage("filesystems", entry);
    check(3, &filesystem(r#""format": "none""#), &[]);
    check(
        2,
        &filesystem(r#""format": "none""#),
        &["storage.filesystems.0.format"],
    );
    check(
        3,
        &filesystem(r#""path": "/a""#),
        &["storage.filesystems.0.format"],
    );
    check(
        3,
        &filesystem(r#""format": "vfat", "label": "twelve chars""#),
        &["storage.filesystems.0.label"],
    );
    let luks = |entry: &str| storage("luks", &format!(r#""name": "a", {entry}"#));
    check(
        5,
        &luks(r#""clevis": {"custom": {"pin": "x", "config": "y"}}"#),
        &["storage.luks.0.clevis.custom.pin"],
    );
    check(
        6,
        &luks(r#""clevis": {"custom": {"pin": "x", "config": "y"}}"#),
        &[],
    );
    check(
        6,
        &luks(r#""clevis": {"tang": [{"url": "ftp://a"}]}"#),
        &[
            "storage.luks.0.clevis.tang.0.thumbprint",
            "storage.luks.0.clevis.tang.0.url",
        ],
    );
    let raid = |entry: &str| format!(r#""storage": {{"raid": [{{"name": "a", {entry}}}]}}"#);
    check(
        3,
        &raid(r#""level": "RAID1", "devices": ["/dev/a", "/dev/a"]"#),
        &["storage.raid.0.level", "storage.raid.0.devices.1"],
    );
}

#[test]
fn units_and_arguments() {
    let unit = |entry: &str| format!(r#""systemd": {{"units": [{{{entry}}}]}}"#);
    check(3, &unit(r#""name": "a.b""#), &["systemd.units.0.name"]);
    check(
        3,
        &unit(r#""name": "a.service", "dropins": [{"name": "x"}]"#),
        &["systemd.units.0.dropins.0.name"],
    );
    // Ignition takes this name and writes outside the unit directory: refused on purpose.
    check(
        3,
        &unit(r#""name": "../../x.service""#),
        &["systemd.units.0.name"],
    );
    check(
        3,
        r#""kernelArguments": {"shouldExist": ["a"], "shouldNotExist": ["b", "a"]}"#,
        &["kernelArguments.shouldNotExist.1"],
    );
    check(2, r#""kernelArguments": {"shouldExist": ["a", "a"]}"#, &[]);
}

#[test]
fn special_mode_bits_came_with_3_6() {
    for (version, expected) in [("3.5.0", 0o755), ("3.6.0", 0o4755)] {
        let text = format!(
            r#"{{"ignition": {{"version": "{version}"}}, "storage": {{"files": [{{"path": "/a", "mode": {}}}]}}}}"#,
            0o4755
        );
        let parsed = parse(text.as_bytes()).expect("valid");
        assert_eq!(parsed.config.storage.files[0].mode, Some(expected));
        assert_eq!(parsed.warnings.is_empty(), version == "3.6.0");
    }
}

fn configs() -> impl Strategy<Value = Config> {
    let path = "/[a-c]";
    let file = (path, 0..0o777i64)
        .prop_map(|(path, mode)| format!(r#"{{"path": "{path}", "mode": {mode}}}"#));
    let link = path.prop_map(|path| format!(r#"{{"path": "{path}", "target": "/x"}}"#));
    let unit = ("[a-c]", any::<bool>()).prop_map(|(name, enabled)| {
        format!(r#"{{"name": "{name}.service", "enabled": {enabled}}}"#)
    });
    let list = |entry: BoxedStrategy<String>| {
        prop::collection::vec(entry, 0..3).prop_map(|list| list.join(","))
    };
    (list(file.boxed()), list(link.boxed()), list(unit.boxed())).prop_filter_map("valid", |(files, links, units)| {
        let text = format!(
            r#"{{"ignition": {{"version": "3.6.0"}}, "storage": {{"files": [{files}], "links": [{links}]}},
                "systemd": {{"units": [{units}]}}}}"#
        );
        parse(text.as_bytes()).ok().map(|parsed| parsed.config)
    })
}

proptest! {
    #[test]
    fn no_text_panics(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_value_panics(body in r#"("(storage|passwd|files|users|path|name)": ?)?([\[{]|"[/.a-]*"|[0-9]|null|true|[\]},]){0,8}"#) {
        let _ = parse(format!(r#"{{"ignition": {{"version": "3.6.0"}}, {body}}}"#).as_bytes());
    }

    #[test]
    fn merging_nothing_changes_nothing(config in configs()) {
        prop_assert_eq!(&merge(&config, &Config::empty()), &config);
        prop_assert_eq!(&merge(&Config::empty(), &config), &config);
        prop_assert_eq!(&merge(&config, &config), &config);
    }

    #[test]
    fn merging_is_associative_without_moves(one in configs(), two in configs(), three in configs()) {
        let keyed = |config: &Config| Config { storage: Default::default(), ..config.clone() };
        let (one, two, three) = (keyed(&one), keyed(&two), keyed(&three));
        prop_assert_eq!(merge(&merge(&one, &two), &three), merge(&one, &merge(&two, &three)));
    }
}
