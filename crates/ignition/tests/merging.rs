//! What a child config does to its parent.

#![cfg(feature = "front-end")]

use hardway_ignition::{merge, parse, validate};
use serde_json::{Value, json};

/// Merges two bodies (without `ignition`) and compares the result's body.
fn check(mut parent: Value, mut child: Value, expected: Value) {
    for config in [&mut parent, &mut child] {
        config["ignition"] = json!({"version": "3.6.0"});
    }
    let config = |value: &Value| parse(value.to_string().as_bytes()).expect("valid").config;
    let mut merged = serde_json::to_value(merge(&config(&parent), &config(&child))).expect("JSON");
    merged
        .as_object_mut()
        .expect("an object")
        .remove("ignition");
    assert_eq!(merged, expected);
}

#[test]
fn entries_merge_by_key_in_the_parents_order() {
    check(
        json!({"systemd": {"units": [{"name": "a.service", "mask": true}, {"name": "b.service"}]}}),
        json!({"systemd": {"units": [{"name": "c.service"}, {"name": "a.service", "enabled": true}]}}),
        json!({"systemd": {"units": [
            {"name": "a.service", "mask": true, "enabled": true}, {"name": "b.service"}, {"name": "c.service"},
        ]}}),
    );
}

#[test]
fn plain_lists_are_appended() {
    let file =
        |data: &str| json!({"storage": {"files": [{"path": "/a", "append": [{"source": data}]}]}});
    check(
        file("data:,1"),
        file("data:,1"),
        json!({"storage": {"files": [{"path": "/a", "append": [{"source": "data:,1"}, {"source": "data:,1"}]}]}}),
    );
}

#[test]
fn files_and_links_share_their_keys() {
    check(
        json!({"storage": {"files": [{"path": "/a", "mode": 1}, {"path": "/b"}]}}),
        json!({"storage": {"links": [{"path": "/a", "target": "/c"}]}}),
        json!({"storage": {"files": [{"path": "/b"}], "links": [{"path": "/a", "target": "/c"}]}}),
    );
    check(
        json!({"kernelArguments": {"shouldExist": ["a", "b"]}}),
        json!({"kernelArguments": {"shouldNotExist": ["a"]}}),
        json!({"kernelArguments": {"shouldExist": ["b"], "shouldNotExist": ["a"]}}),
    );
}

#[test]
fn a_header_without_value_deletes() {
    let file = |headers: Value| json!({"storage": {"files": [{"path": "/a", "contents": {"source": "http://a", "httpHeaders": headers}}]}});
    check(
        file(json!([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}])),
        file(json!([{"name": "a"}, {"name": "c", "value": "3"}])),
        file(json!([{"name": "b", "value": "2"}, {"name": "c", "value": "3"}])),
    );
}

#[test]
fn partitions_go_by_number_then_label() {
    let disk = |partitions: Value| json!({"storage": {"disks": [{"device": "/dev/a", "partitions": partitions}]}});
    check(
        disk(json!([{"number": 1, "label": "x", "sizeMiB": 5}, {"label": "y"}])),
        disk(json!([{"label": "y", "sizeMiB": 7}, {"number": 1, "label": "z"}])),
        disk(json!([{"number": 1, "label": "z", "sizeMiB": 5}, {"label": "y", "sizeMiB": 7}])),
    );
}

#[test]
fn two_valid_configs_can_make_an_invalid_one() {
    let config = |body: Value| {
        let mut body = body;
        body["ignition"] = json!({"version": "3.6.0"});
        parse(body.to_string().as_bytes()).expect("valid").config
    };
    let parent = config(json!({"storage": {"files": [{"path": "/a/b"}]}}));
    let child = config(json!({"storage": {"links": [{"path": "/a", "target": "/c"}]}}));
    let problems = validate(&merge(&parent, &child));
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(paths, ["$.storage.files.0"]);
}
