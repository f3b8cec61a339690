//! Butane and Ignition parts → the ordered operations of one machine.

#![cfg(feature = "front-end")]

use hardway_ignition::butane::NoLocalFiles;
use hardway_ignition::operation::Source;
use hardway_ignition::{Circumstances, NoFetch, Operation, Part, PartKind, compile};
use serde_json::{Value, json};

fn part(name: &str, text: &str) -> Part {
    let kind = PartKind::of_file_name(name).expect("a known ending");
    Part {
        name: name.to_owned(),
        kind,
        text: text.to_owned(),
    }
}

fn operations(parts: &[Part]) -> Vec<Operation> {
    let compiled = compile(parts, &NoLocalFiles, &mut NoFetch).expect("valid");
    hardway_ignition::operations(&compiled.config, &Circumstances::default())
        .expect("can be carried out")
        .operations
}

const BASE: &str = r#"
variant: fcos
version: 1.4.0
kernel_arguments:
  should_exist: [quiet]
passwd:
  groups: [{name: ops, gid: 700}]
  users:
    - name: core
      password_hash: ""
      groups: [ops]
      ssh_authorized_keys: [ssh-ed25519 AAAA me]
storage:
  links:
    - {path: /z, target: /etc/a/b/c, hard: true}
    - {path: /etc/localtime, target: ../usr/share/zoneinfo/UTC}
  directories:
    - {path: /etc/a/b, mode: 0750, user: {name: core}}
  files:
    - path: /etc/a/b/c
      contents: {inline: "hello\n"}
      append: [{source: "http://10.0.0.1/more", http_headers: [{name: X, value: "1"}]}]
    - {path: /etc/hostname, mode: 0644, overwrite: true, contents: {inline: node1}}
systemd:
  units:
    - {name: b.service, mask: true}
    - name: a@.service
      contents: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
      dropins: [{name: x.conf, contents: ""}]
    - {name: a@one.service, enabled: true}
    - {name: a@two.service, enabled: true}
    - {name: sshd.service, enabled: false}
"#;

