//! What the image store has for a machine.

use std::path::Path;

use hardway_model::cluster::{Cluster, ImageSource, Machine};
use hardway_model::desired::{Compression, ConfigApplier, DesiredImage};
use hardway_model::inventory;

use super::image::ImageTable;
use super::own_ignition;
use crate::context::Context;
use crate::images;
use crate::imported::Imported;

/// Judges an image file by its head, without a machine: one that brings Ignition along has to have
/// the partition on which its configuration is left. Sectors are taken to be of 512 bytes, the usual.
pub fn check_image(
    image: &DesiredImage,
    file: &Path,
    imported: Option<&Imported>,
) -> Result<(), String> {
    if image.config == ConfigApplier::Agent {
        return Ok(());
    }
    let table = table_of(imported, Some((file, image.compression)), 512);
    match table.map_err(|error| format!("image `{}`: {error:#}", image.name))? {
        Some(table) => own_ignition::check_layout(image, &table),
        None => Ok(()),
    }
}

/// The table of what was imported, else of a file, else none.
fn table_of(
    imported: Option<&Imported>,
    file: Option<(&Path, Compression)>,
    sector_size: u32,
) -> anyhow::Result<Option<ImageTable>> {
    match (imported, file) {
        (Some(imported), _) => ImageTable::of(imported.content()?, sector_size).map(Some),
        (None, Some((file, compression))) => {
            ImageTable::read(file, compression, sector_size).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// The table of the machine's image; `None` where it comes from a URL.
pub fn image_table(
    context: &Context,
    cluster: &Cluster,
    machine: &Machine,
    imported: Option<&Imported>,
    system: &inventory::Disk,
) -> Result<Option<ImageTable>, String> {
    let file = image_file(cluster, machine);
    let file = file.map(|file| {
        (
            context.options.images.join(file),
            Compression::of_file_name(file),
        )
    });
    let file = file
        .as_ref()
        .map(|(path, compression)| (path.as_path(), *compression));
    let table = table_of(imported, file, system.sector_size);
    table.map_err(|error| format!("the image of profile `{}`: {error:#}", machine.profile))
}

fn image_file<'a>(cluster: &'a Cluster, machine: &Machine) -> Option<&'a str> {
    let profile = cluster.profile(&machine.profile)?;
    match &cluster.image(&profile.image)?.source {
        ImageSource::File(file) => Some(file),
        ImageSource::Url(_) => None,
    }
}

/// What an image needs that was not imported has to be there.
pub fn present(context: &Context, cluster: &Cluster, machine: &Machine) -> Result<(), String> {
    let profile = cluster.profile(&machine.profile);
    let image = profile.and_then(|profile| cluster.image(&profile.image));
    match image.map(|image| &image.source) {
        Some(ImageSource::File(file)) if !images::is_present(&context.options.images, file) => Err(
            format!("the image store lacks {file}, which {} needs", machine.name),
        ),
        Some(ImageSource::Url(url)) if url.starts_with("https:") => Err(format!(
            "the image store lacks {url}, which {} needs: it has to be imported (`hardway image import {url}`), \
             because machines fetch images by plain HTTP only",
            machine.name
        )),
        _ => Ok(()),
    }
}
