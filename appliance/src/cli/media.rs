//! `hardway media compose`: a flashable disk from the appliance's image, a cluster.yaml, and the OS
//! images that it names, imported. It runs on the operator's computer, without root, and spawns mtools and
//! mke2fs.

mod disk;
mod filesystems;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use hardway_model::cluster::{Cluster, ImageSource};
use hardway_model::identity::Sha256;

use crate::imported::{self, Imported};
use crate::{configuration, download, images, render};
use disk::Disk;

/// The folder beside cluster.yaml for files that config parts take in whole.
const LOCAL_FILES: &str = "files";

/// What a disk is made from.
#[derive(clap::Args)]
pub struct Compose {
    /// The appliance's image, as it is built or released; it is not changed
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// The cluster's file; config parts are taken from beside it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the OS images are, that the cluster's file names
    #[arg(long, value_name = "DIR", default_value = ".")]
    images_dir: PathBuf,
    /// The disk to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Size of the disk in bytes; without it, what the images need and 256 MiB
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// A file with the token that writes through the API need; without it, the appliance makes one
    #[arg(long, value_name = "FILE")]
    admin_token: Option<PathBuf>,
    /// Do not compare the images with the SHA-256 in the cluster's file, and put them on the disk as they
    /// are, not imported
    #[arg(long)]
    no_verify_images: bool,
}

/// Checks everything, then makes the disk. Nothing is left behind when it fails.
pub fn run(arguments: &Compose) -> anyhow::Result<()> {
    let cluster = read(&arguments.config)?;
    let images = find_images(&cluster, &arguments.images_dir, !arguments.no_verify_images)?;
    let folder = arguments
        .output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let scratch = Scratch::new(folder.unwrap_or(Path::new(".")))?;
    stage_configuration(arguments, &cluster, &scratch.join("config"))?;
    check_machines(&cluster, &scratch.join("config/cluster.yaml"))?;
    stage_images(&images, &scratch.join("data/images"))?;

    let unfinished = scratch.join("disk");
    compose(arguments, &scratch, &unfinished)
        .with_context(|| format!("composing {}", arguments.output.display()))?;
    fs::rename(&unfinished, &arguments.output)
        .with_context(|| format!("writing {}", arguments.output.display()))?;
    println!(
        "{}: cluster {}, {} machines, {} images",
        arguments.output.display(),
        cluster.name,
        cluster.machines.len(),
        cluster.images.len()
    );
    Ok(())
}

fn compose(arguments: &Compose, scratch: &Scratch, output: &Path) -> anyhow::Result<()> {
    let content = filesystems::content(&scratch.join("data"))?;
    let disk = Disk::copy(&arguments.image, output, arguments.size, content)?;
    let config = scratch.join("config.fat");
    filesystems::make_fat(&config, disk.config.length, &scratch.join("config"))?;
    disk.write_config(&config)?;
    filesystems::make_ext4(output, &disk.data, &scratch.join("data"))
}

fn read(file: &Path) -> anyhow::Result<Cluster> {
    configuration::read(file).map_err(|problems| anyhow!("{problems}"))
}

