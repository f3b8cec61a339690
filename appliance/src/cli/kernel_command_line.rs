//! `--kernel-command-line`: the config that a machine's own Ignition would be pointed to at its start.
//!
//! `ignition.config.url=URL` counts first; else `ignition.config.device=LABEL` and
//! `ignition.config.path=PATH`, which go together, name a file in the filesystem of that label. So one can
//! see what a machine that was set up for real Ignition would get.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use hardway_ignition::hardware::{Disk, Hardware, Table};
use hardway_ignition::operation::disks::Device;
use hardway_ignition::{Part, PartKind};
use hardway_userspace::mounts::{self, Flags};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

const URL: &str = "ignition.config.url";
const DEVICE: &str = "ignition.config.device";
const PATH: &str = "ignition.config.path";
/// The spec of the config that stands for a URL.
const VERSION: &str = "3.6.0";

/// Where the config is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// At a URL.
    Url(String),
    /// In a file of the filesystem with that label.
    File {
        /// The filesystem's label.
        label: String,
        /// The file's path in it.
        path: String,
    },
}

impl Place {
    /// What a command line says; `None`: nothing of this kind.
    ///
    /// # Errors
    ///
    /// A device without a path, or the other way round; a label that is no single name.
    pub fn of(line: &str) -> Result<Option<Self>> {
        // The last one of a name counts; one without a value is none.
        let value = |name: &str| {
            let values = line
                .split_ascii_whitespace()
                .filter_map(|word| word.split_once('='));
            values
                .filter(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| value.to_owned())
                .next_back()
        };
        match (value(URL), value(DEVICE), value(PATH)) {
            (Some(url), ..) => Ok(Some(Self::Url(url))),
            (None, None, None) => Ok(None),
            (None, Some(label), Some(path)) => {
                let is_name = !label.contains('/') && !matches!(label.as_str(), "." | "..");
                ensure!(is_name, "{DEVICE}={label} is no label");
                Ok(Some(Self::File { label, path }))
            }
            _ => bail!("{DEVICE} and {PATH} go together, and one is missing"),
        }
    }

    /// The config there.
    pub fn part(&self, hardware: &Hardware) -> Result<Part> {
        let text = match self {
            Self::Url(url) => match url.strip_prefix("file://") {
                Some(path) => fs::read_to_string(path).with_context(|| format!("reading {url}"))?,
                None => serde_json::json!({
                    "ignition": {"version": VERSION, "config": {"replace": {"source": url}}},
                })
                .to_string(),
            },
            Self::File { label, path } => {
                let found = hardware.disks.iter().find_map(|disk| on(disk, label));
                let (node, kind) = found.with_context(|| {
                    format!("{DEVICE}={label}: no filesystem on the given disks has that label")
                })?;
                read(&node, &kind, path).with_context(|| format!("reading {path} of {label}"))?
            }
        };
        Ok(Part {
            name: "the config of the kernel command line".to_owned(),
            kind: PartKind::Ignition,
            text,
        })
    }
}

/// Node and kind of the disk's filesystem with that label.
fn on(disk: &Disk, label: &str) -> Option<(String, String)> {
    let mut signatures = disk.signatures.iter();
    let signature = signatures.find(|signature| signature.label.as_deref() == Some(label))?;
    let device = match &disk.table {
        Table::Gpt { entries, .. } => {
            let start = signature.offset / u64::from(disk.sector_size);
            let entry = entries.iter().find(|entry| entry.start == start)?;
            Device::Partition {
                disk: disk.path.clone(),
                number: entry.number,
            }
        }
        _ => Device::Disk(disk.path.clone()),
    };
    Some((device.to_string(), signature.kind.clone()))
}

/// Mounts the filesystem to read one file of it, out of which no link leads.
fn read(node: &str, kind: &str, path: &str) -> Result<String> {
    let folder = std::env::temp_dir().join(format!("hardway-config-{}", std::process::id()));
    let flags = Flags::MS_RDONLY | Flags::MS_NOSUID | Flags::MS_NODEV;
    mounts::mount(node, &folder, kind, flags, "")?;
    let text = read_below(&folder, path);
    mounts::unmount(&folder)?;
    // An empty folder that stays does no harm.
    let _ = fs::remove_dir(&folder);
    text
}

fn read_below(folder: &Path, path: &str) -> Result<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = openat2(File::open(folder)?, path.trim_start_matches('/'), how)?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use hardway_ignition::hardware::Signature;
    use hardway_ignition::operation::disks::TableEntry;

    use super::*;

    #[test]
    fn what_a_command_line_says() {
        let url = |url: &str| Some(Place::Url(url.to_owned()));
        assert_eq!(Place::of("quiet root=/dev/vda1").unwrap(), None);
        assert_eq!(Place::of(&format!("{URL}=")).unwrap(), None);
        let line = format!("{DEVICE}=A {URL}=http://a {URL}=http://b?c=d\n");
        assert_eq!(Place::of(&line).unwrap(), url("http://b?c=d"));
        assert_eq!(
            Place::of(&format!("{DEVICE}=A {PATH}=/c.ign")).unwrap(),
            Some(Place::File {
                label: "A".to_owned(),
                path: "/c.ign".to_owned()
            })
        );
        for line in [
            format!("{DEVICE}=A"),
            format!("{PATH}=/c.ign"),
            format!("{DEVICE}=../A {PATH}=/c.ign"),
        ] {
            assert!(Place::of(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_label_leads_to_its_partition() {
        let disk = Disk {
            path: "/dev/nvme0n1".to_owned(),
            aliases: Vec::new(),
            size: 1 << 30,
            sector_size: 512,
            table: Table::Gpt {
                usable: (34, 2_097_118),
                entries: vec![TableEntry {
                    number: 3,
                    start: 4096,
                    sectors: 8,
                    type_guid: String::new(),
                    guid: None,
                    label: String::new(),
                    attributes: 0,
                    fate: Default::default(),
                }],
            },
            signatures: vec![Signature {
                offset: 4096 * 512,
                kind: "ext4".to_owned(),
                label: Some("CONFIG".to_owned()),
                uuid: None,
            }],
            in_use: false,
            active: Vec::new(),
            claimed: false,
        };
        let found = on(&disk, "CONFIG");
        assert_eq!(
            found,
            Some(("/dev/nvme0n1p3".to_owned(), "ext4".to_owned()))
        );
        assert_eq!(on(&disk, "OTHER"), None);
    }

    #[test]
    fn a_url_becomes_a_reference() {
        let place = Place::Url("http://a/b".to_owned());
        let part = place.part(&Hardware::default()).unwrap();
        assert_eq!(
            part.text,
            r#"{"ignition":{"config":{"replace":{"source":"http://a/b"}},"version":"3.6.0"}}"#
        );
    }
}
