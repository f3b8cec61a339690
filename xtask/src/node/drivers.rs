//! The kernel's modules in the root filesystem: those that stay, and those that the initrd loads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;

use anyhow::{Context, Result, ensure};

use super::tree::Tree;
use crate::process;

const MODULES: &str = "usr/lib/modules";

/// The modules of the one kernel in a tree, as its `modules.dep` has them.
#[derive(Debug)]
pub struct Drivers {
    /// The kernel's release.
    pub release: String,
    /// Each module's path below the release's folder, and all that it depends on, the first to be
    /// loaded last.
    dependencies: BTreeMap<String, Vec<String>>,
}

impl Drivers {
    /// Reads what the kernel package has left in the tree.
    pub fn read(tree: &Tree) -> Result<Drivers> {
        let prefix = format!("{MODULES}/");
        let mut releases = tree.below(&prefix).filter_map(|path| {
            let (release, rest) = path[prefix.len()..].split_once('/')?;
            (rest == "modules.dep").then(|| release.to_owned())
        });
        let release = releases.next().context("looking for modules.dep")?;
        let text = tree.text(&format!("{prefix}{release}/modules.dep"))?;
        Ok(Drivers {
            dependencies: parse_dependencies(&text),
            release,
        })
    }

    /// Unpacked modules with their file names, each after what it depends on.
    pub fn in_load_order(&self, tree: &Tree, names: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut order: Vec<&str> = Vec::new();
        for name in names {
            let path = self
                .find(name)
                .with_context(|| format!("the kernel has no module {name}"))?;
            let needed = self.dependencies[path]
                .iter()
                .rev()
                .map(String::as_str)
                .chain([path]);
            for path in needed {
                if !order.contains(&path) {
                    order.push(path);
                }
            }
        }
        order
            .into_iter()
            .map(|path| {
                let packed = tree.content(&self.full_path(path))?;
                let mut module = Vec::new();
                lzma_rust2::XzReader::new(packed.as_slice(), false)
                    .read_to_end(&mut module)
                    .with_context(|| format!("unpacking {path}"))?;
                Ok((format!("{}.ko", name_of(path)), module))
            })
            .collect()
    }

    /// Takes out every module that is neither named in `keep` nor needed by one that is, and makes
    /// the indexes anew.
    pub fn prune(&self, tree: &mut Tree, keep: &[String]) -> Result<()> {
        let kept = self.with_dependencies(keep)?;
        for path in self
            .dependencies
            .keys()
            .filter(|path| !kept.contains(path.as_str()))
        {
            tree.remove(&self.full_path(path));
        }
        self.index(tree, &kept)
            .context("indexing the kernel modules")
    }

    fn with_dependencies(&self, keep: &[String]) -> Result<BTreeSet<&str>> {
        let mut kept = BTreeSet::new();
        for wanted in keep {
            let named: Vec<_> = self
                .dependencies
                .iter()
                .filter(|(path, _)| is_named(path, wanted))
                .collect();
            ensure!(
                !named.is_empty(),
                "the kernel has no module or folder {wanted}"
            );
            for (path, needed) in named {
                kept.insert(path.as_str());
                kept.extend(needed.iter().map(String::as_str));
            }
        }
        Ok(kept)
    }

    /// Runs depmod over a copy of the kept modules and takes over what it writes.
    fn index(&self, tree: &mut Tree, kept: &BTreeSet<&str>) -> Result<()> {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        let release = folder.path().join("lib/modules").join(&self.release);
        let sources = [
            "modules.order",
            "modules.builtin",
            "modules.builtin.modinfo",
        ];
        for path in kept.iter().copied().chain(sources) {
            let target = release.join(path);
            fs::create_dir_all(target.parent().unwrap_or(&release))?;
            fs::write(target, tree.content(&self.full_path(path))?)?;
        }
        process::run(
            process::system_tool("depmod")
                .arg("-b")
                .arg(folder.path())
                .arg(&self.release),
        )?;

        tree.remove(&self.full_path("modules.*"));
        let mut names: Vec<_> = fs::read_dir(&release)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        names.sort();
        for name in names
            .iter()
            .filter_map(|name| name.to_str())
            .filter(|name| name.starts_with("modules."))
        {
            tree.insert(&self.full_path(name), 0o644, fs::read(release.join(name))?);
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.dependencies
            .keys()
            .map(String::as_str)
            .find(|path| name_of(path) == name)
    }

    fn full_path(&self, path: &str) -> String {
        format!("{MODULES}/{}/{path}", self.release)
    }
}

/// `a.ko.xz: b.ko.xz c.ko.xz` lines.
fn parse_dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(path, needed)| {
            let needed = needed.split_whitespace().map(str::to_owned).collect();
            (path.to_owned(), needed)
        })
        .collect()
}

/// Whether `wanted`, a module's name or a folder that ends in `/`, means the module.
fn is_named(path: &str, wanted: &str) -> bool {
    if wanted.ends_with('/') {
        path.starts_with(wanted)
    } else {
        name_of(path) == wanted
    }
}

/// `kernel/drivers/char/hw_random/virtio-rng.ko.xz` is the module `virtio_rng`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drivers() -> Drivers {
        let text = "kernel/scsi/sd-mod.ko.xz: kernel/scsi/scsi_mod.ko.xz kernel/scsi/scsi_common.ko.xz\n\
            kernel/scsi/scsi_mod.ko.xz: kernel/scsi/scsi_common.ko.xz\n\
            kernel/scsi/scsi_common.ko.xz:\n\
            kernel/net/dummy.ko.xz:\n";
        Drivers {
            release: "6.12".into(),
            dependencies: parse_dependencies(text),
        }
    }

    fn check_kept(keep: &[&str], expected: &[&str]) {
        let keep: Vec<String> = keep.iter().map(|&name| name.to_owned()).collect();
        let drivers = drivers();
        let kept = drivers.with_dependencies(&keep).unwrap();
        assert_eq!(kept.into_iter().map(name_of).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_needed_stays() {
        check_kept(&["sd_mod"], &["scsi_common", "scsi_mod", "sd_mod"]);
        check_kept(&["kernel/net/"], &["dummy"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = drivers()
            .with_dependencies(&["floppy".to_owned()])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel has no module or folder floppy"
        );
    }
}
