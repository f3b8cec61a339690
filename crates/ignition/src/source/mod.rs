//! Texts as written: JSON or YAML → a tree of values that remember their place.

pub(crate) mod decode;
pub(crate) mod json;
pub(crate) mod schema;
pub(crate) mod yaml;

use crate::report::Position;

/// A value and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// A value as written. Numbers keep their text: whether `420.0` is an integer is not for the reader
/// of the syntax to say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    /// A plain YAML scalar: a string, a number or a boolean, whichever its place wants.
    Scalar(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A key and its value, in the order of the text, duplicates included.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(position: Position, value: Value) -> Self {
        Self { position, value }
    }

    pub(crate) fn string(position: Position, text: impl Into<String>) -> Self {
        Self::new(position, Value::String(text.into()))
    }

    /// The kind of value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) | Value::Scalar(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(value) => Some(*value),
            Value::Scalar(text) => yaml::flag(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The value of the last member with exactly this key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.members()
            .iter()
            .rev()
            .find(|member| member.key == key)
            .map(|member| &member.node)
    }

    /// Takes the value of the last member with this key out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Node> {
        let Value::Object(members) = &mut self.value else {
            return None;
        };
        let index = members.iter().rposition(|member| member.key == key)?;
        Some(members.remove(index).node)
    }

    /// Adds a member at the end; a value that is no object stays as it is.
    pub(crate) fn insert(&mut self, key: &str, node: Node) {
        if let Value::Object(members) = &mut self.value {
            members.push(Member {
                key: key.to_owned(),
                position: node.position,
                node,
            });
        }
    }
}
