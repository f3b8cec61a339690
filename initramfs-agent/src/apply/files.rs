//! Directories, files, symbolic and hard links, as `hardway_ignition` describes them.

use std::io::{self, Seek};

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::{Directory, File, HardLink, Owner, Symlink};

use super::accounts;
use super::content::{self, Sources};
use super::root::{Attributes, Kind, TargetRoot};

pub fn directory(root: &TargetRoot, wanted: &Directory) -> Result<()> {
    let path = &wanted.path;
    if wanted.overwrite {
        root.remove(path)?;
    }
    let standing = root.stat(path)?;
    let before = match (root.kind(path)?, standing) {
        (Some(Kind::Directory), Some(stat)) => Attributes::of(&stat),
        (Some(_), _) => bail!("something other than a directory stands there"),
        _ => Attributes::root(0o755),
    };
    let attributes = resolve(root, before, wanted.mode, &wanted.user, &wanted.group)?;
    if standing.is_some() {
        return root.set_attributes(path, &attributes);
    }
    root.make_directory(path, &attributes)
}

pub fn file(root: &TargetRoot, wanted: &File, sources: &Sources<'_>) -> Result<()> {
    let path = &wanted.path;
    let standing = match (root.kind(path)?, root.stat(path)?) {
        _ if wanted.overwrite => None,
        (None, _) | (_, None) => None,
        (Some(Kind::File), _) if wanted.contents.is_some() => {
            bail!("a file stands there already, and `overwrite` is not set")
        }
        (Some(Kind::File), Some(stat)) => Some(without_set_ids(Attributes::of(&stat))),
        _ => bail!("something other than a file stands there"),
    };
    let before = standing.unwrap_or(Attributes::root(0o644));
    let attributes = resolve(root, before, wanted.mode, &wanted.user, &wanted.group)?;
    if standing.is_some() {
        append(root, wanted, sources)?;
        return root.set_attributes(path, &attributes);
    }
    root.replace_with(path, &attributes, |file| {
        for resource in wanted.contents.iter().chain(&wanted.append) {
            io::copy(&mut content::open(resource, sources)?, file)?;
        }
        // Nothing is removed before what takes its place is there and checked.
        match wanted.overwrite {
            true => root.remove(path),
            false => Ok(()),
        }
    })
}

/// What chown(2) leaves of a file's mode: the real program does not put back what it takes.
fn without_set_ids(standing: Attributes) -> Attributes {
    let is_group_executable = standing.mode & 0o010 != 0;
    let taken = if is_group_executable { 0o6000 } else { 0o4000 };
    Attributes {
        mode: standing.mode & !taken,
        ..standing
    }
}

/// Each part is there and checked before the file gets it.
fn append(root: &TargetRoot, wanted: &File, sources: &Sources<'_>) -> Result<()> {
    for resource in &wanted.append {
        let mut part = root.scratch(&wanted.path)?;
        io::copy(&mut content::open(resource, sources)?, &mut part)?;
        part.rewind()?;
        root.append(&wanted.path, part)?;
    }
    Ok(())
}

pub fn symlink(root: &TargetRoot, wanted: &Symlink) -> Result<()> {
    let path = &wanted.path;
    if wanted.overwrite {
        root.remove(path)?;
    }
    match (root.read_link(path)?, root.kind(path)?) {
        (Some(text), _) if clean(&text) == clean(&wanted.target) => return Ok(()),
        (None, None) => {}
        _ => bail!("something else stands there"),
    }
    root.symlink(&wanted.target, path)?;
    // An owner that is not given is the target's, which the real program finds by relative links only:
    // an absolute one leads it out of the root, into the system that it runs in.
    let before = root.behind(path).unwrap_or(Attributes::root(0));
    let owner = resolve(root, before, None, &wanted.user, &wanted.group)?;
    root.set_owner(path, owner.uid, owner.gid)
}

pub fn hard_link(root: &TargetRoot, wanted: &HardLink) -> Result<()> {
    let target = root
        .stat(&wanted.target)?
        .with_context(|| format!("{} is not there", wanted.target))?;
    if let Some(standing) = root.stat(&wanted.path)? {
        if (standing.st_dev, standing.st_ino) == (target.st_dev, target.st_ino) {
            return Ok(());
        }
        if !wanted.overwrite {
            bail!("something else stands there");
        }
        root.remove(&wanted.path)?;
    }
    root.hard_link(&wanted.target, &wanted.path)
}

/// Without `.`, `..` and doubled slashes, by text alone.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn resolve(
    root: &TargetRoot,
    before: Attributes,
    mode: Option<u32>,
    user: &Option<Owner>,
    group: &Option<Owner>,
) -> Result<Attributes> {
    let uid = match user {
        Some(Owner::Id(id)) => *id,
        Some(Owner::Name(name)) => accounts::uid(root, name)?,
        None => before.uid,
    };
    let gid = match group {
        Some(Owner::Id(id)) => *id,
        Some(Owner::Name(name)) => accounts::gid(root, name)?,
        None => before.gid,
    };
    Ok(Attributes {
        mode: mode.unwrap_or(before.mode),
        uid,
        gid,
    })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
