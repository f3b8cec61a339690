//! Merging two configs, by the keys that the schema names.
//!
//! The child wins value by value. Entries of keyed lists with the same key are merged in place, new
//! ones follow; plain lists are appended. Lists of one family (files, directories and links) share
//! their keys: a child's file takes a parent's link away. A child's HTTP header without a value takes
//! the parent's away.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::config::Config;
use crate::source::schema::{CONFIG, Field, Keying, Shape};

/// Merges `child` into `parent`. The result may be invalid although both are valid: it has to be
/// validated again.
pub fn merge(parent: &Config, child: &Config) -> Config {
    let to_json = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let merged = merge_json(to_json(parent), to_json(child));
    // What was made of two configs by the schema has the shape of a config.
    serde_json::from_value(merged).unwrap_or_else(|_| child.clone())
}

/// The same on plain JSON that has the shape of a config.
pub(crate) fn merge_json(parent: Value, child: Value) -> Value {
    merge_value(parent, child, &CONFIG)
}

/// What tells an entry of a list from the others; `None` in lists that are only appended.
pub(crate) fn key_of(entry: &Value, keying: Keying) -> Option<String> {
    let text = |key: &str| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match keying {
        Keying::Append => None,
        Keying::By(key) => Some(text(key)),
        Keying::Itself => Some(entry.as_str().unwrap_or_default().to_owned()),
        Keying::Partition => Some(match entry.get("number").and_then(Value::as_i64) {
            Some(number) if number != 0 => format!("number:{number}"),
            _ => format!("label:{}", text("label")),
        }),
    }
}

fn merge_value(parent: Value, child: Value, shape: &Shape) -> Value {
    match (shape, parent, child) {
        (Shape::Object(fields), Value::Object(parent), Value::Object(child)) => {
            merge_object(parent, child, fields).into()
        }
        (_, _, child) => child,
    }
}

fn merge_object(
    mut parent: Map<String, Value>,
    mut child: Map<String, Value>,
    fields: &[Field],
) -> Map<String, Value> {
    let elsewhere = keys_elsewhere(&child, fields);
    let mut result = Map::new();
    for field in fields {
        let value = match (
            parent.remove(field.name),
            child.remove(field.name),
            &field.shape,
        ) {
            (parent, child, Shape::List(item, keying)) => {
                let (parent, child) = (entries(parent), entries(child));
                let moved = elsewhere
                    .iter()
                    .filter(|(family, list, _)| {
                        field.family == Some(*family) && *list != field.name
                    })
                    .map(|(_, _, key)| key.clone())
                    .collect();
                let list = merge_list(parent, child, item, *keying, &moved);
                (!list.is_empty()).then(|| list.into())
            }
            (Some(parent), Some(child), shape) => Some(merge_value(parent, child, shape)),
            (Some(parent), None, Shape::Object(_)) => Some(parent),
            (Some(parent), None, _) => field.optional.then_some(parent),
            (None, child, _) => child,
        };
        if let Some(value) = value {
            result.insert(field.name.to_owned(), value);
        }
    }
    result
}

/// The keys of all of the child's lists that share a key space: (family, list, key).
fn keys_elsewhere(
    child: &Map<String, Value>,
    fields: &[Field],
) -> Vec<(&'static str, &'static str, String)> {
    let mut keys = Vec::new();
    for field in fields {
        let (Some(family), Shape::List(_, keying)) = (field.family, field.shape) else {
            continue;
        };
        let list = child.get(field.name).and_then(Value::as_array);
        for key in list
            .into_iter()
            .flatten()
            .filter_map(|entry| key_of(entry, keying))
        {
            keys.push((family, field.name, key));
        }
    }
    keys
}

fn entries(list: Option<Value>) -> Vec<Value> {
    match list {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    }
}

fn merge_list(
    parent: Vec<Value>,
    mut child: Vec<Value>,
    item: &Shape,
    keying: Keying,
    moved: &HashSet<String>,
) -> Vec<Value> {
    if keying == Keying::Append {
        let mut list = parent;
        list.append(&mut child);
        return list;
    }
    let key = |entry: &Value| key_of(entry, keying).unwrap_or_default();
    let parent_keys: HashSet<String> = parent.iter().map(key).collect();
    let mut list = Vec::new();
    for entry in parent {
        let same = |other: &&Value| key(other) == key(&entry);
        match child.iter().rev().find(same) {
            Some(other) if is_deleted_header(other, item) => {}
            Some(other) => list.push(merge_value(entry, other.clone(), item)),
            None if moved.contains(&key(&entry)) => {}
            None => list.push(entry),
        }
    }
    list.extend(
        child
            .into_iter()
            .filter(|entry| !parent_keys.contains(&key(entry))),
    );
    list
}

/// A header (the only entry of just a name and a value) whose value is absent.
fn is_deleted_header(entry: &Value, item: &Shape) -> bool {
    let is_header = matches!(
        item,
        Shape::Object([Field { name: "name", .. }, Field { name: "value", .. }])
    );
    is_header && entry.get("value").is_none()
}
