//! What stands in a segment: the files that the recipe names, and everything that they are linked with.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::elf;
use crate::initramfs::Archive;

/// Where Debian's libraries are.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Folders of the root that are links into `usr` since Debian 12.
const MERGED: [&str; 4] = ["bin/", "sbin/", "lib/", "lib64/"];

/// Packages, each unpacked into a folder of its own.
pub struct Unpacked {
    /// Their folders.
    pub packages: Vec<PathBuf>,
}

impl Unpacked {
    /// The package that has a path, by its position, and where its file is.
    fn find(&self, path: &str) -> Result<(usize, PathBuf)> {
        let places = self.packages.iter().map(|folder| folder.join(path));
        places
            .enumerate()
            .find(|(_, place)| place.symlink_metadata().is_ok())
            .with_context(|| format!("no package of the toolbox has {path}"))
    }
}

/// A segment while it is put together.
pub struct Contents<'a> {
    unpacked: &'a Unpacked,
    /// The paths of the segment that stands below this one.
    below: &'a BTreeSet<String>,
    /// What is in it so far.
    pub archive: Archive,
    /// Its files and links.
    pub paths: BTreeSet<String>,
    /// The packages that they are from, by position.
    pub sources: BTreeSet<usize>,
}

impl<'a> Contents<'a> {
    /// An empty segment above another one.
    pub fn new(unpacked: &'a Unpacked, below: &'a BTreeSet<String>) -> Self {
        Self {
            unpacked,
            below,
            archive: Archive::default(),
            paths: BTreeSet::new(),
            sources: BTreeSet::new(),
        }
    }

    /// Adds a file or a link of the packages, and whatever it leads to or is linked with.
    pub fn add(&mut self, path: &str) -> Result<()> {
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            if self.below.contains(&path) || !self.paths.insert(path.clone()) {
                continue;
            }
            let more = self.take(&path).with_context(|| format!("adding {path}"))?;
            waiting.extend(more);
        }
        Ok(())
    }

    /// Adds one path, and returns those that it needs.
    fn take(&mut self, path: &str) -> Result<Vec<String>> {
        let (package, place) = self.unpacked.find(path)?;
        self.sources.insert(package);
        let metadata = place.symlink_metadata().context("reading its metadata")?;
        if metadata.is_symlink() {
            let target = fs::read_link(&place).context("reading the link")?;
            let target = target.to_str().context("the link is not UTF-8")?;
            self.archive.link(path, target);
            return Ok(vec![led_to(path, target)?]);
        }
        let data = fs::read(&place).context("reading the file")?;
        let needs = elf::needs(&data)?.unwrap_or_default();
        let mode = if metadata.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        self.archive.file(path, mode, data);
        let libraries = needs.libraries.iter();
        let mut paths: Vec<String> = libraries
            .map(|name| format!("{LIBRARIES}/{name}"))
            .collect();
        if let Some(interpreter) = needs.interpreter {
            paths.push(led_to(path, &interpreter)?);
        }
        Ok(paths)
    }
}

/// The path, relative to the root, that a link at `path` leads to.
fn led_to(path: &str, target: &str) -> Result<String> {
    let start = match target.strip_prefix('/') {
        Some(absolute) => PathBuf::from(absolute),
        None => Path::new(path).with_file_name(target),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.to_str().unwrap_or_default().split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    bail!("{path} leads out of the root: {target}")
                }
            }
            part => parts.push(part),
        }
    }
    let place = parts.join("/");
    Ok(if MERGED.iter().any(|folder| place.starts_with(folder)) {
        format!("usr/{place}")
    } else {
        place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_in_the_merged_root() {
        let check = |path, target, expected: &str| {
            assert_eq!(
                led_to(path, target).unwrap(),
                expected,
                "{path} -> {target}"
            );
        };
        check("usr/sbin/mkfs.ext4", "mke2fs", "usr/sbin/mke2fs");
        check("usr/lib64/ld.so", "../lib/gnu/ld.so", "usr/lib/gnu/ld.so");
        check("usr/bin/x", "/lib64/ld.so", "usr/lib64/ld.so");
        check(
            "usr/bin/awk",
            "/etc/alternatives/awk",
            "etc/alternatives/awk",
        );
        assert!(led_to("etc/x", "../../y").is_err());
    }

    #[test]
    fn what_stands_below_is_left_out_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        fs::write(folder.path().join("usr/bin/one"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("one", folder.path().join("usr/bin/two")).unwrap();
        let unpacked = Unpacked {
            packages: vec![folder.path().to_owned()],
        };
        let nothing = BTreeSet::new();
        let mut first = Contents::new(&unpacked, &nothing);
        first.add("usr/bin/two").unwrap();
        let both = ["usr/bin/one", "usr/bin/two"].map(str::to_owned);
        assert_eq!(first.paths, BTreeSet::from(both));
        assert_eq!(first.sources, BTreeSet::from([0]));

        let mut second = Contents::new(&unpacked, &first.paths);
        second.add("usr/bin/two").unwrap();
        assert!(second.paths.is_empty());
        let error = format!("{:#}", second.add("usr/bin/three").unwrap_err());
        assert_eq!(
            error,
            "adding usr/bin/three: no package of the toolbox has usr/bin/three"
        );
    }
}
