//! The toolbox: parts of programs that the agent fetches for the machines whose configuration needs
//! them. `index.json` in its folder names them.

use std::collections::BTreeSet;
use std::path::Path;

use hardway_ignition::operation::Segment;
use hardway_model::identity::Sha256;
use hardway_model::plan::ToolboxSegment;
use serde::Deserialize;

/// The content of `index.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Index {
    segments: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Entry {
    name: String,
    file: String,
    sha256: Sha256,
    size: u64,
}

impl Index {
    /// Reads the index of a folder.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join("index.json");
        let text =
            std::fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        serde_json::from_slice(&text)
            .map_err(|error| format!("parsing {}: {error}", path.display()))
    }

    /// Whether a file is one of the toolbox's.
    pub fn lists(&self, file: &str) -> bool {
        self.segments.iter().any(|entry| entry.file == file)
    }
}

/// The segments as the agent fetches them, in the order in which they are unpacked.
///
/// # Errors
///
/// One that the folder does not have, with the command that makes it.
pub fn segments(folder: &Path, wanted: &BTreeSet<Segment>) -> Result<Vec<ToolboxSegment>, String> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = wanted.iter().map(|segment| segment.name()).collect();
    let missing = |why: String| {
        format!(
            "the configuration needs the toolbox ({}), and {why}; `cargo xtask image toolbox` \
             builds it, `--toolbox` says where it is",
            names.join(", ")
        )
    };
    let index = Index::read(folder).map_err(&missing)?;
    wanted
        .iter()
        .map(|segment| {
            let entry = index.segments.iter().find(|e| e.name == segment.name());
            let entry = entry.ok_or_else(|| {
                missing(format!("{} lacks `{}`", folder.display(), segment.name()))
            })?;
            let size = std::fs::metadata(folder.join(&entry.file)).map(|found| found.len());
            if size.ok() != Some(entry.size) {
                let file = folder.join(&entry.file);
                return Err(missing(format!(
                    "{} is not as its index says",
                    file.display()
                )));
            }
            Ok(ToolboxSegment {
                name: entry.name.clone(),
                url: format!("/toolbox/{}", entry.file),
                size: entry.size,
                sha256: entry.sha256,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_is_a_refusal_that_says_how_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let check = |wanted: &[Segment]| segments(folder, &wanted.iter().copied().collect());
        assert_eq!(check(&[]), Ok(Vec::new()));
        let refused = |wanted: &[Segment], what: &str| {
            let error = check(wanted).unwrap_err();
            assert!(error.contains(what), "{error}");
            assert!(error.contains("cargo xtask image toolbox"), "{error}");
        };
        refused(&[Segment::Storage], "reading");
        let index = format!(
            r#"{{"segments": [{{"name": "storage", "file": "storage.cpio.zst", "sha256": "{}",
                "size": 3, "unpacked": 9}}]}}"#,
            Sha256([7; 32])
        );
        std::fs::write(folder.join("index.json"), index).unwrap();
        refused(&[Segment::Storage], "is not as its index says");
        std::fs::write(folder.join("storage.cpio.zst"), b"zst").unwrap();
        let expected = ToolboxSegment {
            name: "storage".into(),
            url: "/toolbox/storage.cpio.zst".into(),
            size: 3,
            sha256: Sha256([7; 32]),
        };
        assert_eq!(check(&[Segment::Storage]), Ok(vec![expected]));
        refused(&[Segment::Storage, Segment::Clevis], "lacks `clevis`");
    }
}