#[test]
fn operations_come_in_the_order_of_the_files_stage() {
    let found: Vec<String> = operations(&[part("base.bu", BASE)])
        .iter()
        .map(|operation| {
            let json = serde_json::to_value(operation).expect("JSON");
            format!(
                "{} {}",
                json["operation"].as_str().expect("a tag"),
                operation.subject()
            )
        })
        .collect();
    let expected = [
        "kernel-arguments kernel arguments",
        "create-group ops",
        "ensure-user core",
        "authorize-keys core",
        "file /etc/hostname",
        "symlink /etc/localtime",
        "directory /etc/a/b",
        "file /etc/a/b/c",
        "hard-link /z",
        "mask /etc/systemd/system/b.service",
        "unit-file /etc/systemd/system/a@.service.d/x.conf",
        "unit-file /etc/systemd/system/a@.service",
        "preset-line enable a@.service one two",
        "preset-line disable sshd.service",
        "write-result /etc/.ignition-result.json",
        "relabel SELinux labels",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_operation_says_everything() {
    let found = operations(&[part("base.bu", BASE)]);
    let json = |subject: &str| {
        let operation = found
            .iter()
            .find(|operation| operation.subject() == subject);
        serde_json::to_value(operation.expect("there")).expect("JSON")
    };
    assert_eq!(
        json("/etc/a/b/c"),
        json!({
            "operation": "file", "path": "/etc/a/b/c", "overwrite": false,
            "contents": {"source": {"inline": "aGVsbG8K"}, "compression": "none"},
            "append": [{
                "source": {"url": {"url": "http://10.0.0.1/more", "headers": [["X", "1"]]}},
                "compression": "none",
            }],
        })
    );
    assert_eq!(
        json("/etc/a/b"),
        json!({"operation": "directory", "path": "/etc/a/b", "mode": 0o750, "user": {"name": "core"}, "overwrite": false})
    );
    assert_eq!(
        json("core"),
        json!({
            "operation": "ensure-user", "name": "core", "passwordHash": "*", "createHome": true, "groups": ["ops"],
            "noUserGroup": false, "system": false, "noLogInit": false,
        })
    );
    assert_eq!(json("disable sshd.service")["only_if_enabled"], Value::Null);
    assert_eq!(
        json("disable sshd.service")["onlyIfEnabled"],
        json!(["sshd.service"])
    );
    let again: Vec<Operation> =
        serde_json::from_value(serde_json::to_value(&found).expect("JSON")).expect("operations");
    assert_eq!(again, found);
}

#[test]
fn parts_merge_in_order_and_have_one_digest() {
    let motd = |text: &str| {
        let body = json!({"ignition": {"version": "3.6.0"},
            "storage": {"files": [{"path": "/etc/motd", "contents": {"source": format!("data:,{text}")}}]}});
        part("motd.ign", &body.to_string())
    };
    let found = operations(&[motd("one"), motd("two")]);
    let [
        Operation::File(file),
        Operation::WriteResult { .. },
        Operation::Relabel { .. },
    ] = found.as_slice()
    else {
        panic!("{found:?}")
    };
    let source = file.contents.as_ref().map(|contents| &contents.source);
    assert_eq!(source, Some(&Source::Inline(b"two".to_vec())));
    let digest = |parts: &[Part]| {
        compile(parts, &NoLocalFiles, &mut NoFetch)
            .expect("valid")
            .digest()
    };
    assert_eq!(digest(&[motd("one"), motd("two")]), digest(&[motd("two")]));
    assert_ne!(digest(&[motd("one")]), digest(&[motd("two")]));
}

#[test]
fn the_version_is_no_newer_than_a_part_needs() {
    let config = |version: &str| {
        part(
            "a.ign",
            &json!({"ignition": {"version": version}}).to_string(),
        )
    };
    for (parts, expected) in [
        (vec![], "3.0.0"),
        (vec![config("3.2.0"), config("3.1.0")], "3.2.0"),
        (vec![config("3.6.0"), part("base.bu", BASE)], "3.6.0"),
        (vec![part("base.bu", BASE)], "3.3.0"),
    ] {
        let json = compile(&parts, &NoLocalFiles, &mut NoFetch)
            .expect("valid")
            .json;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["ignition"]["version"], expected);
    }
}

#[test]
fn every_problem_of_every_part_is_told_with_its_place() {
    let base =
        "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: relative\n      mode: rw\n";
    let role = r#"{"ignition": {"version": "3.6.0"}, "passwd": {"users": [{"uid": "0"}]}}"#;
    let report = compile(
        &[part("base.bu", base), part("role.ign", role)],
        &NoLocalFiles,
        &mut NoFetch,
    )
    .expect_err("refused");
    let expected = "\
base.bu:5:13: error: path `relative` is not absolute at $.storage.files.0.path
base.bu:6:13: error: expected an integer, found rw at $.storage.files.0.mode
role.ign:1:65: error: expected an integer, found a string at $.passwd.users.0.uid";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn what_the_agent_does_not_do_is_refused_beforehand() {
    let text = json!({
        "ignition": {"version": "3.6.0", "config": {"merge": [{"source": "http://a"}]}},
        "storage": {
            "files": [
                {"path": "/a", "contents": {"source": "s3://a/b"}},
                {"path": "/b", "user": {"id": -1}},
                {"path": "/c", "contents": {"source": "data:,", "verification": {"hash": format!("sha256-{}", "z".repeat(64))}}},
            ],
        },
        "passwd": {"users": [{"name": "a:b"}]},
    });
    let parsed = hardway_ignition::parse(text.to_string().as_bytes()).expect("valid");
    let planned = hardway_ignition::operations(&parsed.config, &Circumstances::default());
    let problems = planned.expect_err("refused");
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "$.ignition.config.merge",
            "$.passwd.users.0.name",
            "$.storage.files.0.contents.source",
            "$.storage.files.1.user.id",
            "$.storage.files.2.contents.verification.hash",
        ]
    );
}
