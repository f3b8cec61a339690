//! The folder that Butane's `local:` and `trees:` look into.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hardway_ignition::butane::{LocalFiles, TreeEntry, TreeNode};

/// A folder. A symbolic link that leads out of it is refused.
#[derive(Debug, Clone)]
pub struct LocalFolder(pub PathBuf);

impl LocalFolder {
    fn resolve(&self, path: &str) -> Result<PathBuf, String> {
        let told = |error: std::io::Error| format!("{path}: {error}");
        let root = std::fs::canonicalize(&self.0).map_err(told)?;
        let resolved = std::fs::canonicalize(root.join(path)).map_err(told)?;
        match resolved.starts_with(&root) {
            true => Ok(resolved),
            false => Err(format!("{path} leads out of {}", self.0.display())),
        }
    }
}

impl LocalFiles for LocalFolder {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.resolve(path)?).map_err(|error| format!("{path}: {error}"))
    }

    fn list(&self, path: &str) -> Result<Vec<TreeEntry>, String> {
        let mut entries = Vec::new();
        walk(&self.resolve(path)?, "", &mut entries).map_err(|error| format!("{path}: {error}"))?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}

fn walk(folder: &Path, prefix: &str, entries: &mut Vec<TreeEntry>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.path().symlink_metadata()?;
        let node = if metadata.is_dir() {
            walk(&entry.path(), &format!("{path}/"), entries)?;
            continue;
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(entry.path())?;
            TreeNode::Symlink {
                target: target.to_string_lossy().into_owned(),
            }
        } else {
            TreeNode::File {
                executable: metadata.permissions().mode() & 0o100 != 0,
            }
        };
        entries.push(TreeEntry { path, node });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_listed_and_nothing_outside_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("files");
        std::fs::create_dir_all(inside.join("tree/sub")).unwrap();
        std::fs::write(inside.join("tree/sub/b"), "b").unwrap();
        std::fs::write(inside.join("tree/a"), "a").unwrap();
        std::fs::set_permissions(
            inside.join("tree/a"),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        std::os::unix::fs::symlink("a", inside.join("tree/link")).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("out")).unwrap();

        let files = LocalFolder(inside);
        assert_eq!(files.read("tree/a").unwrap(), b"a");
        let listed = files.list("tree").unwrap();
        let paths: Vec<&str> = listed.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["a", "link", "sub/b"]);
        assert_eq!(listed[0].node, TreeNode::File { executable: true });
        assert_eq!(listed[1].node, TreeNode::Symlink { target: "a".into() });
        for path in ["out", "../secret", "missing"] {
            assert!(files.read(path).unwrap_err().contains(path), "{path}");
        }
    }
}
