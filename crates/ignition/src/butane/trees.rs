//! `storage.trees`: folders of local files → files and links of the config.

use super::resources::{descend, encode, read};
use super::{Translation, TreeEntry, TreeNode, local};
use crate::report::Position;
use crate::source::{Node, Value};

/// Trees came with the variants that lead to spec 3.1.
const SINCE: u8 = 1;

pub(super) fn embed(tree: &mut Node, translation: &mut Translation<'_>) {
    let Some(storage) = descend(tree, &["storage"]) else {
        return;
    };
    let Some(trees) = storage.take("trees") else {
        return;
    };
    if !translation.knows("trees", SINCE, "$.storage.trees", trees.position) {
        return;
    }
    for (index, folder) in trees.items().iter().enumerate() {
        embed_folder(
            folder,
            storage,
            &format!("$.storage.trees.{index}"),
            translation,
        );
    }
}

fn embed_folder(folder: &Node, storage: &mut Node, path: &str, translation: &mut Translation<'_>) {
    for member in folder.members() {
        if !matches!(member.key.as_str(), "local" | "path") {
            let message = format!(
                "`{}` of a tree is not supported: `local` and `path` are",
                member.key
            );
            translation.error(format!("{path}.{}", member.key), member.position, message);
        }
    }
    let name = folder
        .get("local")
        .and_then(Node::as_str)
        .unwrap_or_default();
    let Some(inside) = local::inside(name).filter(|_| !name.is_empty()) else {
        let message = format!("`local: {name}` is no folder of local files");
        return translation.error(format!("{path}.local"), folder.position, message);
    };
    let root = folder.get("path").and_then(Node::as_str).unwrap_or("/");
    let entries = match translation.files.list(&inside) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("listing `{name}`: {error}");
            return translation.error(format!("{path}.local"), folder.position, message);
        }
    };
    for TreeEntry { path: below, node } in entries {
        let target = crate::paths::clean(&format!("{root}/{below}"));
        let at = Entry {
            source: format!("{inside}/{below}"),
            target,
            path,
            position: folder.position,
        };
        match node {
            TreeNode::File { executable } => embed_file(&at, executable, storage, translation),
            TreeNode::Symlink { target } => embed_link(&at, target, storage, translation),
        }
    }
}

/// A file or link on its way from a tree into the config.
struct Entry<'a> {
    /// Under the folder of local files.
    source: String,
    /// On the installed system.
    target: String,
    /// The tree's path in the text.
    path: &'a str,
    position: Position,
}

fn embed_file(
    at: &Entry<'_>,
    executable: bool,
    storage: &mut Node,
    translation: &mut Translation<'_>,
) {
    if taken(storage, &["directories", "links"], at, translation) {
        return;
    }
    let Some(bytes) = read(&at.source, at.path, at.position, translation) else {
        return;
    };
    let Some(file) = entry(storage, "files", &at.target, at.position) else {
        return;
    };
    if file.get("contents").is_some() || file.get("append").is_some() {
        let message = format!("{} has contents in `storage.files` already", at.target);
        return translation.error(at.path, at.position, message);
    }
    let (source, compression) = encode(&bytes);
    let mut contents = Node::new(at.position, Value::Object(Vec::new()));
    contents.insert("source", Node::string(at.position, source));
    contents.insert("compression", Node::string(at.position, compression));
    file.insert("contents", contents);
    if file.get("mode").is_none() {
        let mode = if executable { "0755" } else { "0644" };
        file.insert(
            "mode",
            Node::new(at.position, Value::Scalar(mode.to_owned())),
        );
    }
}

fn embed_link(
    at: &Entry<'_>,
    target: String,
    storage: &mut Node,
    translation: &mut Translation<'_>,
) {
    if taken(storage, &["directories", "files"], at, translation) {
        return;
    }
    let Some(link) = entry(storage, "links", &at.target, at.position) else {
        return;
    };
    if link.get("target").is_some() || link.get("hard").and_then(Node::as_bool) == Some(true) {
        let message = format!("{} is in `storage.links` already", at.target);
        return translation.error(at.path, at.position, message);
    }
    link.insert("target", Node::string(at.position, target));
}

/// Whether another list of the config has this path; tells of it.
fn taken(
    storage: &Node,
    lists: &[&str],
    at: &Entry<'_>,
    translation: &mut Translation<'_>,
) -> bool {
    let holds = |list: &&&str| {
        let nodes = storage.get(list).map(Node::items).unwrap_or_default();
        nodes
            .iter()
            .any(|node| node.get("path").and_then(Node::as_str) == Some(&at.target))
    };
    let Some(list) = lists.iter().find(holds) else {
        return false;
    };
    let message = format!("{} is in `storage.{list}` already", at.target);
    translation.error(at.path, at.position, message);
    true
}

/// The entry for a path in a list of nodes: the one that is there, or a new one at the end.
fn entry<'a>(
    storage: &'a mut Node,
    list: &str,
    target: &str,
    position: Position,
) -> Option<&'a mut Node> {
    if storage
        .get(list)
        .is_none_or(|node| !matches!(node.value, Value::Array(_)))
    {
        storage.take(list);
        storage.insert(list, Node::new(position, Value::Array(Vec::new())));
    }
    let is_wanted = |node: &Node| node.get("path").and_then(Node::as_str) == Some(target);
    let Value::Array(items) = &mut descend(storage, &[list])?.value else {
        return None;
    };
    let index = items.iter().position(is_wanted).unwrap_or_else(|| {
        let mut node = Node::new(position, Value::Object(Vec::new()));
        node.insert("path", Node::string(position, target));
        items.push(node);
        items.len() - 1
    });
    items.get_mut(index)
}
