//! What systemd-boot, or firmware by itself, would start of an EFI system partition: the entry that is
//! the default of `loader/loader.conf`, or a unified kernel image.
//!
//! The order of the entries is systemd-boot's own (sd-boot(7), loader.conf(5), the Boot Loader
//! Specification UAPI.1). Whatever is not certain is an error: the machine is then started by its
//! firmware, which knows.

use std::cmp::{Ordering, Reverse};

use anyhow::{Context, Result, bail};

use super::boot_entries::{self, BootEntry, fields};
use super::root::TargetRoot;
use super::unified_kernel::Program;
use super::version_order;

/// What firmware starts from a disk, and what a shim starts from there.
const PROGRAMS: [&str; 2] = ["/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/grubx64.efi"];
const LOADER: &str = "/loader/loader.conf";
/// Entries of type 1.
const ENTRIES: &str = "/loader/entries";
/// Entries of type 2.
const UNIFIED: &str = "/EFI/Linux";
/// What systemd's stub adds to a kernel image that it starts.
const ADDED: [&str; 2] = ["/loader/addons", "/loader/credentials"];

/// What one filesystem holds for UEFI.
#[derive(Default)]
pub struct Found {
    program: Option<Kind>,
    loader: String,
    entries: Vec<Entry>,
}

/// What firmware starts.
enum Kind {
    SystemdBoot,
    Unified(Result<BootEntry>),
    Other,
}

/// An entry, with what its place in the order depends on.
struct Entry {
    /// The file's name in lower case, without the counter of tries.
    id: String,
    /// Tries left and done.
    tries: Option<(u32, u32)>,
    sort_key: Option<String>,
    machine_id: String,
    version: String,
    boot: Result<BootEntry>,
}

/// Reads what a filesystem holds.
pub fn look(root: &TargetRoot) -> Result<Found> {
    let mut found = Found {
        program: program(root)?,
        ..Found::default()
    };
    if root.exists(LOADER)? {
        found.loader = boot_entries::text(root, LOADER)?;
    }
    for name in boot_entries::entry_names(root, ENTRIES)? {
        let text = boot_entries::text(root, &format!("{ENTRIES}/{name}"))?;
        found.entries.extend(Entry::of_text(&name, &text));
    }
    for path in unified(root)? {
        found.entries.push(Entry::of_program(root, path)?);
    }
    Ok(found)
}

/// The path of a unified kernel image that this filesystem starts, or may start.
pub fn unified_kernel(root: &TargetRoot) -> Result<Option<String>> {
    for path in PROGRAMS {
        if root.exists(path)? {
            let file = root.open_file(path)?;
            if Program::open(&file).is_ok_and(|program| program.has(".linux")) {
                return Ok(Some(path.to_owned()));
            }
        }
    }
    Ok(unified(root)?.pop())
}

/// Paths of the unified kernel images in their folder.
fn unified(root: &TargetRoot) -> Result<Vec<String>> {
    let mut names = root.list(UNIFIED)?;
    names.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
    Ok(names
        .iter()
        .map(|name| format!("{UNIFIED}/{name}"))
        .collect())
}

/// The entry that would be started, with the index of its filesystem; `None` where something else than
/// systemd-boot or a unified kernel image is what firmware starts. `told` is a variable of the firmware
/// by which systemd-boot is to start something else than its configuration says.
pub fn choose(filesystems: Vec<Found>, told: Option<&str>) -> Result<Option<(usize, BootEntry)>> {
    let mut first = None;
    let mut loader = String::new();
    let mut entries = Vec::new();
    for (at, found) in filesystems.into_iter().enumerate() {
        if let Some(program) = found.program {
            if first.is_some() {
                bail!("two partitions have {}", PROGRAMS[0]);
            }
            first = Some((at, program));
            loader = found.loader;
        }
        entries.extend(found.entries.into_iter().map(|entry| (at, entry)));
    }
    match first {
        None | Some((_, Kind::Other)) => Ok(None),
        Some((at, Kind::Unified(entry))) => Ok(Some((at, entry?))),
        Some((_, Kind::SystemdBoot)) => {
            if let Some(variable) = told {
                bail!("the firmware's variable {variable} tells systemd-boot what to start");
            }
            let (at, entry) = default(&loader, entries)?;
            Ok(Some((at, entry.boot?)))
        }
    }
}

/// The first in systemd-boot's order that its configuration names, else the first of all.
fn default(loader: &str, mut entries: Vec<(usize, Entry)>) -> Result<(usize, Entry)> {
    let mut pattern = String::new();
    for (key, value) in fields(loader) {
        match (key, value) {
            ("default", value) => pattern = value.to_ascii_lowercase(),
            ("preferred", _) | ("timeout", "menu-force") => {
                bail!("{LOADER} says `{key} {value}`")
            }
            _ => {}
        }
    }
    // `@saved` is what was started last; the others are no patterns of this kind.
    if pattern.contains(['@', '[', '\\']) {
        bail!("{LOADER} says `default {pattern}`");
    }
    let is_named = |(_, entry): &(usize, Entry)| fits(pattern.as_bytes(), entry.id.as_bytes());
    if entries.iter().any(is_named) {
        entries.retain(is_named);
    }
    let first = entries
        .into_iter()
        .min_by(|(_, one), (_, other)| one.compare(other));
    first.context("systemd-boot has no entries")
}

