//! What `depmod` finds out about modules, read from the text files that it writes.
//!
//! `modules.dep` leaves out soft dependencies (ext4 needs `crc32c`, by name only), so they are resolved
//! here from `modules.softdep`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Module;
use crate::{process, progress};

/// Every module of an unpacked kernel package, by name; `folder` is that of the release.
pub(super) fn read(
    package: &Path,
    kernel: &str,
    folder: &Path,
) -> Result<BTreeMap<String, Module>> {
    run_depmod(package, kernel)?;
    let text = |name: &str| {
        fs::read_to_string(folder.join(name))
            .with_context(|| format!("reading {name} of kernel {kernel}"))
    };
    let (dep, alias, softdep) = (
        text("modules.dep")?,
        text("modules.alias")?,
        text("modules.softdep")?,
    );
    Ok(parse(
        folder,
        &Lists {
            dep: &dep,
            alias: &alias,
            softdep: &softdep,
        },
    ))
}

/// Has depmod write its lists, once.
fn run_depmod(package: &Path, kernel: &str) -> Result<()> {
    let done = package.join(".depmod");
    if done.exists() {
        return Ok(());
    }
    // Older kmod looks in /lib/modules, newer in /usr/lib/modules.
    let link = package.join("lib");
    if link.symlink_metadata().is_err() {
        std::os::unix::fs::symlink("usr/lib", &link)
            .with_context(|| format!("linking {}", link.display()))?;
    }
    let step = progress::spinner(format!("reading the modules of kernel {kernel}"));
    process::run(
        process::system_tool("depmod")
            .arg("-b")
            .arg(package)
            .arg(kernel),
    )?;
    step.done("dependencies and aliases known");
    fs::write(&done, "").with_context(|| format!("writing {}", done.display()))
}

/// What depmod wrote.
pub(super) struct Lists<'a> {
    pub dep: &'a str,
    pub alias: &'a str,
    pub softdep: &'a str,
}

/// Every module that the lists name, by name.
pub(super) fn parse(folder: &Path, lists: &Lists) -> BTreeMap<String, Module> {
    let mut modules = BTreeMap::new();
    for (place, needs) in lists.dep.lines().filter_map(|line| line.split_once(':')) {
        let module = Module {
            path: folder.join(place),
            place: place.to_owned(),
            depends: needs.split_whitespace().map(name_of_place).collect(),
            softdeps: Vec::new(),
            aliases: Vec::new(),
        };
        modules.insert(name_of_place(place), module);
    }
    let mut by_alias: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (alias, name) in lists
        .alias
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
    {
        if let Some(module) = modules.get_mut(name) {
            module.aliases.push(alias.to_owned());
            by_alias.entry(alias).or_default().push(name.to_owned());
        }
    }
    let known: BTreeSet<String> = modules.keys().cloned().collect();
    for line in lists
        .softdep
        .lines()
        .filter_map(|line| line.strip_prefix("softdep "))
    {
        let Some((name, needs)) = line.split_once(' ') else {
            continue;
        };
        if let Some(module) = modules.get_mut(&underscored(name)) {
            module
                .softdeps
                .extend(soft_dependencies(needs, &known, &by_alias));
        }
    }
    modules
}

/// The modules before `post:` of a soft dependency. One that is neither a module nor an alias is built
/// into the kernel, or not there at all.
fn soft_dependencies(
    needs: &str,
    known: &BTreeSet<String>,
    by_alias: &BTreeMap<&str, Vec<String>>,
) -> Vec<String> {
    let before = needs.split("post:").next().unwrap_or_default();
    let mut found = Vec::new();
    for word in before.split_whitespace().filter(|word| *word != "pre:") {
        let name = underscored(word);
        if known.contains(&name) {
            found.push(name);
        } else {
            found.extend(by_alias.get(word).into_iter().flatten().cloned());
        }
    }
    found
}

/// `kernel/fs/nls/nls_iso8859-1.ko.xz` is module `nls_iso8859_1`.
fn name_of_place(place: &str) -> String {
    let file = place.rsplit('/').next().unwrap_or(place);
    underscored(file.split(".ko").next().unwrap_or(file))
}

pub(super) fn underscored(name: &str) -> String {
    name.replace('-', "_")
}
