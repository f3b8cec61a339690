//! `hardway check` and `hardway schema`: judge files, without an appliance.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use hardway_model::cluster::{self, Cluster, ImageSource};

use crate::imported::Imported;
use crate::{configuration, images, planning, render};

/// What is judged.
#[derive(clap::Args)]
pub struct Arguments {
    /// The cluster's file; config parts are looked for beside it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Look in this folder for the images that the file names, and compare their SHA-256
    #[arg(long, value_name = "DIR")]
    images_dir: Option<PathBuf>,
}

/// Prints every problem; exit status 1 when there is one.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cluster = match configuration::read(&arguments.file) {
        Ok(cluster) => cluster,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut problems = configurations(&arguments.file, &cluster);
    if let Some(folder) = &arguments.images_dir {
        problems.extend(stored_images(folder, &cluster)?);
    }
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    match problems.len() {
        0 => {
            println!("{}", summary(&cluster));
            Ok(ExitCode::SUCCESS)
        }
        1 => {
            eprintln!("1 error; nothing was changed");
            Ok(ExitCode::FAILURE)
        }
        count => {
            eprintln!("{count} errors; nothing was changed");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Prints the JSON Schema.
pub fn schema() -> anyhow::Result<()> {
    let schema = serde_json::to_string_pretty(&cluster::json_schema());
    println!("{}", schema.context("encoding the schema")?);
    Ok(())
}

/// Renders, compiles and judges every machine's configuration, as far as that goes without hardware. The same mistake of several machines is told
/// once, with the first machine's name.
fn configurations(file: &Path, cluster: &Cluster) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for machine in &cluster.machines {
        if let Err(problem) = render::check(file, cluster, machine)
            && !problems.contains(&problem)
        {
            problems.push(problem);
        }
    }
    problems
}

fn stored_images(folder: &Path, cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for image in &cluster.images {
        let imported = Imported::find(folder, image.sha256).and_then(|found| {
            found.iter().try_for_each(Imported::check)?;
            Ok(found)
        });
        match imported {
            Ok(Some(imported)) => {
                let checked = planning::check_image(&image.desired(), folder, Some(&imported));
                problems.extend(checked.err());
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                problems.push(format!("image {}: {error:#}", image.name));
                continue;
            }
        }
        let file = match &image.source {
            ImageSource::File(file) => file,
            ImageSource::Url(url) if url.starts_with("https:") => {
                problems.push(format!(
                    "image {}: {url} is not imported into {}: `hardway image import` does it",
                    image.name,
                    folder.display()
                ));
                continue;
            }
            // The machines fetch it, and compare it.
            ImageSource::Url(_) => continue,
        };
        let path = folder.join(file);
        if !images::is_present(folder, file) {
            problems.push(format!(
                "image {}: there is no {file} in {}",
                image.name,
                folder.display()
            ));
            continue;
        }
        let sha256 = images::sha256(&path)?;
        if sha256 != image.sha256 {
            problems.push(images::mismatch(image, file, sha256));
        }
        problems.extend(planning::check_image(&image.desired(), &path, None).err());
    }
    Ok(problems)
}

fn summary(cluster: &Cluster) -> String {
    format!(
        "cluster {}: {} machines, {} profiles, {} images; no errors",
        cluster.name,
        cluster.machines.len(),
        cluster.profiles.len(),
        cluster.images.len()
    )
}
