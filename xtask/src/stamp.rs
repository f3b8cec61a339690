//! Nothing is built twice: a stamp beside an output says from which inputs it was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{process, workspace};

/// The hash over everything that an output is made from.
pub struct Stamp {
    hasher: Sha256,
}

impl Stamp {
    /// An empty stamp for one output.
    pub fn new(name: &str) -> Stamp {
        Stamp {
            hasher: Sha256::new(),
        }
        .text("output", name)
    }

    /// Adds a value: a package's version, an option.
    pub fn text(mut self, name: &str, value: &str) -> Stamp {
        for part in [name, value] {
            self.hasher.update((part.len() as u64).to_le_bytes());
            self.hasher.update(part.as_bytes());
        }
        self
    }

    /// Adds a file's content.
    pub fn file(self, path: &Path) -> Result<Stamp> {
        let hash = sha256_of(path)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(self.text(&name, &hash))
    }

    /// Adds every file of a folder and the folders below it, with its path.
    pub fn folder(mut self, folder: &Path) -> Result<Stamp> {
        for path in files_below(folder)? {
            let relative = path
                .strip_prefix(folder)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            let hash = sha256_of(&path)?;
            self = self.text(&relative, &hash);
        }
        Ok(self)
    }

    /// Adds the sources of this tool that make the output: another way of making it is another input.
    pub fn sources(mut self, names: &[&str]) -> Result<Stamp> {
        for name in names {
            self = self.file(&workspace::root().join("xtask/src").join(name))?;
        }
        Ok(self)
    }

    /// The hash, as it is written.
    pub fn finish(self) -> String {
        hexadecimal(&self.hasher.finalize())
    }
}

/// Whether `outputs` are all there and `file` says that they were made from these inputs.
pub fn is_fresh(file: &Path, hash: &str, outputs: &[PathBuf]) -> bool {
    fs::read_to_string(file).is_ok_and(|known| known.trim() == hash)
        && outputs.iter().all(|path| path.exists())
}

/// Says that the outputs beside `file` were made from these inputs.
pub fn write(file: &Path, hash: &str) -> Result<()> {
    fs::write(file, format!("{hash}\n")).with_context(|| format!("writing {}", file.display()))
}

/// SHA-256 of a file, in lower-case hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let hashes = sha256_of_all(std::slice::from_ref(&path.to_path_buf()))?;
    hashes
        .into_iter()
        .next()
        .with_context(|| format!("sha256sum said nothing about {}", path.display()))
}

/// SHA-256 of files, in their order. By coreutils: this program is run unoptimised, and its own
/// hashing would be ten times slower on images.
pub fn sha256_of_all(paths: &[PathBuf]) -> Result<Vec<String>> {
    let output = process::run(
        Command::new("sha256sum")
            .arg("--zero")
            .arg("--")
            .args(paths),
    )?;
    let hashes: Vec<String> = output
        .split('\0')
        .filter_map(|line| line.split_once(' '))
        .map(|(hash, _)| hash.to_owned())
        .collect();
    ensure!(
        hashes.len() == paths.len(),
        "sha256sum said something about {} of {} files",
        hashes.len(),
        paths.len()
    );
    Ok(hashes)
}

/// SHA-256 of bytes, in lower-case hexadecimal.
pub fn sha256(data: &[u8]) -> String {
    hexadecimal(&Sha256::digest(data))
}

/// Every file of a folder and the folders below it, sorted.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("listing {}", next.display()))? {
            let entry = entry.with_context(|| format!("listing {}", next.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("reading {}", entry.path().display()))?;
            if kind.is_dir() {
                waiting.push(entry.path())
            } else {
                found.push(entry.path())
            }
        }
    }
    found.sort();
    Ok(found)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_their_borders_count() {
        let one = Stamp::new("x").text("ab", "c").finish();
        assert_eq!(one, Stamp::new("x").text("ab", "c").finish());
        assert_ne!(one, Stamp::new("x").text("a", "bc").finish());
        assert_ne!(one, Stamp::new("y").text("ab", "c").finish());
    }

    #[test]
    fn files_are_hashed_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["b\nb", "a"].map(|name| folder.path().join(name));
        for path in &paths {
            fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        assert_eq!(
            sha256_of_all(&paths).unwrap(),
            [sha256(b"b\nb"), sha256(b"a")]
        );
    }

    #[test]
    fn a_stamp_is_stale_when_an_output_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, output) = (folder.path().join("stamp"), folder.path().join("output"));
        write(&file, "abc").unwrap();
        assert!(!is_fresh(&file, "abc", std::slice::from_ref(&output)));
        fs::write(&output, "data").unwrap();
        assert!(is_fresh(&file, "abc", std::slice::from_ref(&output)));
        assert!(!is_fresh(&file, "abd", &[output]));
    }
}
