//! The installed system's tree. Every path is resolved by the kernel inside it (openat2(2),
//! `RESOLVE_IN_ROOT`): neither `..` nor a symbolic link leads out, whatever the image or the
//! configuration holds. The last component is never followed, except for reading.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchmod,
    fchown, linkat, mkdirat, openat2, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

#[path = "root/places.rs"]
mod places;

/// Owner and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attributes {
    /// Owned by 0:0.
    pub fn root(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }

    /// What an existing object has.
    pub fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

/// What stands at a path, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// The root directory of an installed system.
pub struct TargetRoot {
    root: OwnedFd,
}

impl TargetRoot {
    /// Opens the directory that is the root.
    pub fn open(path: &Path) -> Result<Self> {
        let root = rustix::fs::openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { root })
    }

    /// A file's content, links followed inside the root. `None` when there is nothing.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let file = match self.resolve(path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("opening {path}")),
        };
        let mut bytes = Vec::new();
        File::from(file)
            .read_to_end(&mut bytes)
            .with_context(|| format!("reading {path}"))?;
        Ok(Some(bytes))
    }

    /// Opens a file for reading, links followed inside the root.
    pub fn open_file(&self, path: &str) -> Result<File> {
        let file = self.resolve(path, OFlags::RDONLY);
        Ok(file.with_context(|| format!("opening {path}"))?.into())
    }

    /// The names in a directory; none when it is absent.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let folder = match self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("opening {path}")),
        };
        names(&folder).with_context(|| format!("listing {path}"))
    }

    /// What stands at the path itself.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>> {
        let (folder, name) = match self.parent(path) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("looking at {path}")),
        };
        match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking at {path}")),
        }
    }

    /// Whether anything is where the path leads, links followed.
    pub fn exists(&self, path: &str) -> Result<bool> {
        match self.resolve(path, OFlags::PATH) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("looking for {path}")),
        }
    }

    /// The kind of what stands at the path itself.
    pub fn kind(&self, path: &str) -> Result<Option<Kind>> {
        Ok(self
            .stat(path)?
            .map(|stat| match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::File,
                FileType::Symlink => Kind::Symlink,
                _ => Kind::Other,
            }))
    }

    /// The text of the symbolic link at the path; `None` when there is none.
    pub fn read_link(&self, path: &str) -> Result<Option<String>> {
        if self.kind(path)? != Some(Kind::Symlink) {
            return Ok(None);
        }
        let text = self
            .parent(path)
            .and_then(|(folder, name)| readlinkat(&folder, name, Vec::new()))
            .with_context(|| format!("reading the link {path}"))?;
        Ok(Some(text.to_string_lossy().into_owned()))
    }

    /// Puts a file there by a temporary name, so that at every moment the old or the new one stands.
    pub fn replace(&self, path: &str, bytes: &[u8], attributes: &Attributes) -> Result<()> {
        self.replace_with(path, attributes, |file| Ok(file.write_all(bytes)?))
    }

    /// As [`TargetRoot::replace`], with what `write` writes. Where that fails, nothing has changed.
    pub fn replace_with(
        &self,
        path: &str,
        attributes: &Attributes,
        write: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<()> {
        let (folder, name) = self.ready(path)?;
        let temporary = temporary(name);
        let put = || -> Result<()> {
            let mut file = create(&folder, &temporary)?;
            write(&mut file)?;
            set(&file, attributes)?;
            file.sync_all()?;
            Ok(renameat(&folder, &temporary, &folder, name)?)
        };
        put()
            .inspect_err(|_| {
                let _ = unlinkat(&folder, &temporary, AtFlags::empty());
            })
            .with_context(|| format!("writing {path}"))
    }

    /// An empty file without a name, on the filesystem of the path.
    pub fn scratch(&self, path: &str) -> Result<File> {
        let (folder, name) = self.ready(path)?;
        let temporary = temporary(name);
        create(&folder, &temporary)
            .and_then(|file| {
                unlinkat(&folder, &temporary, AtFlags::empty())?;
                Ok(file)
            })
            .with_context(|| format!("making a temporary file beside {path}"))
    }

    /// Appends to the regular file at the path.
    pub fn append(&self, path: &str, mut bytes: impl Read) -> Result<()> {
        let mut write = || -> Result<()> {
            let (folder, name) = self.parent(path)?;
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
            std::io::copy(&mut bytes, &mut file)?;
            Ok(file.sync_all()?)
        };
        write().with_context(|| format!("appending to {path}"))
    }

    /// Sets owner, then mode: a change of owner clears setuid.
    pub fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()> {
        let change = || -> Result<()> {
            let (folder, name) = self.parent(path)?;
            // Neither O_PATH nor a pipe's other end may be in the way of fchmod.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
            set(&file, attributes)
        };
        change().with_context(|| format!("setting owner and mode of {path}"))
    }

    /// Sets the owner of a symbolic link itself, or of anything else.
    pub fn set_owner(&self, path: &str, uid: u32, gid: u32) -> Result<()> {
        if !may_give_away() {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        self.parent(path)
            .and_then(|(folder, name)| chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
            .with_context(|| format!("setting the owner of {path}"))
    }

    /// Makes a directory with exactly these attributes. Something there is an error.
    pub fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()> {
        let (folder, name) = self.ready(path)?;
        mkdirat(&folder, name, Mode::from_raw_mode(0o700))
            .with_context(|| format!("making directory {path}"))?;
        self.set_attributes(path, attributes)
    }

    /// Makes a symbolic link with that text. Something there is an error.
    pub fn symlink(&self, text: &str, path: &str) -> Result<()> {
        let (folder, name) = self.ready(path)?;
        symlinkat(text, &folder, name).with_context(|| format!("making the link {path}"))
    }

    /// Gives the file at `target` a second name.
    pub fn hard_link(&self, target: &str, path: &str) -> Result<()> {
        let (folder, name) = self.ready(path)?;
        let (from, old) = self
            .parent(target)
            .with_context(|| format!("looking for {target}"))?;
        linkat(&from, old, &folder, name, AtFlags::empty())
            .with_context(|| format!("making the hard link {path} to {target}"))
    }

    /// Removes whatever stands at the path, a directory with all it holds. Nothing there is fine.
    pub fn remove(&self, path: &str) -> Result<()> {
        match self.parent(path) {
            Ok((folder, name)) => {
                remove_at(folder.as_fd(), name).with_context(|| format!("removing {path}"))
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("removing {path}")),
        }
    }

    /// Moves a directory or file to another place in the root, whose directory is there.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.parent(from)
            .and_then(|(old, old_name)| {
                let (folder, name) = self.parent(to)?;
                renameat(&old, old_name, &folder, name)
            })
            .with_context(|| format!("moving {from} to {to}"))
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Errno> {
        let (above, name) = split(path).ok_or(Errno::INVAL)?;
        Ok((self.resolve(above, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "/" } else { path };
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            how,
        )
    }
}

impl AsFd for TargetRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// No longer than a name may be.
fn temporary(name: &str) -> String {
    format!(".hardway-{name}").chars().take(60).collect()
}

/// A new file for its owner alone, in the place of one that a power cut left.
fn create(folder: &OwnedFd, name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let _ = unlinkat(folder, name, AtFlags::empty());
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
    Ok(File::from(file))
}

/// Directory and name. A path whose last component is no name has none.
fn split(path: &str) -> Option<(&str, &str)> {
    let (above, name) = path.rsplit_once('/')?;
    let is_name = !name.is_empty() && name != "." && name != "..";
    is_name.then_some((above, name))
}

fn set(file: impl AsFd, attributes: &Attributes) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    if may_give_away() {
        fchown(&file, Some(uid), Some(gid)).context("chown")?;
    }
    fchmod(&file, Mode::from_raw_mode(attributes.mode)).context("chmod")
}

/// PID 1 is root. Whoever runs the tests need not be, and keeps what is made.
fn may_give_away() -> bool {
    rustix::process::geteuid().is_root()
}

fn remove_at(folder: impl AsFd, name: &str) -> Result<()> {
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
    for entry in names(&inside)? {
        remove_at(&inside, &entry)?;
    }
    Ok(unlinkat(&folder, name, AtFlags::REMOVEDIR)?)
}

fn names(folder: &OwnedFd) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            bail!("the name {:?} is not UTF-8", entry.file_name());
        };
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[path = "root_tests.rs"]
pub mod tests;
