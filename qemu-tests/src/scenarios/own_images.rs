//! Labs whose scenario makes the images: a folder with a cluster file and `images`, beside the lab's own,
//! which is cleared when the lab is made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::LabOptions;

/// The folder, empty but for a folder `images`.
pub fn folder(options: &LabOptions, name: &str) -> Result<PathBuf> {
    let folder = options.artifacts.folder().join("lab").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    let images = folder.join("images");
    fs::create_dir_all(&images).with_context(|| format!("creating {}", images.display()))?;
    Ok(folder)
}

/// Has the lab serve the cluster file in `configs/NAME`, with all machines that it declares.
pub fn serve(options: &mut LabOptions, name: &str, folder: &Path) -> Result<()> {
    let config = Path::new("configs").join(name);
    for file in ["cluster.yaml", "base.bu"] {
        fs::copy(config.join(file), folder.join(file))
            .with_context(|| format!("copying {file} of {}", config.display()))?;
    }
    options.cluster = folder.join("cluster.yaml");
    options.nodes = None;
    Ok(())
}
