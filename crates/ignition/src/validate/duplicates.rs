//! No key twice in a keyed list, nor in two lists that share a key space.

use std::collections::HashSet;

use serde_json::Value;

use super::Problems;
use crate::config::Config;
use crate::merge::key_of;
use crate::source::schema::{CONFIG, Field, Shape};

pub(super) fn check(config: &Config, problems: &mut Problems) {
    let json = serde_json::to_value(config).unwrap_or_default();
    check_value(&json, &CONFIG, "$", problems);
}

fn check_value(value: &Value, shape: &Shape, path: &str, problems: &mut Problems) {
    match shape {
        Shape::Object(fields) => check_object(value, fields, path, problems),
        Shape::List(item, _) => {
            for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
                check_value(entry, item, &format!("{path}.{index}"), problems);
            }
        }
        Shape::Text | Shape::Integer | Shape::Flag => {}
    }
}

fn check_object(value: &Value, fields: &[Field], path: &str, problems: &mut Problems) {
    let mut seen = HashSet::new();
    for field in fields {
        let Some(inner) = value.get(field.name) else {
            continue;
        };
        let inner_path = format!("{path}.{}", field.name);
        if let Shape::List(_, keying) = field.shape {
            let space = field.family.unwrap_or(field.name);
            for (index, entry) in inner.as_array().into_iter().flatten().enumerate() {
                let Some(key) = key_of(entry, keying) else {
                    continue;
                };
                if !seen.insert((space, key.clone())) {
                    problems.error(
                        format!("{inner_path}.{index}"),
                        format!("`{key}` is given twice"),
                    );
                }
            }
        }
        check_value(inner, &field.shape, &inner_path, problems);
    }
}
