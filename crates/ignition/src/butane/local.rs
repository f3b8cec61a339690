//! Files beside a Butane text, reached through the caller.

/// Where `local:` and `trees:` look. Paths are relative to one folder, with `/`, and never lead out
/// of it: that is checked before these functions are called; links are the implementation's to follow
/// or refuse.
pub trait LocalFiles {
    /// The bytes of a file.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, as it is to be shown.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// Every file and symbolic link under a folder, sorted by path; directories are not listed.
    ///
    /// # Errors
    ///
    /// Why it cannot be listed, as it is to be shown.
    fn list(&self, path: &str) -> Result<Vec<TreeEntry>, String>;
}

/// A file or symbolic link in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the tree.
    pub path: String,
    /// What it is.
    pub node: TreeNode,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: String,
    },
}

/// No folder: every local reference is a problem.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLocalFiles;

impl LocalFiles for NoLocalFiles {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("local files are not available here".to_owned())
    }

    fn list(&self, _path: &str) -> Result<Vec<TreeEntry>, String> {
        Err("local files are not available here".to_owned())
    }
}

/// A path under the folder in its shortest form; `None` where it leads out.
pub(super) fn inside(path: &str) -> Option<String> {
    let clean = crate::paths::clean(path);
    let leads_out = clean.starts_with('/') || clean == ".." || clean.starts_with("../");
    (!leads_out).then_some(clean)
}
