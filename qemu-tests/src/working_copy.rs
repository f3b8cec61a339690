//! The cluster file as the lab serves it: the operator's own, with two things filled in.
//!
//! - An image whose `sha256` is sixty-four zeros is "as built": it gets the hash of the file that is
//!   there. Any other hash stays, so that a wrong one is still found.
//! - `--nodes N` leaves the first N machines, or adds more like the last one.
//!
//! The operator's folder is not touched: the copy's folder holds the changed cluster.yaml and the
//! config parts that it names.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hardway_model::cluster::{Cluster, ImageSource, Machine};
use hardway_model::identity::{MacAddress, Sha256};

use crate::artifacts::Artifacts;
use crate::disk;

const AS_BUILT: Sha256 = Sha256([0; 32]);

/// The copy.
pub struct WorkingCopy {
    /// The copy's cluster.yaml.
    pub file: PathBuf,
    /// What it says.
    pub cluster: Cluster,
    /// A folder with the images that it names.
    pub images: PathBuf,
}

impl WorkingCopy {
    /// Makes the copy of `original` in `folder`, with `nodes` machines if that is given.
    pub fn make(
        original: &Path,
        folder: &Path,
        artifacts: &Artifacts,
        nodes: Option<usize>,
    ) -> Result<Self> {
        let original = fs::canonicalize(original)
            .with_context(|| format!("opening {}", original.display()))?;
        let beside = original.parent().unwrap_or(Path::new("/"));
        let name = original.display().to_string();
        let mut text = fs::read_to_string(&original).with_context(|| format!("reading {name}"))?;
        let mut cluster = parse(&text, &name)?;
        if let Some(nodes) = nodes {
            text = with_machines(&text, &cluster.machines, nodes)
                .with_context(|| format!("giving {name} {nodes} machines"))?;
            cluster = parse(&text, &name)?;
        }
        let config = folder.join("config");
        let images = folder.join("images");
        for folder in [&config, &images] {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        for image in &cluster.images {
            let ImageSource::File(file) = &image.source else {
                continue;
            };
            let built = artifacts.os_image(file, beside)?;
            let mut sha256 = image.sha256;
            if sha256 == AS_BUILT {
                sha256 = disk::sha256(&built)?;
                text = fill_first_placeholder(&text, sha256);
            }
            provide(&built, &images.join(file))?;
            // Imported when it was built, so that not every lab has to do it.
            for name in [format!("{sha256}.data"), format!("{sha256}.index")] {
                let beside = built.with_file_name(&name);
                if beside.is_file() {
                    provide(&beside, &images.join(&name))?;
                }
            }
        }
        copy_config_parts(&cluster, beside, &config)?;
        copy_files(&beside.join("files"), &config.join("files"))?;
        let file = config.join("cluster.yaml");
        fs::write(&file, &text).with_context(|| format!("writing {}", file.display()))?;
        Ok(Self {
            cluster: parse(&text, &file.display().to_string())?,
            file,
            images,
        })
    }

    /// Replaces each image by one with another hash; the file that was built stays as it is.
    pub fn exchange_images(&self) -> Result<()> {
        for image in &self.cluster.images {
            let ImageSource::File(name) = &image.source else {
                continue;
            };
            let image = self.images.join(name);
            let copy = self.images.join(format!("{name}.other"));
            fs::copy(&image, &copy).with_context(|| format!("copying {}", image.display()))?;
            disk::append_skippable_frame(&copy)?;
            fs::rename(&copy, &image).with_context(|| format!("replacing {}", image.display()))?;
        }
        Ok(())
    }
}

fn parse(text: &str, name: &str) -> Result<Cluster> {
    hardway_model::cluster::parse(text, name).map_err(|problems| anyhow!("{problems}"))
}

/// Images stand in the file's order, so the first placeholder is that of the image at hand.
fn fill_first_placeholder(text: &str, hash: Sha256) -> String {
    text.replacen(&AS_BUILT.to_string(), &hash.to_string(), 1)
}

fn copy_config_parts(cluster: &Cluster, beside: &Path, config: &Path) -> Result<()> {
    for part in cluster.profiles.iter().flat_map(|profile| &profile.config) {
        let is_inside = Path::new(part)
            .components()
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
        ensure!(
            is_inside,
            "config part {part} is not inside the cluster file's folder"
        );
        let (from, to) = (beside.join(part), config.join(part));
        let folder = to.parent().unwrap_or(config);
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(&from, &to))
            .with_context(|| format!("copying config part {}", from.display()))?;
    }
    Ok(())
}

