//! Writing an image onto a device, and reading it back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{process, progress};

const CHUNK: usize = 4 << 20;

/// Writes `image` to the start of `device`, and compares what the device then gives back.
pub fn write(image: &Path, device: &Path) -> Result<()> {
    let length = image
        .metadata()
        .with_context(|| format!("reading {}", image.display()))?
        .len();
    copy(image, device, length).with_context(|| format!("writing to {}", device.display()))?;
    forget_cache(device)?;
    compare(image, device, length).with_context(|| format!("reading {} back", device.display()))
}

fn copy(image: &Path, device: &Path, length: u64) -> Result<()> {
    let step = progress::bytes("writing", length);
    let mut source = File::open(image)?;
    let mut target = File::options().write(true).open(device)?;
    let mut buffer = vec![0; CHUNK];
    for size in chunks(length) {
        source.read_exact(&mut buffer[..size])?;
        target.write_all(&buffer[..size])?;
        step.advance(size as u64);
    }
    // Only now has everything left this machine, and only now are most errors seen.
    target.sync_all().context("waiting for the device")?;
    step.done(&progress::size(length));
    Ok(())
}

/// Makes the kernel forget what it knows of the device, or it would answer from memory.
fn forget_cache(device: &Path) -> Result<()> {
    let kind = device
        .metadata()
        .with_context(|| format!("reading {}", device.display()))?
        .file_type();
    if kind.is_block_device() {
        process::run(
            process::system_tool("blockdev")
                .arg("--flushbufs")
                .arg(device),
        )?;
    }
    Ok(())
}

/// Compares bytes, which is cheaper than hashing them, and says where the first difference is.
fn compare(image: &Path, device: &Path, length: u64) -> Result<()> {
    let step = progress::bytes("reading back", length);
    let (mut expected, mut found) = (File::open(image)?, File::open(device)?);
    let (mut one, mut other) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut position = 0;
    for size in chunks(length) {
        expected.read_exact(&mut one[..size])?;
        found.read_exact(&mut other[..size])?;
        if one[..size] != other[..size] {
            let offset = one
                .iter()
                .zip(&other)
                .take_while(|(one, other)| one == other)
                .count();
            bail!(
                "byte {} is not what was written: the device is broken",
                position + offset as u64
            );
        }
        position += size as u64;
        step.advance(size as u64);
    }
    step.done("the same as the image");
    Ok(())
}

fn chunks(length: u64) -> impl Iterator<Item = usize> {
    let size = CHUNK as u64;
    (0..length.div_ceil(size)).map(move |index| size.min(length - index * size) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_image_stands_at_the_start_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (image, device) = (folder.path().join("image"), folder.path().join("device"));
        let content: Vec<u8> = (0..CHUNK + 1000).map(|index| (index % 251) as u8).collect();
        fs::write(&image, &content).unwrap();
        fs::write(&device, vec![7; CHUNK + 5000]).unwrap();
        write(&image, &device).unwrap();
        let found = fs::read(&device).unwrap();
        assert_eq!(found[..content.len()], content);
        assert!(found[content.len()..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn one_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (image, device) = (folder.path().join("image"), folder.path().join("device"));
        fs::write(&image, [1; 100]).unwrap();
        fs::write(&device, [0; 200]).unwrap();
        copy(&image, &device, 100).unwrap();
        compare(&image, &device, 100).unwrap();
        let mut content = fs::read(&device).unwrap();
        content[99] ^= 1;
        fs::write(&device, content).unwrap();
        let error = compare(&image, &device, 100).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 99 is not what was written: the device is broken"
        );
    }
}
