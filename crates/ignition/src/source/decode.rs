//! Tree as written + schema → plain JSON with the spec's own key names, and the place of each value.
//!
//! What Go's `encoding/json` does is done here: keys match in any case, later duplicates win (objects
//! fold into one another), `null` clears, unknown keys are left out and told of.

use std::collections::BTreeMap;

use serde_json::{Map, Number};

use super::schema::{Field, Shape, unknown_key};
use super::{Node, Value};
use crate::report::{Position, Problem};

/// A decoded text.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The config, valid in shape when `problems` holds no error.
    pub(crate) json: serde_json::Value,
    /// Unknown keys (warnings) and wrong types (errors).
    pub(crate) problems: Vec<Problem>,
    /// Where each value stands, by its path.
    pub(crate) places: Places,
}

/// Where each value stands, by its path.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Position>);

impl Places {
    /// The place of the value at `path`, or of the nearest value around it.
    pub(crate) fn find(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.0.get(path) {
                return Some(*position);
            }
            path = &path[..path.rfind('.')?];
        }
    }

    /// Gives every problem that has no place yet the place of its path.
    pub(crate) fn locate(&self, problems: &mut [Problem]) {
        for problem in problems {
            if problem.position.is_none() {
                problem.position = self.find(&problem.path);
            }
        }
    }
}

/// Decodes `node` by `shape`, knowing the keys of spec 3.`minor`.
pub(crate) fn decode(node: &Node, shape: &Shape, minor: u8) -> Decoded {
    let mut decoder = Decoder {
        minor,
        problems: Vec::new(),
        places: Places::default(),
    };
    let json = decoder
        .value(None, node, shape, "$")
        .unwrap_or_else(|| Map::new().into());
    Decoded {
        json,
        problems: decoder.problems,
        places: decoder.places,
    }
}

/// The field that a key means: exactly, else in any case.
pub(crate) fn find_field<'a>(fields: &'a [Field], key: &str) -> Option<&'a Field> {
    let exact = fields.iter().find(|field| field.name == key);
    exact.or_else(|| {
        let folded = fold(key);
        fields.iter().find(|field| fold(field.name) == folded)
    })
}

