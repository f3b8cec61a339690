//! The OS images in the store, hashed in the background so that a bad one is known early.
//!
//! This warns and never blocks: the agent verifies what it writes in any case.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use hardway_model::cluster::{Cluster, Image, ImageSource};
use hardway_model::identity::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::context::Context;
use crate::imported::Imported;
use crate::journal::{Journal, Write};

/// How often the store is compared with the cluster.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is wrong with images, one line for each.
#[derive(Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// The warnings of the last look.
    pub fn list(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    fn replace(&self, warnings: Vec<String>) -> bool {
        let mut current = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let changed = *current != warnings;
        *current = warnings;
        changed
    }
}

/// Looks at the store again and again.
pub async fn run(context: Context) -> anyhow::Result<()> {
    loop {
        let snapshot = context.fleet.snapshot();
        if let Some(cluster) = snapshot.cluster.clone() {
            let folder = context.options.images.clone();
            let journal = context.fleet.journal().clone();
            let look = move || look(&cluster, &folder, &journal);
            let warnings = tokio::task::spawn_blocking(look).await??;
            for warning in &warnings {
                if !context.images.list().contains(warning) {
                    tracing::warn!("{warning}");
                }
            }
            if context.images.replace(warnings) {
                context.fleet.announce("");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Whether the file of an image is there at all.
pub fn is_present(folder: &Path, file: &str) -> bool {
    folder.join(file).is_file()
}

/// The SHA-256 of a file.
pub fn sha256(path: &Path) -> anyhow::Result<Sha256> {
    hash(path).map(|known| known.sha256)
}

/// Tells that a file is not the one that cluster.yaml means.
pub fn mismatch(image: &Image, file: &str, sha256: Sha256) -> String {
    format!(
        "image {}: {file} has SHA-256 {sha256}, cluster.yaml says {}",
        image.name, image.sha256
    )
}

/// A hash that was computed once, good as long as size and time are the same.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Known {
    size: u64,
    modified: u128,
    sha256: Sha256,
}

fn look(cluster: &Cluster, folder: &Path, journal: &Journal) -> anyhow::Result<Vec<String>> {
    let remembered = journal.read()?.meta;
    let mut warnings = Vec::new();
    for image in &cluster.images {
        match Imported::find(folder, image.sha256) {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => {
                warnings.push(format!("image {}: {error:#}", image.name));
                continue;
            }
        }
        let ImageSource::File(file) = &image.source else {
            continue;
        };
        let path = folder.join(file);
        if !path.is_file() {
            warnings.push(format!(
                "image {}: there is no {file} in the image store",
                image.name
            ));
            continue;
        }
        let key = format!("image/{file}");
        let known = remembered.get(&key).map(Vec::as_slice).unwrap_or_default();
        let known: Option<Known> = serde_json::from_slice(known).ok();
        let sha256 = match known.filter(|known| fits(&path, known)) {
            Some(known) => known.sha256,
            None => {
                let known = hash(&path)?;
                journal.append(vec![Write::Meta(key, serde_json::to_vec(&known)?)]);
                known.sha256
            }
        };
        if sha256 != image.sha256 {
            warnings.push(mismatch(image, file, sha256));
        }
    }
    Ok(warnings)
}

fn stamp(path: &Path) -> Option<(u64, u128)> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), modified.as_nanos()))
}

fn fits(path: &Path, known: &Known) -> bool {
    stamp(path) == Some((known.size, known.modified))
}

fn hash(path: &Path) -> anyhow::Result<Known> {
    let hashing = || format!("hashing {}", path.display());
    let (size, modified) = stamp(path).with_context(hashing)?;
    let mut file = File::open(path).with_context(hashing)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).with_context(hashing)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(Known {
        size,
        modified,
        sha256: Sha256(hasher.finalize().into()),
    })
}
