//! The index: which modules there are, what they need and which hardware wants them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::alias::matches;

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be read.
    #[error("reading module index {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The text is no index.
    #[error("module index is damaged")]
    Parse(#[source] serde_json::Error),
}

/// Every module of one kernel that a folder or store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// By name, with underscores.
    pub modules: BTreeMap<String, Module>,
}

/// One module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// File name beside the index: `virtio_net.ko.xz`, or `.ko`.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Bytes of the file.
    pub size: u64,
    /// Modules that have to be there before, direct ones at least.
    #[serde(default)]
    pub depends: Vec<String>,
    /// Modules or aliases that are better there before (`softdep … pre:`); may be built in.
    #[serde(default)]
    pub softdeps: Vec<String>,
    /// Patterns of the modaliases that it serves, and its other names.
    #[serde(default)]
    pub aliases: Vec<String>,
}

impl Index {
    /// Reads an index file.
    pub fn load(path: &Path) -> Result<Self, IndexError> {
        let text = std::fs::read(path).map_err(|error| IndexError::Read(path.to_owned(), error))?;
        Self::parse(&text)
    }

    /// Reads an index's JSON.
    pub fn parse(text: &[u8]) -> Result<Self, IndexError> {
        serde_json::from_slice(text).map_err(IndexError::Parse)
    }

    /// The module that goes by `name`, with hyphens or underscores.
    pub fn find(&self, name: &str) -> Option<(&str, &Module)> {
        let (name, module) = self.modules.get_key_value(&name.replace('-', "_"))?;
        Some((name, module))
    }

    /// The names of the modules that have `alias` among their patterns.
    pub fn wanted_by(&self, alias: &str) -> Vec<&str> {
        // Patterns share their bus with what they match: most are told apart by that.
        let bus = alias.split_once(':').map_or(alias, |(bus, _)| bus);
        self.modules
            .iter()
            .filter(|(_, module)| {
                module.aliases.iter().any(|pattern| {
                    pattern.as_bytes().starts_with(bus.as_bytes()) && matches(pattern, alias)
                })
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// `name` (or those that have it as an alias) and all that they need, in the order of loading.
    /// Softdeps that are not in the index are left out: they may be built in. Unknown hard
    /// dependencies are given back as the error.
    pub fn closure(&self, name: &str) -> Result<Vec<&str>, String> {
        let mut order = Vec::new();
        let mut visiting = Vec::new();
        let roots = self.roots(name);
        if roots.is_empty() {
            return Err(name.to_owned());
        }
        for root in roots {
            self.visit(root, &mut order, &mut visiting)?;
        }
        Ok(order)
    }

    /// The module of that name, or those that have it as an alias.
    pub(super) fn roots(&self, name: &str) -> Vec<&str> {
        match self.find(name) {
            Some((root, _)) => vec![root],
            None => self.wanted_by(name),
        }
    }

    fn visit<'a>(
        &'a self,
        name: &str,
        order: &mut Vec<&'a str>,
        visiting: &mut Vec<&'a str>,
    ) -> Result<(), String> {
        let (name, module) = self.find(name).ok_or_else(|| name.to_owned())?;
        // Softdeps may form a ring; whoever is being visited comes after what it waits for.
        if order.contains(&name) || visiting.contains(&name) {
            return Ok(());
        }
        visiting.push(name);
        for softdep in &module.softdeps {
            for name in self.roots(softdep) {
                self.visit(name, order, visiting)?;
            }
        }
        for dependency in &module.depends {
            self.visit(dependency, order, visiting)?;
        }
        visiting.pop();
        order.push(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let text = r#"{"kernel": "6.12.0", "modules": {
            "virtio": {"file": "virtio.ko.xz", "sha256": "", "size": 1},
            "failover": {"file": "failover.ko.xz", "sha256": "", "size": 1},
            "net_failover": {"file": "net_failover.ko.xz", "sha256": "", "size": 1, "depends": ["failover"]},
            "virtio_net": {"file": "virtio_net.ko.xz", "sha256": "", "size": 1,
                "depends": ["net-failover", "virtio"], "aliases": ["virtio:d00000001v*"]},
            "crc32c_generic": {"file": "c.ko.xz", "sha256": "", "size": 1, "aliases": ["crc32c", "crypto-crc32c"]},
            "ext4": {"file": "ext4.ko.xz", "sha256": "", "size": 1, "depends": ["jbd2"],
                "softdeps": ["crc32c", "built_in"], "aliases": ["fs-ext4"]},
            "jbd2": {"file": "jbd2.ko.xz", "sha256": "", "size": 1, "softdeps": ["ext4"]},
            "broken": {"file": "b.ko.xz", "sha256": "", "size": 1, "depends": ["missing"]}
        }}"#;
        Index::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn dependencies_come_first_softdeps_by_alias_and_rings_end() {
        let index = index();
        let closure = |name| index.closure(name);
        assert_eq!(
            closure("virtio-net").unwrap(),
            ["failover", "net_failover", "virtio", "virtio_net"]
        );
        assert_eq!(closure("ext4").unwrap(), ["crc32c_generic", "jbd2", "ext4"]);
        assert_eq!(
            closure("fs-ext4").unwrap(),
            ["crc32c_generic", "jbd2", "ext4"]
        );
        assert_eq!(closure("broken"), Err("missing".to_owned()));
        assert_eq!(closure("nothing"), Err("nothing".to_owned()));
    }

    #[test]
    fn hardware_finds_its_module() {
        assert_eq!(
            index().wanted_by("virtio:d00000001v00001AF4"),
            ["virtio_net"]
        );
        assert!(index().wanted_by("pci:v00008086d0000100E").is_empty());
    }
}
