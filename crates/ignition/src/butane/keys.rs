//! Butane's key names (`size_mib`) → Ignition's (`sizeMiB`), by the schema.

use crate::report::Problem;
use crate::source::schema::{CONFIG, Shape, unknown_key};
use crate::source::{Member, Node, Value};

/// Renames every key. Unknown ones are told of and left out.
pub(super) fn rename(tree: Node, minor: u8, problems: &mut Vec<Problem>) -> Node {
    rename_node(tree, &CONFIG, "$", minor, problems)
}

/// A path with Ignition's names → the same with Butane's.
pub(super) fn snake_path(path: &str) -> String {
    path.split('.').map(snake).collect::<Vec<_>>().join(".")
}

fn rename_node(
    node: Node,
    shape: &Shape,
    path: &str,
    minor: u8,
    problems: &mut Vec<Problem>,
) -> Node {
    let value = match (node.value, shape) {
        (Value::Object(members), Shape::Object(fields)) => {
            let mut renamed = Vec::new();
            for Member {
                key,
                position,
                node,
            } in members
            {
                let path = format!("{path}.{key}");
                let field = fields
                    .iter()
                    .find(|field| snake(field.name) == key && field.since <= minor);
                let Some(field) = field else {
                    let known: Vec<String> = fields.iter().map(|field| snake(field.name)).collect();
                    let message = unknown_key(&key, known.iter().map(String::as_str));
                    problems.push(Problem::warning(path, message).at(position));
                    continue;
                };
                let node = rename_node(node, &field.shape, &path, minor, problems);
                renamed.push(Member {
                    key: field.name.to_owned(),
                    position,
                    node,
                });
            }
            Value::Object(renamed)
        }
        (Value::Array(items), Shape::List(item, _)) => {
            let rename_item = |(index, node)| {
                rename_node(node, item, &format!("{path}.{index}"), minor, problems)
            };
            Value::Array(items.into_iter().enumerate().map(rename_item).collect())
        }
        (value, _) => value,
    };
    Node::new(node.position, value)
}

/// `sizeMiB` → `size_mib`, `httpHeaders` → `http_headers`.
fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for character in name.replace("MiB", "Mib").chars() {
        if character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}
