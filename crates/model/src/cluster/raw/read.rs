//! How a tree is read into the mirror: every unknown key and every wrong type becomes a problem, and
//! the reading goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::cluster::diagnostics::{Problems, suggestion};
use crate::cluster::tree::{Key, Node, Place, Value};

/// A type that can be read from a node. `None` after a problem was added.
pub(crate) trait Read: Sized {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self>;
}

/// A value with its place and path.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub value: T,
    pub place: Place,
    pub path: String,
}

impl<T> Located<T> {
    pub fn complain(
        &self,
        problems: &mut Problems<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        problems.add(self.place, &self.path, message, help);
    }
}

impl<T: Read> Located<T> {
    pub fn read(node: &Node, path: String, problems: &mut Problems<'_>) -> Option<Self> {
        let value = T::read(node, &path, problems)?;
        Some(Self {
            value,
            place: node.place,
            path,
        })
    }
}

/// What stands under a key of a mapping.
#[derive(Debug, Clone)]
pub(crate) enum Field<T> {
    /// No such key, or nothing behind it.
    Absent,
    /// Something that became a problem already.
    Wrong,
    /// A value.
    Given(Located<T>),
}

impl<T> Field<T> {
    pub fn given(&self) -> Option<&Located<T>> {
        match self {
            Self::Given(located) => Some(located),
            Self::Absent | Self::Wrong => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub fn value(&self) -> Option<&T> {
        self.given().map(|located| &located.value)
    }

    /// The value, or a problem at the mapping that lacks it. `example` follows the key in the help.
    pub fn required<P>(
        &self,
        key: &str,
        example: &str,
        parent: &Located<P>,
        problems: &mut Problems<'_>,
    ) -> Option<&Located<T>> {
        if let Self::Absent = self {
            let path = join(&parent.path, key);
            problems.add(
                parent.place,
                &path,
                format!("`{path}` is missing"),
                format!("add `{key}: {example}`"),
            );
        }
        self.given()
    }
}

/// Reads a mapping field by field.
pub(crate) struct MappingReader<'n> {
    entries: &'n [(Key, Node)],
    path: String,
}

impl<'n> MappingReader<'n> {
    /// Tells of keys that are not `known` and of keys that stand twice.
    pub fn new(
        node: &'n Node,
        path: &str,
        known: &[&'static str],
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let entries = mapping(node, path, problems)?;
        for (key, _) in entries {
            if !known.contains(&key.name.as_str()) {
                let path = join(path, &key.name);
                let help = match reserved(&path) {
                    Some(help) => help.to_owned(),
                    None => suggestion(&key.name, known.iter().copied()),
                };
                problems.add(
                    key.place,
                    &path,
                    format!("unknown key `{}`", key.name),
                    help,
                );
            }
        }
        Some(Self {
            entries,
            path: path.to_owned(),
        })
    }

    pub fn field<T: Read>(&self, name: &str, problems: &mut Problems<'_>) -> Field<T> {
        // A key that stands twice was told; the last one is read.
        let Some((key, node)) = self.entries.iter().rfind(|(key, _)| key.name == name) else {
            return Field::Absent;
        };
        if let Value::Null = node.value {
            return Field::Absent;
        }
        match Located::read(node, join(&self.path, name), problems) {
            Some(mut located) => {
                // A block mapping begins on the line below its key; the key is what it is known by.
                if let Value::Map(_) | Value::List(_) = node.value {
                    located.place = key.place;
                }
                Field::Given(located)
            }
            None => Field::Wrong,
        }
    }
}

/// Keys that later versions will know.
fn reserved(path: &str) -> Option<&'static str> {
    if path == "groups" {
        return Some(
            "groups are not supported by this version: declare every machine in `machines`",
        );
    }
    let in_image = path.strip_prefix("images.")?;
    (in_image.ends_with(".signature") || in_image.ends_with(".key"))
        .then_some("`hardway image import --signature … --key …` checks it and tells the `sha256` for this place")
}

/// The entries of a mapping; those that stand twice become a problem.
fn mapping<'n>(
    node: &'n Node,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n [(Key, Node)]> {
    let Value::Map(entries) = &node.value else {
        wrong_type(
            node,
            path,
            "a mapping",
            "write `key: value` lines",
            problems,
        );
        return None;
    };
    for (index, (key, _)) in entries.iter().enumerate() {
        if let Some((first, _)) = entries[..index]
            .iter()
            .find(|(other, _)| other.name == key.name)
        {
            let path = join(path, &key.name);
            let help = format!("first on line {}; remove one", first.place.line);
            problems.add(
                key.place,
                &path,
                format!("`{}` stands twice", key.name),
                help,
            );
        }
    }
    Some(entries)
}

/// `a.b`, `b` at the top.
pub(crate) fn join(path: &str, key: &str) -> String {
    match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    }
}

pub(crate) fn wrong_type(
    node: &Node,
    path: &str,
    expected: &str,
    help: &str,
    problems: &mut Problems<'_>,
) {
    let message = format!("expected {expected}, found {}", node.value.kind());
    problems.add(node.place, path, message, help);
}

/// Named things in the file's order; `None` where the thing itself was wrong.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub Vec<(Located<String>, Option<Located<T>>)>);

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <BTreeMap<String, T>>::json_schema(generator)
    }
}

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let entries = mapping(node, path, problems)?;
        let mut named = Vec::new();
        for (key, node) in entries {
            let path = join(path, &key.name);
            let name = Located {
                value: key.name.clone(),
                place: key.place,
                path: path.clone(),
            };
            let thing = Located::read(node, path, problems).map(|located| Located {
                place: key.place,
                ..located
            });
            named.push((name, thing));
        }
        Some(Self(named))
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Read> Read for Vec<Located<T>> {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            wrong_type(
                node,
                path,
                "a list",
                "write `- item` lines or `[item, item]`",
                problems,
            );
            return None;
        };
        let read = |(index, item)| Located::read(item, format!("{path}[{index}]"), problems);
        Some(items.iter().enumerate().filter_map(read).collect())
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany<T>(pub Vec<Located<T>>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::read(node, path, problems).map(Self),
            _ => Located::read(node, path.to_owned(), problems).map(|one| Self(vec![one])),
        }
    }
}

/// Declares a mapping of the file once: its mirror, its reader and its schema.
macro_rules! raw_mapping {
    (
        $(#[$meta:meta])*
        pub(crate) struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $( pub $field: $crate::cluster::raw::read::Field<$type>, )*
        }

        impl $crate::cluster::raw::read::Read for $name {
            fn read(
                node: &$crate::cluster::tree::Node,
                path: &str,
                problems: &mut $crate::cluster::diagnostics::Problems<'_>,
            ) -> Option<Self> {
                let known = [$( stringify!($field).trim_start_matches("r#") ),*];
                let reader = $crate::cluster::raw::read::MappingReader::new(
                    node, path, &known, problems,
                )?;
                $( let $field = reader.field(
                    stringify!($field).trim_start_matches("r#"), problems,
                ); )*
                Some(Self { $( $field ),* })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).trim_start_matches("Raw").into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $(#[$meta])*
                #[derive(schemars::JsonSchema)]
                #[schemars(deny_unknown_fields)]
                #[allow(dead_code)]
                struct Schema {
                    $( $(#[$field_meta])* $field: Option<$type>, )*
                }
                Schema::json_schema(generator)
            }
        }
    };
}
pub(crate) use raw_mapping;
