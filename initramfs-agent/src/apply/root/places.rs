//! Where paths lead, and the directories on the way that are not there yet.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2, readlinkat};
use rustix::io::Errno;

use super::{Attributes, TargetRoot, split};

/// As many links on one way as Linux follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

impl TargetRoot {
    /// Where a path lies once every link in its directories is followed inside the root: the same
    /// place in words without links and `..`. The last component stays as it is. What is missing on the
    /// way, even behind a link, counts as a directory; a file in a directory's place is an error.
    pub fn place(&self, path: &str) -> Result<String> {
        let (above, name) =
            split(path).with_context(|| format!("`{path}` names nothing in the root"))?;
        let folder = self
            .follow(above)
            .with_context(|| format!("following the links in {above}"))?;
        Ok(format!("{folder}/{name}"))
    }

    /// A directory's path with every link followed; `""` is the root itself.
    fn follow(&self, path: &str) -> Result<String, Errno> {
        let mut links_left = MOST_LINKS;
        let mut ahead: Vec<String> = components(path);
        let mut reached: Vec<String> = Vec::new();
        while let Some(component) = ahead.pop() {
            if component == ".." {
                reached.pop();
                continue;
            }
            reached.push(component);
            let Some(text) = self.link_text(&format!("/{}", reached.join("/")))? else {
                continue;
            };
            links_left -= 1;
            if links_left == 0 {
                return Err(Errno::LOOP);
            }
            reached.pop();
            if text.starts_with('/') {
                reached.clear();
            }
            ahead.extend(components(&text));
        }
        Ok(reached.iter().map(|part| format!("/{part}")).collect())
    }

    /// The text of the link at a path whose directories hold no links.
    fn link_text(&self, path: &str) -> Result<Option<String>, Errno> {
        let found = self
            .parent(path)
            .and_then(|(folder, name)| readlinkat(&folder, name, Vec::new()));
        match found {
            Ok(text) => match text.into_string() {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Errno::ILSEQ),
            },
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Owner and mode of what the link at a path leads to, if relative links alone lead there.
    pub fn behind(&self, path: &str) -> Option<Attributes> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = path.trim_start_matches('/');
        let file = openat2(&self.root, path, flags, Mode::empty(), how).ok()?;
        Some(Attributes::of(&fstat(file).ok()?))
    }

    /// Writes a file as whoever the thread is for the kernel (see `as_user`), where it is: a link at the
    /// path is followed inside the root, and what exists keeps its mode. Missing directories are made
    /// with mode 0700, a missing file with 0600.
    pub fn write_in_place(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let write = || -> Result<()> {
            let make = |folder: &str| {
                let (above, name) = self.parent(folder)?;
                Ok(mkdirat(&above, name, Mode::from_raw_mode(0o700))?)
            };
            self.ready_by(path, make)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let file = openat2(&self.root, path, flags, Mode::from_raw_mode(0o600), how)?;
            let mut file = File::from(file);
            file.write_all(bytes)?;
            Ok(file.sync_all()?)
        };
        write().with_context(|| format!("writing {path}"))
    }

    /// The directory that a path is in, with the missing ones above it made (0755, 0:0), also where a
    /// link leads to a directory that is not there yet.
    pub(super) fn ready<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str)> {
        self.ready_by(path, |folder| {
            self.make_directory(folder, &Attributes::root(0o755))
        })
    }

    fn ready_by<'p>(
        &self,
        path: &'p str,
        make: impl Fn(&str) -> Result<()>,
    ) -> Result<(OwnedFd, &'p str)> {
        let (above, name) =
            split(path).with_context(|| format!("`{path}` names nothing in the root"))?;
        match self.resolve(above, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(folder) => return Ok((folder, name)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("opening {above}")),
        }
        let above = self
            .follow(above)
            .with_context(|| format!("following the links in {above}"))?;
        let mut reached = String::new();
        for part in above.split('/').filter(|part| !part.is_empty()) {
            reached = format!("{reached}/{part}");
            match self.resolve(&reached, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => {}
                Err(Errno::NOENT) => make(&reached)?,
                Err(error) => return Err(error).with_context(|| format!("opening {reached}")),
            }
        }
        let folder = self
            .resolve(&above, OFlags::PATH | OFlags::DIRECTORY)
            .with_context(|| format!("opening {above}"))?;
        Ok((folder, name))
    }
}

/// What is in a path, the last first.
fn components(path: &str) -> Vec<String> {
    let parts = path.split('/').rev();
    parts
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
        .collect()
}
