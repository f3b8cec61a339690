//! Writing an image onto a device, and reading it back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{process, progress};

const CHUNK: usize = 4 << 20;

/// Writes `image` to the start of `device`, and compares what the device then gives back.
pub fn write(image: &Path, device: &Path) -> Result<()> {
    let length = image.metadata().with_context(|| format!("reading {}", image.display()))?.len();
    let written = copy(image, device, length).with_context(|| format!("writing to {}", device.display()))?;
    forget_cache(device)?;
    let found = read_back(device, length).with_context(|| format!("reading {} back", device.display()))?;
    ensure!(written == found, "{} gives back something else than was written to it: it is broken", device.display());
    Ok(())
}

type Hash = [u8; 32];

fn copy(image: &Path, device: &Path, length: u64) -> Result<Hash> {
    let step = progress::bytes("writing", length);
    let mut source = File::open(image)?;
    let mut target = File::options().write(true).open(device)?;
    let mut hasher = Sha256::new();
    for_each_chunk(&mut source, length, |chunk| {
        target.write_all(chunk)?;
        hasher.update(chunk);
        step.advance(chunk.len() as u64);
        Ok(())
    })?;
    // Only now has everything left this machine, and only now are most errors seen.
    target.sync_all().context("waiting for the device")?;
    step.done(&progress::size(length));
    Ok(hasher.finalize().into())
}

/// Makes the kernel forget what it knows of the device, or it would answer from memory.
fn forget_cache(device: &Path) -> Result<()> {
    let kind = device.metadata().with_context(|| format!("reading {}", device.display()))?.file_type();
    if kind.is_block_device() {
        process::run(process::system_tool("blockdev").arg("--flushbufs").arg(device))?;
    }
    Ok(())
}

fn read_back(device: &Path, length: u64) -> Result<Hash> {
    let step = progress::bytes("reading back", length);
    let mut source = File::open(device)?;
    let mut hasher = Sha256::new();
    for_each_chunk(&mut source, length, |chunk| {
        hasher.update(chunk);
        step.advance(chunk.len() as u64);
        Ok(())
    })?;
    step.done(&progress::size(length));
    Ok(hasher.finalize().into())
}

fn for_each_chunk(source: &mut File, length: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        source.read_exact(&mut buffer[..count])?;
        each(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
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
    fn one_changed_byte_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let (image, device) = (folder.path().join("image"), folder.path().join("device"));
        fs::write(&image, [1; 100]).unwrap();
        fs::write(&device, [0; 200]).unwrap();
        let written = copy(&image, &device, 100).unwrap();
        assert_eq!(written, read_back(&device, 100).unwrap());
        let mut content = fs::read(&device).unwrap();
        content[99] ^= 1;
        fs::write(&device, content).unwrap();
        assert_ne!(written, read_back(&device, 100).unwrap());
    }
}
