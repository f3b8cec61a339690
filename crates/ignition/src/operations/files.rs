//! Directories, files and symbolic links by depth, then hard links.

use super::{Plan, owner_number, resource};
use crate::config::{self, NodeOwner, Storage};
use crate::operation::{Directory, File, HardLink, Operation, Owner, Symlink};
use crate::paths::{clean, depth};
use crate::validate::files::absolute_target;

pub(super) fn add(storage: &Storage, plan: &mut Plan) {
    let mut shallow_first = Vec::new();
    for (index, directory) in storage.directories.iter().enumerate() {
        let at = format!("$.storage.directories.{index}");
        shallow_first.push(Operation::Directory(convert_directory(
            directory, &at, plan,
        )));
    }
    for (index, file) in storage.files.iter().enumerate() {
        let at = format!("$.storage.files.{index}");
        shallow_first.push(Operation::File(convert_file(file, &at, plan)));
    }
    let mut hard_links = Vec::new();
    for (index, link) in storage.links.iter().enumerate() {
        let at = format!("$.storage.links.{index}");
        refuse_root(&link.path, &at, plan);
        if link.target.as_deref().unwrap_or_default().is_empty() {
            plan.refuse(format!("{at}.target"), "a link needs a target");
        }
        if link.hard == Some(true) {
            hard_links.push(Operation::HardLink(convert_hard_link(link)));
        } else {
            shallow_first.push(Operation::Symlink(convert_symlink(link, &at, plan)));
        }
    }
    // Stable: entries of one depth keep the order above, which is the real program's.
    shallow_first.sort_by_key(|operation| depth(operation.subject()));
    plan.operations.append(&mut shallow_first);
    plan.operations.append(&mut hard_links);
}

fn convert_directory(directory: &config::Directory, at: &str, plan: &mut Plan) -> Directory {
    if directory.overwrite == Some(true) {
        refuse_root(&directory.path, at, plan);
    }
    Directory {
        path: clean(&directory.path),
        mode: mode(directory.mode),
        user: owner(&directory.user, &format!("{at}.user.id"), plan),
        group: owner(&directory.group, &format!("{at}.group.id"), plan),
        overwrite: directory.overwrite == Some(true),
    }
}

fn convert_file(file: &config::File, at: &str, plan: &mut Plan) -> File {
    refuse_root(&file.path, at, plan);
    let append = file.append.iter().enumerate();
    File {
        path: clean(&file.path),
        contents: resource::convert(&file.contents, &format!("{at}.contents"), plan),
        append: append
            .filter_map(|(index, part)| {
                resource::convert(part, &format!("{at}.append.{index}"), plan)
            })
            .collect(),
        mode: mode(file.mode),
        user: owner(&file.user, &format!("{at}.user.id"), plan),
        group: owner(&file.group, &format!("{at}.group.id"), plan),
        overwrite: file.overwrite == Some(true),
    }
}

fn convert_symlink(link: &config::Link, at: &str, plan: &mut Plan) -> Symlink {
    Symlink {
        path: clean(&link.path),
        target: link.target.clone().unwrap_or_default(),
        user: owner(&link.user, &format!("{at}.user.id"), plan),
        group: owner(&link.group, &format!("{at}.group.id"), plan),
        overwrite: link.overwrite == Some(true),
    }
}

fn convert_hard_link(link: &config::Link) -> HardLink {
    // The files stage takes a relative target from the root, whatever the rule against directories
    // takes it from.
    let target = link.target.as_deref().unwrap_or_default();
    HardLink {
        path: clean(&link.path),
        target: absolute_target("", target),
        overwrite: link.overwrite == Some(true),
    }
}

fn refuse_root(path: &str, at: &str, plan: &mut Plan) {
    if clean(path) == "/" {
        plan.refuse(
            format!("{at}.path"),
            "the root directory itself cannot be replaced",
        );
    }
}

fn mode(mode: Option<i64>) -> Option<u32> {
    mode.and_then(|mode| u32::try_from(mode).ok())
}

fn owner(owner: &NodeOwner, at: &str, plan: &mut Plan) -> Option<Owner> {
    match (owner.id, owner.name.as_deref()) {
        (Some(id), _) => owner_number(id, at, plan).map(Owner::Id),
        (None, Some(name)) if !name.is_empty() => Some(Owner::Name(name.to_owned())),
        _ => None,
    }
}
