//! Directories, files, symbolic and hard links, as `hardway_ignition` describes them.

use std::io::Read;

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::{
    Compression, Directory, File, HardLink, Owner, Resource, Source, Symlink, Verification,
};
use sha2::{Digest, Sha256, Sha512};

use super::accounts;
use super::root::{Attributes, Kind, TargetRoot};
use crate::http::{Appliance, HttpError};
use crate::patience::patiently;
use crate::reports::Reports;

/// Where content that is not in the operations comes from.
pub struct Sources<'a> {
    /// For its client; the URLs are absolute.
    pub appliance: &'a Appliance,
    /// For waiting aloud.
    pub reports: &'a Reports,
}

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
    // Nothing is removed before what takes its place is there and checked.
    let contents = wanted
        .contents
        .as_ref()
        .map(|resource| fetch(resource, sources))
        .transpose()?;
    let appended = wanted
        .append
        .iter()
        .map(|resource| fetch(resource, sources));
    let appended = appended.collect::<Result<Vec<_>>>()?.concat();
    let standing = root.kind(path)?;
    let before = match (standing, root.stat(path)?) {
        (Some(Kind::File), Some(_)) if contents.is_some() && !wanted.overwrite => {
            bail!("a file stands there already, and `overwrite` is not set")
        }
        (Some(Kind::File), Some(stat)) if contents.is_none() => Some(Attributes::of(&stat)),
        (Some(Kind::File) | None, _) => None,
        (Some(_), _) if wanted.overwrite => None,
        (Some(_), _) => bail!("something other than a file stands there"),
    };
    if wanted.overwrite {
        root.remove(path)?;
    }
    let kept = before.filter(|_| !wanted.overwrite);
    let attributes = resolve(
        root,
        kept.unwrap_or(Attributes::root(0o644)),
        wanted.mode,
        &wanted.user,
        &wanted.group,
    )?;
    if kept.is_none() {
        let mut whole = contents.unwrap_or_default();
        whole.extend_from_slice(&appended);
        return root.replace(path, &whole, &attributes);
    }
    if !appended.is_empty() {
        root.append(path, &appended)?;
    }
    root.set_attributes(path, &attributes)
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
    let owner = resolve(root, Attributes::root(0), None, &wanted.user, &wanted.group)?;
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

fn fetch(resource: &Resource, sources: &Sources<'_>) -> Result<Vec<u8>> {
    let (packed, name) = match &resource.source {
        Source::Inline(bytes) => (bytes.clone(), "the content"),
        Source::Url { url, headers } => {
            let fetched = patiently(sources.reports, || sources.appliance.get(url, headers));
            (
                fetched
                    .map_err(foreign)
                    .with_context(|| format!("fetching {url}"))?,
                url.as_str(),
            )
        }
    };
    let bytes = match resource.compression {
        Compression::None => packed,
        Compression::Gzip => {
            let mut bytes = Vec::new();
            flate2::read::MultiGzDecoder::new(&packed[..])
                .read_to_end(&mut bytes)
                .with_context(|| format!("decompressing {name}"))?;
            bytes
        }
    };
    let (found, expected) = match &resource.verification {
        None => return Ok(bytes),
        Some(Verification::Sha256(expected)) => (hex(&Sha256::digest(&bytes)), expected),
        Some(Verification::Sha512(expected)) => (hex(&Sha512::digest(&bytes)), expected),
    };
    if found != expected.to_lowercase() {
        bail!("{name} has the hash {found}, and {expected} was expected");
    }
    Ok(bytes)
}

/// 403 of some web server says nothing about this boot's token.
fn foreign(error: HttpError) -> anyhow::Error {
    match error {
        HttpError::Refused(cause) => anyhow::anyhow!("it answers 403: {cause}"),
        other => other.into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