/// Makes every machine's configuration, as the appliance will, from the very files that it will have.
fn check_machines(cluster: &Cluster, staged: &Path) -> anyhow::Result<()> {
    let mut problems: Vec<String> = Vec::new();
    for machine in &cluster.machines {
        if let Err(problem) = render::check(staged, cluster, machine)
            && !problems.contains(&problem)
        {
            problems.push(problem);
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("{}", problems.join("\n"))
    }
}

/// What an OS image comes onto the disk as.
enum FoundImage {
    /// A file of the image store under this name: one of the two of an imported image, or an image that
    /// is not to be compared with anything.
    File { name: String, path: PathBuf },
    /// An image that is still to be imported.
    Original { path: PathBuf, sha256: Sha256 },
    /// One that is still to be fetched, too.
    Remote { url: String, sha256: Sha256 },
}

fn find_images(cluster: &Cluster, folder: &Path, verify: bool) -> anyhow::Result<Vec<FoundImage>> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    let mut problems = Vec::new();
    for image in &cluster.images {
        let file = match &image.source {
            ImageSource::File(file) => file,
            ImageSource::Url(url) => {
                if known.insert(image.sha256.to_string()) {
                    found.extend(by_url(url, image.sha256, folder)?);
                }
                continue;
            }
        };
        // Two names of one image are one import, and without a comparison two files.
        let name = match verify {
            true => image.sha256.to_string(),
            false => file.clone(),
        };
        if !known.insert(name) {
            continue;
        }
        let imported = match verify || !images::is_present(folder, file) {
            true => Imported::find(folder, image.sha256)?,
            false => None,
        };
        if let Some(imported) = imported {
            if verify {
                imported.check()?;
            }
            found.extend(both_files(image.sha256, folder));
            continue;
        }
        // Symbolic links are followed: the file itself has to be on the disk.
        let Ok(path) = fs::canonicalize(folder.join(file)) else {
            problems.push(format!(
                "image {}: there is no {file} in {}",
                image.name,
                folder.display()
            ));
            continue;
        };
        if !verify {
            let name = file.clone();
            found.push(FoundImage::File { name, path });
            continue;
        }
        let sha256 = images::sha256(&path)?;
        match sha256 == image.sha256 {
            true => found.push(FoundImage::Original { path, sha256 }),
            false => problems.push(images::mismatch(image, file, sha256)),
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(found)
}

fn both_files(sha256: Sha256, folder: &Path) -> [FoundImage; 2] {
    imported::files(sha256).map(|name| FoundImage::File {
        path: folder.join(&name),
        name,
    })
}

/// An image by URL, where it is imported, or has to be because machines fetch by plain HTTP only. What
/// they can fetch by themselves they do.
fn by_url(url: &str, sha256: Sha256, folder: &Path) -> anyhow::Result<Vec<FoundImage>> {
    if let Some(imported) = Imported::find(folder, sha256)? {
        imported.check()?;
        return Ok(both_files(sha256, folder).into());
    }
    let remote = || FoundImage::Remote {
        url: url.to_owned(),
        sha256,
    };
    Ok(url.starts_with("https:").then(remote).into_iter().collect())
}

/// What goes onto the CONFIG partition: cluster.yaml, the parts that it names, at the places where
/// it names them, and the folder of local files. Symbolic links are followed: FAT has none.
fn stage_configuration(arguments: &Compose, cluster: &Cluster, stage: &Path) -> anyhow::Result<()> {
    let beside = arguments.config.parent().unwrap_or(Path::new(""));
    copy(&arguments.config, &stage.join("cluster.yaml"))?;
    for part in cluster.profiles.iter().flat_map(|profile| &profile.config) {
        let is_plain = Path::new(part)
            .components()
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
        ensure!(
            is_plain,
            "config part {part} is not inside the folder of cluster.yaml"
        );
        copy(&beside.join(part), &stage.join(part))?;
    }
    let local = beside.join(LOCAL_FILES);
    if local.is_dir() {
        copy_folder(&local, &stage.join(LOCAL_FILES))?;
    }
    if let Some(token) = &arguments.admin_token {
        copy(token, &stage.join("admin-token"))?;
    }
    Ok(())
}

fn stage_images(images: &[FoundImage], stage: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(stage).with_context(|| format!("making {}", stage.display()))?;
    for image in images {
        match image {
            FoundImage::File { name, path } => link(path, &stage.join(name))?,
            FoundImage::Original { path, sha256 } => {
                eprintln!("importing {}", path.display());
                imported::import(path, stage, Some(*sha256))?;
            }
            FoundImage::Remote { url, sha256 } => {
                eprintln!("fetching and importing {url}");
                let fetched = download::image(url, stage)?;
                imported::import(&fetched.path, stage, Some(*sha256))?;
            }
        }
    }
    Ok(())
}

/// A hard link costs nothing, where the filesystem is the same and the kernel allows it. Of a symbolic
/// link it would be one more symbolic link, leading nowhere on the appliance.
fn link(path: &Path, to: &Path) -> anyhow::Result<()> {
    let finding = || format!("finding {}", path.display());
    let from = fs::canonicalize(path).with_context(finding)?;
    match fs::hard_link(&from, to) {
        Ok(()) => Ok(()),
        // To copy onto a link to the very same file would empty it.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("linking {} twice", path.display()))
        }
        Err(_) => copy(&from, to),
    }
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let path = entry
            .with_context(|| format!("listing {}", from.display()))?
            .path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?
        } else {
            copy(&path, &target)?
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

/// A folder beside the output, so that files can be linked into it and out of it; it may hold the
/// token, and goes when this ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(format!(".hardway-compose-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("removing {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests;
