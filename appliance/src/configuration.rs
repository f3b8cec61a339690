//! cluster.yaml as it stands on disk, and the watch over it.
//!
//! A broken file never replaces a good one that is being served; at the start it means that nobody
//! is served. Config parts are read at the moment they are needed, so only cluster.yaml is watched.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use hardway_model::cluster::{self, Cluster};

use crate::context::Context;
use crate::fleet::Fleet;

/// How often the file is looked at. FAT keeps times to two seconds.
const INTERVAL: Duration = Duration::from_secs(2);

/// Reads and judges a cluster file; the error is what `hardway check` prints.
pub fn read(path: &Path) -> Result<Cluster, String> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "there is no {}; put one onto the partition CONFIG",
            path.display()
        ),
        std::io::ErrorKind::InvalidData => format!("{} is not UTF-8 text", path.display()),
        _ => format!("reading {}: {error}", path.display()),
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    cluster::parse(&text, &name.to_string_lossy()).map_err(|diagnostics| diagnostics.to_string())
}

/// Reads the file and hands the outcome to the fleet.
pub async fn load_into(fleet: &Fleet, path: &Path) -> anyhow::Result<()> {
    match read(path) {
        Ok(cluster) => {
            tracing::info!("serving cluster {} from {}", cluster.name, path.display());
            fleet.configure(Some(Arc::new(cluster)), Vec::new()).await
        }
        Err(problems) => {
            tracing::error!("{} is not served:\n{problems}", path.display());
            fleet.configure(None, vec![problems]).await
        }
    }
}

/// Loads the file again whenever it changed.
pub async fn watch(context: Context) -> anyhow::Result<()> {
    let path = &context.options.config;
    let mut seen = stamp(path);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = stamp(path);
        if now != seen {
            load_into(&context.fleet, path).await?;
            seen = now;
        }
    }
}

/// What changes when a file is written. Content is not compared: a saved file is meant.
pub fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The folder of cluster.yaml, which holds its config parts.
pub fn folder(config: &Path) -> &Path {
    match config.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Reads a config part by the path that cluster.yaml gives, which cannot leave the file's folder.
pub fn read_part(config: &Path, part: &str) -> anyhow::Result<String> {
    let path = part_path(config, part)?;
    std::fs::read_to_string(&path).with_context(|| format!("reading config part {part}"))
}

fn part_path(config: &Path, part: &str) -> anyhow::Result<PathBuf> {
    let folder = folder(config);
    let is_plain = Path::new(part)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    anyhow::ensure!(
        is_plain,
        "config part {part} is not inside the folder of cluster.yaml"
    );
    let resolve = |path: &Path| {
        let resolved = std::fs::canonicalize(path);
        resolved.with_context(|| format!("looking for config part {part}"))
    };
    let path = resolve(&folder.join(part))?;
    // A symbolic link could lead out where the text does not.
    anyhow::ensure!(
        path.starts_with(resolve(folder)?),
        "config part {part} leads out of the folder of cluster.yaml"
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("cluster");
        std::fs::create_dir_all(inside.join("roles")).unwrap();
        std::fs::write(inside.join("roles/base.bu"), "variant: fcos\n").unwrap();
        std::fs::write(folder.path().join("secret"), "not yours\n").unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("link.bu")).unwrap();
        let config = inside.join("cluster.yaml");

        assert_eq!(
            read_part(&config, "roles/base.bu").unwrap(),
            "variant: fcos\n"
        );
        for part in [
            "../secret",
            "/etc/hostname",
            "roles/../../secret",
            "link.bu",
        ] {
            let error = format!("{:#}", read_part(&config, part).unwrap_err());
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("not yours"), "{error}");
        }
    }

    #[test]
    fn problems_name_the_file_and_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.yaml");
        assert!(read(&path).unwrap_err().contains("there is no"));
        std::fs::write(&path, "version: 1\nclutser: {name: lab}\n").unwrap();
        let problems = read(&path).unwrap_err();
        assert!(problems.contains("cluster.yaml:2:1"), "{problems}");
    }
}
