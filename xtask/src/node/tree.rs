//! A root filesystem between two tar archives: read, changed in memory, written.
//!
//! Owners and device nodes live only in the archives, so that nobody needs to be root. Contents stay
//! in the archive that was read; only what is put in anew is held in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use tar::EntryType;

use crate::disk;

/// Every path of a root filesystem, without a leading `/`, in the order in which it is written.
#[derive(Debug)]
pub struct Tree {
    archive: File,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    mode: u32,
    owner: u64,
    group: u64,
    mtime: u64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder,
    Link(String),
    Archived { offset: u64, size: u64 },
    Bytes(Vec<u8>),
}

impl Tree {
    /// Reads an archive.
    pub fn read(path: &Path) -> Result<Tree> {
        let open = || File::open(path).with_context(|| format!("opening {}", path.display()));
        let mut tree = Tree {
            archive: open()?,
            entries: BTreeMap::new(),
        };
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, open()?));
        for entry in archive.entries_with_seek().context("reading archive")? {
            let entry = entry.context("reading archive")?;
            tree.take_in(&entry)?;
        }
        Ok(tree)
    }

    fn take_in<R: Read>(&mut self, entry: &tar::Entry<R>) -> Result<()> {
        let path = name_of(&entry.path().context("reading a path")?);
        if path.is_empty() {
            return Ok(());
        }
        let header = entry.header();
        let target = || -> Result<String> {
            let link = entry.link_name().context("reading a link")?;
            Ok(link
                .context("a link without target")?
                .to_string_lossy()
                .into_owned())
        };
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Folder,
            EntryType::Regular => Kind::Archived {
                offset: entry.raw_file_position(),
                size: entry.size(),
            },
            EntryType::Symlink => Kind::Link(target()?),
            // A second name for a file becomes a file of its own.
            EntryType::Link => match self.entries.get(&name_of(Path::new(&target()?))) {
                Some(linked) => linked.kind.clone(),
                None => bail!("{path} is a hard link to something that does not stand before it"),
            },
            // systemd mounts devtmpfs over /dev, and nothing else has devices.
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Ok(()),
            other => bail!("{path} has the unknown type {other:?}"),
        };
        let known = Entry {
            mode: header.mode()? & 0o7777,
            owner: header.uid()?,
            group: header.gid()?,
            mtime: header.mtime()?,
            kind,
        };
        self.entries.insert(path, known);
        Ok(())
    }

    /// Paths that begin with `prefix`.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries
            .range(prefix.to_owned()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(prefix))
    }

    /// A file's content.
    pub fn content(&self, path: &str) -> Result<Vec<u8>> {
        let entry = self
            .entries
            .get(path)
            .with_context(|| format!("looking for {path}"))?;
        match &entry.kind {
            Kind::Bytes(bytes) => Ok(bytes.clone()),
            Kind::Archived { offset, size } => {
                let mut bytes = Vec::with_capacity(*size as usize);
                let mut archive = &self.archive;
                archive.seek(SeekFrom::Start(*offset))?;
                archive.take(*size).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Kind::Folder | Kind::Link(_) => bail!("{path} is not a file"),
        }
    }

    /// A file's content as text.
    pub fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.content(path)?).with_context(|| format!("reading {path}"))
    }

    /// Takes out what a pattern names: a path with all below it, or with a trailing `*` every path
    /// that begins so.
    pub fn remove(&mut self, pattern: &str) {
        let gone: Vec<String> = match pattern.split_once('*') {
            Some((start, end)) => self
                .below(start)
                .filter(|path| path.ends_with(end))
                .map(str::to_owned)
                .collect(),
            None => self
                .below(&format!("{pattern}/"))
                .chain([pattern])
                .map(str::to_owned)
                .collect(),
        };
        for path in gone {
            self.entries.remove(&path);
        }
    }

    /// Takes out a file or link, and leaves a folder that is not empty.
    pub fn remove_unless_used(&mut self, path: &str) {
        let used = self.below(&format!("{path}/")).next().is_some();
        if !used {
            self.entries.remove(path);
        }
    }

    /// Puts a file in, with the folders on the way to it.
    pub fn insert(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.put(path, mode, Kind::Bytes(bytes));
    }

    /// Puts a symbolic link in.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, 0o777, Kind::Link(target.to_owned()));
    }

    /// Gives a path another name.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let entry = self
            .entries
            .remove(from)
            .with_context(|| format!("looking for {from}"))?;
        self.entries.insert(to.to_owned(), entry);
        Ok(())
    }

    fn put(&mut self, path: &str, mode: u32, kind: Kind) {
        for (index, _) in path.match_indices('/') {
            let folder = || Entry::new(0o755, Kind::Folder);
            self.entries
                .entry(path[..index].to_owned())
                .or_insert_with(folder);
        }
        self.entries.insert(path.to_owned(), Entry::new(mode, kind));
    }

    /// Bytes that the contents take in blocks of 4096, folders included.
    pub fn size(&self) -> u64 {
        let blocks = |size: u64| size.div_ceil(4096) * 4096;
        let sizes = self.entries.values().map(|entry| match &entry.kind {
            Kind::Folder => 4096,
            Kind::Link(_) => 0,
            Kind::Archived { size, .. } => blocks(*size),
            Kind::Bytes(bytes) => blocks(bytes.len() as u64),
        });
        sizes.sum()
    }

    /// How many paths there are.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Writes an archive.
    pub fn write(&self, output: impl Write) -> Result<()> {
        let mut builder = tar::Builder::new(output);
        for (path, entry) in &self.entries {
            entry
                .append(path, &self.archive, &mut builder)
                .with_context(|| format!("writing {path} into the archive"))?;
        }
        builder
            .into_inner()
            .context("writing archive")?
            .flush()
            .context("writing archive")
    }
}

