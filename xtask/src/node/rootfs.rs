//! The recipe applied to the root filesystem: what goes, what is masked, what is laid over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::recipe::Recipe;
use super::tree::Tree;
use crate::apt::Package;
use crate::stamp;

const DPKG_STATUS: &str = "var/lib/dpkg/status";
const DPKG_INFO: &str = "var/lib/dpkg/info";

/// A package in dpkg's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    name: String,
    version: String,
}

/// Applies the recipe, and returns the packages that are left.
pub fn prepare(tree: &mut Tree, recipe: &Recipe, recipe_folder: &Path) -> Result<Vec<Installed>> {
    remove_packages(tree, &recipe.remove_packages)?;
    for pattern in &recipe.remove {
        tree.remove(pattern);
    }
    for unit in &recipe.mask {
        tree.link(&format!("etc/systemd/system/{unit}"), "/dev/null");
    }
    for (path, target) in &recipe.links {
        tree.link(path, target);
    }
    lay_over(tree, &recipe_folder.join("overlay"))?;
    Ok(installed(&tree.text(DPKG_STATUS)?))
}

/// Finds each installed package among those that were resolved, for its hash.
pub fn with_hashes(installed: &[Installed], resolved: &[Package]) -> Result<Vec<Package>> {
    let find = |wanted: &Installed| {
        let same = |known: &&Package| known.name == wanted.name && known.version == wanted.version;
        let found = resolved.iter().find(same).cloned();
        found.with_context(|| format!("{} {} was not resolved", wanted.name, wanted.version))
    };
    installed.iter().map(find).collect()
}

/// Takes out packages with their files and what dpkg knows of them.
fn remove_packages(tree: &mut Tree, names: &[String]) -> Result<()> {
    let gone: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let files = files_of_packages(tree)?;
    let kept: BTreeSet<&str> = files
        .iter()
        .filter(|(name, _)| !gone.contains(name.as_str()))
        .flat_map(|(_, files)| files.iter().map(String::as_str))
        .collect();
    for name in names {
        let listed = files
            .get(name)
            .with_context(|| format!("package {name} is not there"))?;
        // Backwards, so that a folder comes after what is in it.
        for path in listed
            .iter()
            .rev()
            .filter(|path| !kept.contains(path.as_str()))
        {
            tree.remove_unless_used(path);
        }
        tree.remove(&format!("{DPKG_INFO}/{name}.*"));
        tree.remove(&format!("{DPKG_INFO}/{name}:amd64.*"));
    }
    let status = without_packages(&tree.text(DPKG_STATUS)?, &gone);
    tree.insert(DPKG_STATUS, 0o644, status.into_bytes());
    Ok(())
}

/// The paths of each package, sorted, as dpkg's lists have them.
fn files_of_packages(tree: &Tree) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let lists = tree
        .below(DPKG_INFO)
        .filter_map(|path| Some((path, path.strip_suffix(".list")?)));
    let mut files = BTreeMap::new();
    for (path, stem) in lists {
        let name = stem.rsplit('/').next().unwrap_or(stem);
        let name = name.split(':').next().unwrap_or(name);
        let paths = tree
            .text(path)?
            .lines()
            .map(real_path)
            .filter(|path| !path.is_empty())
            .collect();
        files.insert(name.to_owned(), paths);
    }
    Ok(files)
}

/// A path without leading `/`, behind the links that `/bin`, `/lib` and `/sbin` are.
fn real_path(listed: &str) -> String {
    let path = listed.trim_start_matches("/.").trim_start_matches('/');
    let first = path.split('/').next().unwrap_or(path);
    match first {
        "bin" | "lib" | "lib64" | "sbin" => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

fn without_packages(status: &str, gone: &BTreeSet<&str>) -> String {
    let kept = status.split_inclusive("\n\n").filter(|stanza| {
        let name = field(stanza, "Package").unwrap_or_default();
        !gone.contains(name)
    });
    kept.collect()
}

fn installed(status: &str) -> Vec<Installed> {
    status
        .split("\n\n")
        .filter_map(|stanza| {
            Some(Installed {
                name: field(stanza, "Package")?.to_owned(),
                version: field(stanza, "Version")?.to_owned(),
            })
        })
        .collect()
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = stanza.lines().filter_map(|line| line.split_once(": "));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim())
}

fn lay_over(tree: &mut Tree, overlay: &Path) -> Result<()> {
    for path in stamp::files_below(overlay)? {
        let reading = || format!("reading {}", path.display());
        let executable = fs::metadata(&path)
            .with_context(reading)?
            .permissions()
            .mode()
            & 0o100
            != 0;
        let mode = if executable { 0o755 } else { 0o644 };
        let relative = path
            .strip_prefix(overlay)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        tree.insert(&relative, mode, fs::read(&path).with_context(reading)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: apt\nStatus: install ok installed\nVersion: 3.0\n\n\
        Package: bash\nVersion: 5.2\n\nPackage: perl-base\nVersion: 5.40\n\n";

    #[test]
    fn packages_leave_the_database() {
        let status = without_packages(STATUS, &BTreeSet::from(["apt", "perl-base"]));
        assert_eq!(status, "Package: bash\nVersion: 5.2\n\n");
        let bash = Installed {
            name: "bash".into(),
            version: "5.2".into(),
        };
        assert_eq!(installed(&status), [bash]);
    }

    #[test]
    fn a_package_that_was_not_resolved_is_named() {
        let error = with_hashes(&installed(STATUS), &[]).unwrap_err();
        assert_eq!(error.to_string(), "apt 3.0 was not resolved");
    }

    #[test]
    fn paths_behind_links() {
        for (listed, real) in [
            ("/.", ""),
            ("/lib/a", "usr/lib/a"),
            ("/usr/bin/a", "usr/bin/a"),
            ("/etc", "etc"),
        ] {
            assert_eq!(real_path(listed), real, "{listed}");
        }
    }
}
