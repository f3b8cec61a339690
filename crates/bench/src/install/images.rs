//! One disk's content, packed as each contender takes it. Made once and kept: packing by xz takes minutes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::Tools;
use crate::section::Settings;

/// The files' names, in [`Images::plain`] and in the appliance's store.
pub const XZ: &str = "disk.img.xz";
/// As above.
pub const ZSTD: &str = "disk.img.zst";

/// As hard as the node image is packed.
const ZSTD_LEVEL: &str = "-12";
/// xz's own default, and the least for a smoke test.
const XZ_LEVELS: [&str; 2] = ["-6", "-0"];
const PIECE: usize = 1 << 20;

/// The image in all its forms.
pub struct Images {
    /// Unpacked: what has to stand on the disk.
    pub raw: PathBuf,
    /// Bytes of that.
    pub size: u64,
    /// A folder with both packed files.
    pub plain: PathBuf,
    /// A folder with what `hardway image import` made of the .xz, and without the .xz.
    pub imported: PathBuf,
    /// SHA-256 of the packed files, in hexadecimal.
    pub sha256: Sums,
}

/// SHA-256 of the packed files, in hexadecimal.
pub struct Sums {
    /// Of [`XZ`].
    pub xz: String,
    /// Of [`ZSTD`].
    pub zstd: String,
}

impl Images {
    /// Takes those of an earlier run with the same image, or makes them.
    pub fn prepare(settings: &Settings, tools: &Tools) -> anyhow::Result<Self> {
        let copies = if settings.smoke { 1 } else { tools.copies };
        let xz_level = XZ_LEVELS[usize::from(settings.smoke)];
        let source = sum(&tools.image)?;
        let store = settings.folder.join("images");
        let folder = store.join(format!("{}-{copies}{xz_level}", &source[..16]));
        if !folder.is_dir() {
            let fresh = store.join("unfinished");
            if fresh.exists() {
                fs::remove_dir_all(&fresh).context("deleting unfinished images")?;
            }
            eprintln!("packing the image, once; this takes minutes");
            make(&fresh, settings, &tools.image, copies, xz_level)?;
            let renamed = fs::rename(&fresh, &folder);
            renamed.with_context(|| format!("renaming {}", fresh.display()))?;
        }
        let (raw, plain) = (folder.join("disk.img"), folder.join("plain"));
        let size = fs::metadata(&raw).context("asking for the unpacked image")?;
        // This brings them into the page cache, too: no contender is served from the disk.
        let sha256 = Sums {
            xz: sum(&plain.join(XZ))?,
            zstd: sum(&plain.join(ZSTD))?,
        };
        let imported = folder.join("imported");
        for entry in fs::read_dir(&imported).context("listing the imported image")? {
            sum(&entry.context("listing the imported image")?.path())?;
        }
        Ok(Self {
            raw,
            size: size.len(),
            plain,
            imported,
            sha256,
        })
    }
}

fn make(
    folder: &Path,
    settings: &Settings,
    image: &Path,
    copies: u8,
    xz_level: &str,
) -> anyhow::Result<()> {
    for name in ["plain", "imported"] {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    let (raw, once) = (folder.join("disk.img"), folder.join("once.img"));
    let plain = folder.join("plain");
    into(Command::new("zstd").args(["-qdc"]).arg(image), &once)?;
    multiply(&once, &raw, copies)?;
    fs::remove_file(&once).context("deleting the node image")?;
    let xz = plain.join(XZ);
    into(
        Command::new("zstd")
            .args(["-qc", "-T0", ZSTD_LEVEL])
            .arg(&raw),
        &plain.join(ZSTD),
    )?;
    into(
        Command::new("xz").args(["-c", "-T0", xz_level]).arg(&raw),
        &xz,
    )?;
    let mut import = Command::new(&settings.hardway);
    import.args(["image", "import"]).arg(&xz);
    import.arg("--images-dir").arg(folder.join("imported"));
    let status = import.stdout(Stdio::null()).status();
    let status = status.context("starting `hardway image import`")?;
    ensure!(
        status.success(),
        "`hardway image import` ended with {status}"
    );
    Ok(())
}

/// Puts the image there so many times, with every byte but 0 changed to another each time: zeros stay
/// zeros, all else stays as hard to pack as it is, and no copy can be packed by naming a former one.
fn multiply(once: &Path, target: &Path, copies: u8) -> anyhow::Result<()> {
    let name = once.display();
    let mut output = File::create(target).context("making the unpacked image")?;
    let mut piece = vec![0; PIECE];
    for copy in 0..copies {
        let mut input = File::open(once).with_context(|| format!("opening {name}"))?;
        loop {
            let length = input
                .read(&mut piece)
                .with_context(|| format!("reading {name}"))?;
            if length == 0 {
                break;
            }
            change(&mut piece[..length], copy);
            let written = output.write_all(&piece[..length]);
            written.context("writing the unpacked image")?;
        }
    }
    Ok(())
}

/// A permutation of the 255 values that are not 0, another one for each copy below 255; the first changes
/// nothing.
fn change(bytes: &mut [u8], copy: u8) {
    for byte in bytes.iter_mut().filter(|byte| **byte != 0) {
        *byte = ((u16::from(*byte) - 1 + u16::from(copy)) % 255) as u8 + 1;
    }
}

/// A command's output, as a file.
fn into(command: &mut Command, file: &Path) -> anyhow::Result<()> {
    let shown = command.get_program().display().to_string();
    let output = File::create(file).with_context(|| format!("making {}", file.display()))?;
    let status = command.stdout(output).status();
    let status = status.with_context(|| format!("starting {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

/// SHA-256 of a file, in hexadecimal.
fn sum(file: &Path) -> anyhow::Result<String> {
    let mut command = Command::new("sha256sum");
    let output = command.arg(file).output().context("starting sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sum = text.split(' ').next().unwrap_or_default();
    ensure!(
        sum.len() == 64,
        "sha256sum says nothing of {}",
        file.display()
    );
    Ok(sum.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_and_zeros_stay() {
        let every: Vec<u8> = (0..=255).collect();
        let changed = |copy| {
            let mut bytes = every.clone();
            change(&mut bytes, copy);
            bytes
        };
        assert_eq!(changed(0), every);
        assert_eq!(changed(1)[..3], [0, 2, 3]);
        assert_eq!(changed(1)[254..], [255, 1]);
        let mut sorted = changed(7);
        sorted.sort_unstable();
        assert_eq!(sorted, every);
    }
}
