//! `hardway image import`: brings an OS image into the form that it is installed from.

use std::path::{Path, PathBuf};

use hardway_model::identity::Sha256;
use hardway_model::quantity::ByteSize;

use crate::imported;

/// What is imported.
#[derive(clap::Args)]
pub struct Import {
    /// A whole disk: raw, or packed as its name's ending says (.zst, .gz, .xz, .bz2)
    file: PathBuf,
    /// The image store; without it, the folder of the file
    #[arg(long, value_name = "DIR")]
    images_dir: Option<PathBuf>,
    /// What the file has to be: as `sha256:` in cluster.yaml says, and `sha256sum` prints
    #[arg(long, value_name = "HEX")]
    sha256: Option<Sha256>,
}

/// Imports, and says what came of it.
pub fn import(arguments: &Import) -> anyhow::Result<()> {
    let file = &arguments.file;
    let beside = file.parent().filter(|folder| *folder != Path::new(""));
    let folder = arguments.images_dir.as_deref().or(beside);
    let folder = folder.unwrap_or(Path::new("."));
    let imported = imported::import(file, folder, arguments.sha256)?;
    let index = imported.index();
    let holes = index.chunks().iter().filter(|chunk| chunk.is_hole());
    println!(
        "{}: a disk of {} in {} chunks, of which {} are empty; {} in {}; sha256: {}",
        file.display(),
        ByteSize(index.size()),
        index.chunks().len(),
        holes.count(),
        ByteSize(index.stored_size()),
        folder.display(),
        index.image()
    );
    Ok(())
}
