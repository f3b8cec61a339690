//! `inline` and `local` content → `source` with a `data:` URL; units and keys from local files.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Translation, local};
use crate::data_url;
use crate::report::Position;
use crate::source::{Node, Value};

/// Local units and keys came with the variants that lead to spec 3.4.
const LOCAL_TEXT_SINCE: u8 = 4;
/// Local content came with the variants that lead to spec 3.1.
const LOCAL_SINCE: u8 = 1;

pub(super) fn embed(tree: &mut Node, translation: &mut Translation<'_>) {
    each(
        tree,
        &["ignition", "config", "merge"],
        translation,
        embed_resource,
    );
    each(
        tree,
        &["ignition", "security", "tls", "certificate_authorities"],
        translation,
        embed_resource,
    );
    if let Some(replace) = descend(tree, &["ignition", "config", "replace"]) {
        embed_resource(replace, "$.ignition.config.replace", translation);
    }
    each(
        tree,
        &["storage", "files"],
        translation,
        |file, path, translation| {
            if let Some(contents) = descend(file, &["contents"]) {
                embed_resource(contents, &format!("{path}.contents"), translation);
            }
            each_item(
                descend(file, &["append"]),
                &format!("{path}.append"),
                translation,
                embed_resource,
            );
        },
    );
    each(
        tree,
        &["storage", "luks"],
        translation,
        |volume, path, translation| {
            if let Some(key) = descend(volume, &["key_file"]) {
                embed_resource(key, &format!("{path}.key_file"), translation);
            }
        },
    );
    each(
        tree,
        &["systemd", "units"],
        translation,
        |unit, path, translation| {
            embed_text(unit, path, translation);
            each_item(
                descend(unit, &["dropins"]),
                &format!("{path}.dropins"),
                translation,
                embed_text,
            );
        },
    );
    each(tree, &["passwd", "users"], translation, embed_keys);
}

/// `data:` URL and compression for bytes, the shortest of plain, base64 and gzip.
pub(super) fn encode(bytes: &[u8]) -> (String, &'static str) {
    let plain = data_url::encode(bytes);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    match compressed.map(|bytes| data_url::encode(&bytes)) {
        Ok(compressed) if compressed.len() < plain.len() => (compressed, "gzip"),
        _ => (plain, ""),
    }
}

/// Reads a local file for the value at `path`.
pub(super) fn read(
    name: &str,
    path: &str,
    position: Position,
    translation: &mut Translation<'_>,
) -> Option<Vec<u8>> {
    let Some(inside) = local::inside(name) else {
        translation.error(
            path,
            position,
            format!("`{name}` leads out of the folder of local files"),
        );
        return None;
    };
    match translation.files.read(&inside) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            translation.error(path, position, format!("reading `{name}`: {error}"));
            None
        }
    }
}

/// The value under a chain of keys.
pub(super) fn descend<'a>(node: &'a mut Node, keys: &[&str]) -> Option<&'a mut Node> {
    let mut node = node;
    for key in keys {
        let Value::Object(members) = &mut node.value else {
            return None;
        };
        node = &mut members
            .iter_mut()
            .rev()
            .find(|member| member.key == *key)?
            .node;
    }
    Some(node)
}

fn each(
    tree: &mut Node,
    keys: &[&str],
    translation: &mut Translation<'_>,
    act: impl FnMut(&mut Node, &str, &mut Translation<'_>),
) {
    each_item(
        descend(tree, keys),
        &format!("$.{}", keys.join(".")),
        translation,
        act,
    );
}

fn each_item(
    list: Option<&mut Node>,
    path: &str,
    translation: &mut Translation<'_>,
    mut act: impl FnMut(&mut Node, &str, &mut Translation<'_>),
) {
    if let Some(Node {
        value: Value::Array(items),
        ..
    }) = list
    {
        for (index, item) in items.iter_mut().enumerate() {
            act(item, &format!("{path}.{index}"), translation);
        }
    }
}

fn embed_resource(resource: &mut Node, path: &str, translation: &mut Translation<'_>) {
    let inline = resource.take("inline");
    let local = resource.take("local").filter(|local| {
        translation.knows(
            "local",
            LOCAL_SINCE,
            &format!("{path}.local"),
            local.position,
        )
    });
    let given = [
        inline.is_some(),
        local.is_some(),
        resource.get("source").is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        translation.error(
            path,
            resource.position,
            "only one of `source`, `inline` and `local` can be given",
        );
        return;
    }
    let (bytes, position) = if let Some(inline) = inline {
        let Some(text) = inline.as_str() else {
            let message = format!("expected a string, found {}", inline.kind());
            translation.error(format!("{path}.inline"), inline.position, message);
            return;
        };
        (Some(text.as_bytes().to_vec()), inline.position)
    } else if let Some(local) = local {
        let name = local.as_str().unwrap_or_default();
        (
            read(name, &format!("{path}.local"), local.position, translation),
            local.position,
        )
    } else {
        return;
    };
    let Some(bytes) = bytes else { return };
    let (source, compression) = match resource.get("compression") {
        // The author says how the bytes are packed already.
        Some(_) => (data_url::encode(&bytes), None),
        None => {
            let (source, compression) = encode(&bytes);
            (source, Some(compression))
        }
    };
    resource.insert("source", Node::string(position, source));
    if let Some(compression) = compression {
        resource.insert("compression", Node::string(position, compression));
    }
}

/// `contents_local` of a unit or drop-in.
fn embed_text(unit: &mut Node, path: &str, translation: &mut Translation<'_>) {
    let Some(local) = unit.take("contents_local") else {
        return;
    };
    let path = format!("{path}.contents_local");
    if !translation.knows("contents_local", LOCAL_TEXT_SINCE, &path, local.position) {
        return;
    }
    if unit.get("contents").is_some() {
        let message = "only one of `contents` and `contents_local` can be given";
        return translation.error(path, local.position, message);
    }
    let name = local.as_str().unwrap_or_default();
    if let Some(bytes) = read(name, &path, local.position, translation) {
        let text = String::from_utf8_lossy(&bytes);
        unit.insert("contents", Node::string(local.position, text));
    }
}

/// `ssh_authorized_keys_local`: every line of every file that is not empty.
fn embed_keys(user: &mut Node, path: &str, translation: &mut Translation<'_>) {
    let Some(files) = user.take("ssh_authorized_keys_local") else {
        return;
    };
    let path = format!("{path}.ssh_authorized_keys_local");
    if !translation.knows(
        "ssh_authorized_keys_local",
        LOCAL_TEXT_SINCE,
        &path,
        files.position,
    ) {
        return;
    }
    let mut keys = Vec::new();
    for (index, file) in files.items().iter().enumerate() {
        let name = file.as_str().unwrap_or_default();
        let Some(bytes) = read(name, &format!("{path}.{index}"), file.position, translation) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty());
        keys.extend(lines.map(|line| Node::string(file.position, line)));
    }
    if let Some(Node {
        value: Value::Array(present),
        ..
    }) = descend(user, &["ssh_authorized_keys"])
    {
        present.append(&mut keys);
    } else if !keys.is_empty() {
        user.insert(
            "ssh_authorized_keys",
            Node::new(files.position, Value::Array(keys)),
        );
    }
}
