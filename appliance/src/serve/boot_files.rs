//! Boot files by name, for TFTP and HTTP: those of the payload, and those that are composed for the
//! machine that asks.
//!
//! A name leads to a file of the payload's boot folder or nowhere: it is compared, never resolved.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::content::Content;
use super::grub_scripts;
use crate::context::Context;

/// Files that are kept open. The payload has a dozen; a folder with more is opened anew by and by.
const MOST_OPEN: usize = 64;

/// Why there is nothing to be served.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// No boot file has this name.
    #[error("there is no boot file {0}")]
    Unknown(String),
    /// There is such a file, but not for this machine, or not now.
    #[error("{0}")]
    Refused(String),
    /// It could not be opened.
    #[error("opening the boot file {name}: {source}")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Opens a boot file for the machine at `peer`: one of the payload, else one that is made for it. What
/// is made may be recorded, so that this may take a commit of the journal.
pub async fn open(context: &Context, name: &str, peer: IpAddr) -> Result<Content, Missing> {
    match context.boot_files.stored(name) {
        Err(Missing::Unknown(_)) => composed(context, name, peer).await,
        found => found,
    }
}

/// Files that are no file of the payload, in the order of who is asked: each says `None` to names
/// that are not its own.
async fn composed(context: &Context, name: &str, peer: IpAddr) -> Result<Content, Missing> {
    if let Some(made) = grub_scripts::open(context, name, peer).await {
        return made;
    }
    Err(Missing::Unknown(name.to_owned()))
}

/// The payload's boot files, kept open and shared by everybody who is served.
#[derive(Debug)]
pub struct BootFiles {
    folder: PathBuf,
    open: Mutex<HashMap<String, Open>>,
}

#[derive(Debug)]
struct Open {
    version: Version,
    content: Content,
}

/// What tells one file under a name from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl BootFiles {
    /// Those of a folder.
    pub fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    /// The payload's file of this name: one plain name, without folders.
    ///
    /// Two calls give the same open file for as long as the file under the name is the same.
    pub fn stored(&self, name: &str) -> Result<Content, Missing> {
        if !is_plain(name) {
            return Err(Missing::Unknown(name.to_owned()));
        }
        self.look_up(name).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Missing::Unknown(name.to_owned()),
            _ => Missing::Unreadable {
                name: name.to_owned(),
                source,
            },
        })
    }

    fn look_up(&self, name: &str) -> io::Result<Content> {
        let path = self.folder.join(name);
        let version = Version::of(&regular(&path)?);
        // Whoever panicked while holding the lock left a complete map behind.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(name)
            && known.version == version
        {
            return Ok(known.content.clone());
        }
        let file = File::open(&path)?;
        let opened = Open {
            version: Version::of(&file.metadata()?),
            content: Content::file(file)?,
        };
        let content = opened.content.clone();
        if open.len() >= MOST_OPEN {
            open.clear();
        }
        open.insert(name.to_owned(), opened);
        Ok(content)
    }
}

/// Folders, pipes and devices are no boot files; opening a pipe would wait for its other end.
fn regular(path: &Path) -> io::Result<Metadata> {
    let metadata = std::fs::metadata(path)?;
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::content::Piece;
    use super::*;

    fn text(content: &Content) -> String {
        let mut bytes = vec![0; content.size() as usize];
        content.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn file(content: &Content) -> Arc<File> {
        match content.pieces() {
            [Piece::File { file, .. }] => Arc::clone(file),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_lead_to_files_of_the_folder_or_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let boot = folder.path().join("boot");
        std::fs::create_dir_all(boot.join("sub")).unwrap();
        std::fs::write(boot.join("snponly.efi"), "iPXE").unwrap();
        std::fs::write(boot.join(".hidden"), "").unwrap();
        std::fs::write(boot.join("sub/inner"), "").unwrap();
        std::fs::write(folder.path().join("secret"), "").unwrap();
        let files = BootFiles::of(boot);
        assert_eq!(text(&files.stored("snponly.efi").unwrap()), "iPXE");
        for name in [
            "",
            ".",
            "..",
            "../secret",
            "sub",
            "sub/inner",
            "/snponly.efi",
            "./snponly.efi",
            ".hidden",
            "snponly.efi/",
            "snponly.efi\0",
            "SNPONLY.EFI",
            "nothing",
        ] {
            let found = files.stored(name);
            assert!(
                matches!(found, Err(Missing::Unknown(_))),
                "{name:?}: {found:?}"
            );
        }
    }

    #[test]
    fn a_file_is_opened_once_and_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz");
        std::fs::write(&path, "old").unwrap();
        let files = BootFiles::of(folder.path().to_owned());
        let first = files.stored("vmlinuz").unwrap();
        let second = files.stored("vmlinuz").unwrap();
        assert!(Arc::ptr_eq(&file(&first), &file(&second)));

        std::fs::write(folder.path().join("new"), "newer").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(text(&files.stored("vmlinuz").unwrap()), "newer");
        assert_eq!(
            text(&first),
            "old",
            "who began with the old file ends with it"
        );

        std::fs::remove_file(&path).unwrap();
        assert!(matches!(files.stored("vmlinuz"), Err(Missing::Unknown(_))));
    }
}