/// Whether `name` fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| fits(rest, &name[at..])),
        ([b'?', rest @ ..], [_, name @ ..]) => fits(rest, name),
        ([one, rest @ ..], [other, name @ ..]) => one == other && fits(rest, name),
        _ => false,
    }
}

/// What kind of program stands where firmware looks.
fn program(root: &TargetRoot) -> Result<Option<Kind>> {
    for path in PROGRAMS {
        if !root.exists(path)? {
            continue;
        }
        let file = root.open_file(path)?;
        let program = Program::open(&file).with_context(|| format!("reading {path}"))?;
        if program.has(".linux") {
            return Ok(Some(Kind::Unified(boot(root, path.to_owned(), &program))));
        }
        if program.text(".sdmagic")?.contains("systemd-boot") {
            return Ok(Some(Kind::SystemdBoot));
        }
    }
    Ok(root.exists(PROGRAMS[0])?.then_some(Kind::Other))
}

/// What a unified kernel image starts, unless its stub does more than a kexec can.
fn boot(root: &TargetRoot, path: String, program: &Program<'_>) -> Result<BootEntry> {
    for (section, what) in [
        (".profile", "has several profiles"),
        (".pcrsig", "is measured into the TPM"),
        (".dtb", "brings a device tree"),
    ] {
        if program.has(section) {
            bail!("{path} {what}");
        }
    }
    for folder in ADDED
        .iter()
        .copied()
        .chain([format!("{path}.extra.d").as_str()])
    {
        if !root.list(folder)?.is_empty() {
            bail!("{folder} adds to {path}");
        }
    }
    Ok(BootEntry {
        arguments: program.text(".cmdline")?,
        kernel: path,
        initrds: Vec::new(),
        is_unified: true,
    })
}

impl Entry {
    /// An entry of type 1; `None` if it is for another architecture.
    fn of_text(name: &str, text: &str) -> Option<Self> {
        let (id, tries) = without_tries(name);
        let mut entry = Self {
            id,
            tries,
            sort_key: None,
            machine_id: String::new(),
            version: String::new(),
            boot: Ok(BootEntry::default()),
        };
        for (key, value) in fields(text) {
            match key {
                "sort-key" => entry.sort_key = Some(value.to_owned()),
                "machine-id" => entry.machine_id = value.to_owned(),
                "version" => entry.version = value.to_owned(),
                "architecture" if !value.eq_ignore_ascii_case("x64") => return None,
                "efi" | "uki" | "uki-url" | "profile" | "devicetree" | "devicetree-overlay" => {
                    entry.boot = Err(anyhow::anyhow!("{name} says `{key} {value}`"));
                }
                _ => {}
            }
        }
        if entry.boot.is_ok() {
            entry.boot = boot_entries::checked(boot_entries::parse_entry(text));
        }
        Some(entry)
    }

    /// An entry of type 2: what it is called stands in its `os-release`.
    fn of_program(root: &TargetRoot, path: String) -> Result<Self> {
        let file = root.open_file(&path)?;
        let (id, tries) = without_tries(&path[UNIFIED.len() + 1..]);
        let program = Program::open(&file).with_context(|| format!("reading {path}"))?;
        let text = program.text(".osrel")?;
        let first = |keys: &[&str]| keys.iter().find_map(|key| variable(&text, key));
        Ok(Self {
            id,
            tries,
            sort_key: first(&["IMAGE_ID", "ID"]),
            machine_id: String::new(),
            version: first(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"])
                .unwrap_or_default(),
            boot: boot(root, path, &program),
        })
    }

    /// The one that comes first in the menu is the lesser one.
    fn compare(&self, other: &Self) -> Ordering {
        let is_bad = |entry: &Self| entry.tries.is_some_and(|(left, _)| left == 0);
        let by_name = version_order::compare(&other.id, &self.id);
        let order = is_bad(self).cmp(&is_bad(other));
        let order = order.then(self.sort_key.is_none().cmp(&other.sort_key.is_none()));
        let order = if self.sort_key.is_some() && other.sort_key.is_some() {
            order
                .then_with(|| self.sort_key.cmp(&other.sort_key))
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| version_order::compare(&other.version, &self.version))
        } else {
            order
        };
        order.then(by_name).then_with(|| {
            let key = |(left, done)| (Reverse(left), done);
            match (self.tries, other.tries) {
                (Some(one), Some(other)) => key(one).cmp(&key(other)),
                _ => Ordering::Equal,
            }
        })
    }
}

/// `Debian+3-1.conf` → `debian.conf`, three tries left, one done (UAPI.1, "Boot counting").
fn without_tries(name: &str) -> (String, Option<(u32, u32)>) {
    let lower = name.to_ascii_lowercase();
    let counter = || {
        let (stem, ending) = lower.rsplit_once('.')?;
        let (stem, counter) = stem.rsplit_once('+')?;
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let tries = (left.parse().ok()?, done.parse().ok()?);
        Some((format!("{stem}.{ending}"), tries))
    };
    match counter() {
        Some((id, tries)) => (id, Some(tries)),
        None => (lower, None),
    }
}

/// A variable of `os-release`.
fn variable(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let value = line.trim().strip_prefix(name)?.strip_prefix('=')?;
        let value = value.trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    text.lines().find_map(value)
}

#[cfg(test)]
#[path = "loader_entries_tests.rs"]
mod tests;
