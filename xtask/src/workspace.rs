//! Where things stand in the workspace: recipes, outputs, the cache.

use std::path::{Path, PathBuf};

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