impl Entry {
    fn new(mode: u32, kind: Kind) -> Entry {
        Entry {
            mode,
            owner: 0,
            group: 0,
            mtime: disk::EPOCH,
            kind,
        }
    }

    fn append(
        &self,
        path: &str,
        mut archive: &File,
        builder: &mut tar::Builder<impl Write>,
    ) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(self.owner);
        header.set_gid(self.group);
        header.set_mtime(self.mtime);
        header.set_size(0);
        match &self.kind {
            Kind::Folder => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Kind::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, path, target)?;
            }
            Kind::Archived { offset, size } => {
                header.set_size(*size);
                archive.seek(SeekFrom::Start(*offset))?;
                builder.append_data(&mut header, path, archive.take(*size))?;
            }
            Kind::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())?;
            }
        }
        Ok(())
    }
}

/// A path as the tree knows it: `./usr/bin/` is `usr/bin`.
fn name_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text
        .strip_prefix('.')
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(&text);
    text.trim_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree {
            archive: tempfile::tempfile().unwrap(),
            entries: BTreeMap::new(),
        };
        for path in paths {
            tree.insert(path, 0o644, path.as_bytes().to_vec());
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.below("").collect()
    }

    #[test]
    fn an_archive_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        let mut before = tree(&["etc/a", "usr/bin/b"]);
        before.link("etc/c", "/dev/null");
        before.write(File::create(&first).unwrap()).unwrap();

        let after = Tree::read(&first).unwrap();
        assert_eq!(
            paths(&after),
            ["etc", "etc/a", "etc/c", "usr", "usr/bin", "usr/bin/b"]
        );
        assert_eq!(after.text("usr/bin/b").unwrap(), "usr/bin/b");
        after.write(File::create(&second).unwrap()).unwrap();
        assert_eq!(
            std::fs::read(first).unwrap(),
            std::fs::read(second).unwrap()
        );
    }

    #[test]
    fn patterns() {
        let mut tree = tree(&["a/b/c", "a/bc", "a/d.log", "a/e.txt"]);
        tree.remove("a/b");
        assert_eq!(paths(&tree), ["a", "a/bc", "a/d.log", "a/e.txt"]);
        tree.remove("a/*.log");
        assert_eq!(paths(&tree), ["a", "a/bc", "a/e.txt"]);
        tree.remove("a/*");
        assert_eq!(paths(&tree), ["a"]);
    }

    #[test]
    fn a_folder_in_use_stays() {
        let mut tree = tree(&["a/b"]);
        tree.remove_unless_used("a");
        assert_eq!(paths(&tree), ["a", "a/b"]);
        tree.remove_unless_used("a/b");
        tree.remove_unless_used("a");
        assert!(paths(&tree).is_empty());
    }
}
