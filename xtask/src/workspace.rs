//! Where things stand in the workspace: recipes, outputs, the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The folder of one image's recipe.
pub fn recipe(image: &str) -> PathBuf {
    root().join("images").join(image)
}

/// The folder that everything built is put into; git ignores it.
pub fn out() -> PathBuf {
    root().join("out")
}

/// What is downloaded, and scratch work that is worth keeping.
pub fn cache() -> PathBuf {
    out().join("cache")
}

/// Keeps other runs of this tool from building into the same folder, until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct BuildLock(
    #[expect(dead_code, reason = "the lock lasts as long as the file is open")] File,
);

/// Waits until no other run is building.
pub fn lock() -> Result<BuildLock> {
    let folder = out();
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!(
            "waiting for another run that is building into {}",
            folder.display()
        );
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(BuildLock(file))
}
