//! The guest's initramfs: an archive of our own (format `newc`), and behind it the toolbox's segments as
//! they are. The kernel unpacks one after the other, packed or not (Linux's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::Work;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// Between archives: an uncompressed one has to begin at such a boundary.
const BOUNDARY: usize = 4;

/// What the guest is made of.
#[derive(Debug, Clone)]
pub struct Ingredients {
    /// PID 1.
    pub guest: PathBuf,
    /// `hardway`.
    pub hardway: PathBuf,
    /// `hardway-agent`.
    pub agent: PathBuf,
    /// The folder of kernel modules with its index.
    pub modules: PathBuf,
    /// The toolbox's folder with its index.
    pub toolbox: PathBuf,
    /// The corpus.
    pub corpus: PathBuf,
}

#[derive(Deserialize)]
struct ToolboxIndex {
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    file: String,
}

/// Puts one together, for the cases of one boot.
pub fn build(from: &Ingredients, work: &Work) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "disks",
        "blackbox",
        "blackbox/modules",
    ] {
        archive.add(folder, FOLDER, (0, 0), &[]);
    }
    // The kernel opens it before PID 1 starts.
    archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    let mut file = |name: &str, path: &Path| -> Result<()> {
        archive.add(name, PROGRAM, (0, 0), &read(path)?);
        Ok(())
    };
    file("init", &from.guest)?;
    file("blackbox/hardway", &from.hardway)?;
    file("blackbox/hardway-agent", &from.agent)?;
    file("blackbox/corpus.json", &from.corpus)?;
    let listing = fs::read_dir(&from.modules);
    let listing = listing.with_context(|| format!("listing {}", from.modules.display()))?;
    for entry in listing {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        file(&format!("blackbox/modules/{name}"), &path)?;
    }
    let work = serde_json::to_vec(work)?;
    archive.add("blackbox/work.json", PROGRAM, (0, 0), &work);

    let mut bytes = archive.finish();
    let index: ToolboxIndex = serde_json::from_slice(&read(&from.toolbox.join("index.json"))?)
        .context("reading the toolbox's index")?;
    for segment in index.segments {
        bytes.resize(bytes.len().next_multiple_of(BOUNDARY), 0);
        bytes.extend(read(&from.toolbox.join(segment.file))?);
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// An archive that grows.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        // Inode, mode, owner, group, links, time, size, device, device of the node, length of the
        // name with its end, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            data.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").into_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(data);
        self.align();
    }

    fn align(&mut self) {
        let length = self.bytes.len().next_multiple_of(BOUNDARY);
        self.bytes.resize(length, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_archive_comes_first_and_the_segments_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [
            ("program", "PROGRAM"),
            (
                "index.json",
                r#"{"segments": [{"name": "a", "file": "a.zst"}]}"#,
            ),
            ("a.zst", "SEGMENT"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let program = at("program");
        let bytes = build(
            &Ingredients {
                guest: program.clone(),
                hardway: program.clone(),
                agent: program.clone(),
                modules: folder.path().to_owned(),
                toolbox: folder.path().to_owned(),
                corpus: program,
            },
            &Work { cases: vec![1, 2] },
        )
        .unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("070701"));
        assert!(text.contains("blackbox/work.json\0") && text.contains(r#"{"cases":[1,2]}"#));
        let (trailer, segment) = (
            text.find("TRAILER!!!").unwrap(),
            text.rfind("SEGMENT").unwrap(),
        );
        assert!(trailer < segment && segment % BOUNDARY == 0);
    }
}