/// What config parts may take in whole stands in the folder `files`.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    let reading = || format!("copying {}", from.display());
    fs::create_dir_all(to).with_context(reading)?;
    for entry in fs::read_dir(from).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_files(&path, &copy)?,
            false => {
                fs::copy(&path, &copy).with_context(|| format!("copying {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// A hard link, or where the filesystems differ a copy: whoever reads the folder sees plain files.
fn provide(file: &Path, place: &Path) -> Result<()> {
    if fs::hard_link(file, place).is_err() {
        fs::copy(file, place).with_context(|| format!("copying {}", file.display()))?;
    }
    Ok(())
}

/// The text with exactly `count` machines under `machines:`.
fn with_machines(text: &str, machines: &[Machine], count: usize) -> Result<String> {
    ensure!(count > 0, "a lab without machines");
    let mut list = MachineList::find(text)?;
    ensure!(
        list.items.len() == machines.len(),
        "its machines are not written as a block list, one `- ` each"
    );
    list.items.truncate(count);
    let mut machine = machines.last().cloned().context("it declares no machine")?;
    while list.items.len() < count {
        let next = successor(&machine)?;
        let last = list.items.last().cloned().unwrap_or_default();
        list.items.push(renamed(&last, &machine, &next));
        machine = next;
    }
    Ok([list.before, list.items.concat(), list.after].concat())
}

/// cluster.yaml cut at the items of `machines:`, every line in its place.
struct MachineList {
    before: String,
    items: Vec<String>,
    after: String,
}

impl MachineList {
    fn find(text: &str) -> Result<Self> {
        let mut list = Self {
            before: String::new(),
            items: Vec::new(),
            after: String::new(),
        };
        let mut lines = text.split_inclusive('\n').peekable();
        for line in lines.by_ref() {
            list.before += line;
            if line.trim_end() == "machines:" {
                break;
            }
        }
        let marker = loop {
            match lines.peek() {
                Some(line) if line.trim_start().starts_with("- ") => {
                    let indent = line.len() - line.trim_start().len();
                    break format!("{}- ", &line[..indent]);
                }
                Some(line) if is_idle(line) => list.before += line,
                _ => bail!("it has no block list under `machines:`"),
            }
            lines.next();
        };
        let indent = marker.len() - 2;
        while let Some(line) = lines.next_if(|line| {
            line.starts_with(&marker)
                || is_idle(line)
                || line.len() - line.trim_start().len() > indent
        }) {
            match list.items.last_mut() {
                Some(item) if !line.starts_with(&marker) => *item += line,
                _ => list.items.push(line.to_owned()),
            }
        }
        list.after = lines.collect();
        Ok(list)
    }
}

fn is_idle(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// The machine after this one: its number, its hardware address and its address counted up.
fn successor(machine: &Machine) -> Result<Machine> {
    let mut next = machine.clone();
    let digits = machine
        .name
        .trim_end_matches(|character: char| character.is_ascii_digit());
    let number: u32 = machine.name[digits.len()..]
        .parse()
        .with_context(|| format!("{} ends in no number to count up from", machine.name))?;
    next.name = format!("{digits}{}", number + 1);
    let [mac] = &mut next.matches.macs[..] else {
        bail!("{} is not told by one MAC address", machine.name);
    };
    *mac = mac_after(*mac);
    next.address = machine
        .address
        .map(|address| Ipv4Addr::from(u32::from(address) + 1));
    Ok(next)
}

fn mac_after(MacAddress([a, b, c, d, e, f]): MacAddress) -> MacAddress {
    let [_, d, e, f] = (u32::from_be_bytes([0, d, e, f]) + 1).to_be_bytes();
    MacAddress([a, b, c, d, e, f])
}

fn renamed(item: &str, from: &Machine, to: &Machine) -> String {
    let mut item = item.replace(&from.name, &to.name);
    for (from, to) in from.matches.macs.iter().zip(&to.matches.macs) {
        item = item.replace(&from.to_string(), &to.to_string());
    }
    if let (Some(from), Some(to)) = (from.address, to.address) {
        item = item.replace(&from.to_string(), &to.to_string());
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lab's own file, so that it is proven to be right as well.
    const FILE: &str = include_str!("../../configs/lab/cluster.yaml");

    fn check(count: usize, names: &[&str]) -> Cluster {
        let machines = parse(FILE, "cluster.yaml").unwrap().machines;
        let text = with_machines(FILE, &machines, count).unwrap();
        let (before, _) = FILE.split_once("machines:").unwrap();
        let (_, after) = FILE.split_once("\nchecks:").unwrap();
        assert!(text.starts_with(before) && text.ends_with(after), "{text}");
        let cluster = parse(&text, "cluster.yaml").unwrap();
        let found: Vec<&str> = cluster
            .machines
            .iter()
            .map(|machine| &machine.name[..])
            .collect();
        assert_eq!(found, names);
        cluster
    }

    #[test]
    fn fewer_machines() {
        check(1, &["node1"]);
    }

    #[test]
    fn more_machines() {
        let cluster = check(5, &["node1", "node2", "node3", "node4", "node5"]);
        let last = &cluster.machines[4];
        assert_eq!(last.address, Some(Ipv4Addr::new(10, 77, 0, 15)));
        assert_eq!(last.matches.macs, [MacAddress([0x52, 0x54, 0, 0, 0, 5])]);
    }

    #[test]
    fn only_zeros_are_filled() {
        let hash = Sha256([0xab; 32]);
        let text = format!("a: {}\nb: {AS_BUILT}\n", Sha256([1; 32]));
        let filled = fill_first_placeholder(&text, hash);
        assert_eq!(filled, format!("a: {}\nb: {hash}\n", Sha256([1; 32])));
    }
}