/// Simple case folding, with the two letters that fold into ASCII (U+017F and U+212A).
fn fold(text: &str) -> String {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

struct Decoder {
    minor: u8,
    problems: Vec<Problem>,
    places: Places,
}

impl Decoder {
    /// `earlier` is what a duplicate of this key has left.
    fn value(
        &mut self,
        earlier: Option<serde_json::Value>,
        node: &Node,
        shape: &Shape,
        path: &str,
    ) -> Option<serde_json::Value> {
        self.places.0.insert(path.to_owned(), node.position);
        match (shape, &node.value) {
            (Shape::Object(_), Value::Null) => earlier,
            (_, Value::Null) => None,
            (Shape::Object(fields), Value::Object(_)) => {
                Some(self.object(earlier, node, fields, path))
            }
            (Shape::List(item, _), Value::Array(items)) => {
                Some(self.list(earlier, items, item, path))
            }
            (Shape::Text, Value::String(text) | Value::Scalar(text)) => Some(text.as_str().into()),
            (Shape::Integer, Value::Number(text)) => {
                self.integer(text.parse().ok(), text, node, path)
            }
            (Shape::Integer, Value::Scalar(text)) => {
                self.integer(super::yaml::integer(text), text, node, path)
            }
            (Shape::Flag, Value::Bool(flag)) => Some((*flag).into()),
            (Shape::Flag, Value::Scalar(text)) if super::yaml::flag(text).is_some() => {
                super::yaml::flag(text).map(Into::into)
            }
            _ => {
                let expected = match shape {
                    Shape::Text => "a string",
                    Shape::Integer => "an integer",
                    Shape::Flag => "true or false",
                    Shape::Object(_) => "an object",
                    Shape::List(..) => "a list",
                };
                self.wrong(
                    node,
                    path,
                    format!("expected {expected}, found {}", node.kind()),
                );
                None
            }
        }
    }

    fn object(
        &mut self,
        earlier: Option<serde_json::Value>,
        node: &Node,
        fields: &[Field],
        path: &str,
    ) -> serde_json::Value {
        let mut object = match earlier {
            Some(serde_json::Value::Object(object)) => object,
            _ => Map::new(),
        };
        for member in node.members() {
            let known = find_field(fields, &member.key).filter(|field| field.since <= self.minor);
            let Some(field) = known else {
                let unknown = self.unknown(&member.key, fields);
                let key = format!("{path}.{}", member.key);
                self.problems
                    .push(Problem::warning(key, unknown).at(member.position));
                continue;
            };
            let inner = format!("{path}.{}", field.name);
            let value = self.value(
                object.remove(field.name),
                &member.node,
                &field.shape,
                &inner,
            );
            if let Some(value) = value {
                object.insert(field.name.to_owned(), value);
            }
        }
        object.into()
    }

    fn unknown(&self, key: &str, fields: &[Field]) -> String {
        match find_field(fields, key) {
            Some(field) => {
                format!(
                    "key `{key}` is ignored: it exists only since spec 3.{}.0",
                    field.since
                )
            }
            None => unknown_key(key, fields.iter().map(|field| field.name)),
        }
    }

    /// Go decodes a repeated list into the entries of the one before.
    fn list(
        &mut self,
        earlier: Option<serde_json::Value>,
        items: &[Node],
        shape: &Shape,
        path: &str,
    ) -> serde_json::Value {
        let mut list = Vec::with_capacity(items.len());
        let mut earlier = match earlier {
            Some(serde_json::Value::Array(entries)) => entries.into_iter(),
            _ => Vec::new().into_iter(),
        };
        for (index, item) in items.iter().enumerate() {
            let value = self.value(earlier.next(), item, shape, &format!("{path}.{index}"));
            list.push(value.unwrap_or_else(|| zero(shape)));
        }
        list.into()
    }

    fn integer(
        &mut self,
        value: Option<i64>,
        text: &str,
        node: &Node,
        path: &str,
    ) -> Option<serde_json::Value> {
        if value.is_none() {
            self.wrong(node, path, format!("expected an integer, found {text}"));
        }
        value.map(|value| Number::from(value).into())
    }

    fn wrong(&mut self, node: &Node, path: &str, message: String) {
        self.problems
            .push(Problem::error(path, message).at(node.position));
    }
}

/// What `null` in a list stands for.
fn zero(shape: &Shape) -> serde_json::Value {
    match shape {
        Shape::Text => "".into(),
        Shape::Integer => 0.into(),
        Shape::Flag => false.into(),
        Shape::Object(_) => Map::new().into(),
        Shape::List(..) => Vec::<serde_json::Value>::new().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json, schema::CONFIG};
    use super::*;

    fn check(text: &str, minor: u8, expected: &str, problems: &[&str]) {
        let decoded = decode(&json::read(text.as_bytes()).expect("JSON"), &CONFIG, minor);
        assert_eq!(decoded.json.to_string(), expected, "{text}");
        let found: Vec<_> = decoded.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, problems, "{text}");
    }

    #[test]
    fn keys_match_in_any_case_and_duplicates_fold() {
        check(
            r#"{"IGNITION": {"version": "3.0.0"}, "ignition": {"Version": "3.1.0", "timeouts": {}}}"#,
            6,
            r#"{"ignition":{"timeouts":{},"version":"3.1.0"}}"#,
            &[],
        );
        check(
            r#"{"storage": {"file\u017f": [{"path": "/a", "mode": 1, "mode": null}]}}"#,
            6,
            r#"{"storage":{"files":[{"path":"/a"}]}}"#,
            &[],
        );
    }

    #[test]
    fn unknown_and_newer_keys_are_told_of() {
        check(
            r#"{"kernelArguments": {}, "bogus": 1}"#,
            2,
            "{}",
            &[
                "1:2: warning: key `kernelArguments` is ignored: it exists only since spec 3.3.0 at $.kernelArguments",
                "1:25: warning: unknown key `bogus` is ignored at $.bogus",
            ],
        );
    }

    #[test]
    fn wrong_types_are_told_of_all_at_once() {
        check(
            r#"{"storage": {"files": [{"mode": 420.0, "path": 1, "overwrite": "no"}], "links": {}}}"#,
            6,
            r#"{"storage":{"files":[{}]}}"#,
            &[
                "1:33: error: expected an integer, found 420.0 at $.storage.files.0.mode",
                "1:48: error: expected a string, found a number at $.storage.files.0.path",
                "1:64: error: expected true or false, found a string at $.storage.files.0.overwrite",
                "1:81: error: expected a list, found an object at $.storage.links",
            ],
        );
    }
}
