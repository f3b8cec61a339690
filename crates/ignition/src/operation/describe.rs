//! Operations in words, for people: what a plan shows before it is carried out.

use std::fmt::Write as _;

use super::disks::{Array, Fate, Filesystem, Format, Mount, Table, TableEntry, Volume};
use super::{Operation, Operations, Stage};

const MIB: u64 = 1 << 20;

impl Operations {
    /// What happens to devices and what is mounted, a line each.
    pub fn describe_disks(&self) -> Vec<String> {
        let is_of_disks = |operation: &&Operation| operation.stage() != Stage::Files;
        self.operations
            .iter()
            .filter(is_of_disks)
            .flat_map(Operation::describe)
            .collect()
    }
}

impl Operation {
    /// What it does. A partition table takes a line for each partition, anything else one line.
    pub fn describe(&self) -> Vec<String> {
        let one = match self {
            Self::WriteTable(table) => return describe_table(table),
            Self::CreateArray(array) => describe_array(array),
            Self::OpenVolume(volume) => describe_volume(volume),
            Self::MakeFilesystem(filesystem) => describe_filesystem(filesystem),
            Self::Mount(mount) => describe_mount(mount),
            Self::KernelArguments {
                should_exist,
                should_not_exist,
            } => {
                let words = |sign: &str, arguments: &[String]| -> Vec<String> {
                    let signed = arguments.iter().map(|argument| format!("{sign}{argument}"));
                    signed.collect()
                };
                let mut words_of_both = words("-", should_not_exist);
                words_of_both.extend(words("+", should_exist));
                format!("kernel arguments: {}", words_of_both.join(" "))
            }
            Self::CreateGroup(group) => format!("group {}: created or changed", group.name),
            Self::DeleteGroup { name } => format!("group {name}: deleted"),
            Self::EnsureUser(user) => format!("user {}: created or changed", user.name),
            Self::DeleteUser { name } => format!("user {name}: deleted"),
            Self::AuthorizeKeys { user, keys, .. } => {
                format!("user {user}: SSH keys set ({})", keys.len())
            }
            Self::Directory(directory) => format!("{}/: directory", directory.path),
            Self::File(file) => format!("{}: {}", file.path, describe_file(file)),
            Self::Symlink(link) => format!("{}: link to {}", link.path, link.target),
            Self::HardLink(link) => format!("{}: hard link to {}", link.path, link.target),
            Self::UnitFile { path, .. } => format!("{path}: unit"),
            Self::Mask { path } => format!("{path}: masked"),
            Self::Unmask { path } => format!("{path}: unmasked"),
            Self::PresetLine { line, .. } => format!("preset: {line}"),
            Self::PersistVolumes { volumes } => {
                let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
                format!("/etc/crypttab: {}", names.join(", "))
            }
            Self::WriteResult { .. } => "/etc/.ignition-result.json: written".to_owned(),
            Self::Relabel { paths } => {
                format!(
                    "SELinux labels, where there is a policy: {}",
                    paths.join(" ")
                )
            }
        };
        vec![one]
    }
}

fn describe_table(table: &Table) -> Vec<String> {
    let disk = &table.disk;
    let head = match (&table.found, table.wipe, table.entries.is_empty()) {
        (_, true, true) => "every partition table destroyed",
        (Some(_), true, false) => "partition table destroyed, new GPT",
        (None, _, false) => "new GPT",
        (None, false, true) => "new GPT without partitions",
        (Some(_), false, _) => "GPT changed",
    };
    let mut lines = vec![format!("{disk}: {head}")];
    let mut rows: Vec<(u32, String)> = Vec::new();
    for entry in &table.entries {
        rows.push((entry.number, describe_entry(table, entry)));
    }
    let found = table.found.as_deref().unwrap_or_default();
    let is_gone = |entry: &&TableEntry| !table.entries.iter().any(|new| new.number == entry.number);
    for entry in found.iter().filter(is_gone) {
        let place = extent(entry.start, entry.sectors, table.sector_size);
        rows.push((
            entry.number,
            format!("- {}{}: {place}, deleted", entry.number, name(entry)),
        ));
    }
    rows.sort_by_key(|(number, _)| *number);
    lines.extend(rows.into_iter().map(|(_, row)| format!("  {row}")));
    lines
}

fn describe_entry(table: &Table, entry: &TableEntry) -> String {
    let (sign, fate) = match entry.fate {
        Fate::Kept => (" ", "kept"),
        Fate::Created => ("+", "created"),
        Fate::Recreated => ("±", "deleted and made anew"),
        Fate::Resized => ("~", "resized, keeping what it holds"),
    };
    let mut row = format!(
        "{sign} {}{}: {}, {fate}",
        entry.number,
        name(entry),
        extent(entry.start, entry.sectors, table.sector_size)
    );
    let found = table.found.as_deref().unwrap_or_default();
    let before = found.iter().find(|found| found.number == entry.number);
    if let Some(before) = before.filter(|_| entry.fate != Fate::Kept) {
        let place = extent(before.start, before.sectors, table.sector_size);
        // Writing into a String cannot fail.
        let _ = write!(row, " (was{} {place})", name(before));
    }
    if table.erase.contains(&entry.number) {
        row.push_str(", old signatures erased");
    }
    row
}

fn name(entry: &TableEntry) -> String {
    match entry.label.as_str() {
        "" => String::new(),
        label => format!(" `{label}`"),
    }
}

fn describe_array(array: &Array) -> String {
    let members: Vec<String> = array.devices.iter().map(ToString::to_string).collect();
    let spares = match array.spares {
        0 => String::new(),
        spares => format!(", {spares} of them spare"),
    };
    format!(
        "/dev/md/{}: {} array of {}{spares}",
        array.name,
        array.level,
        members.join(", ")
    )
}

fn describe_volume(volume: &Volume) -> String {
    let opened_by = match (&volume.clevis, &volume.key) {
        (Some(clevis), None) => format!("clevis ({})", clevis.pin),
        (Some(clevis), Some(_)) => format!("clevis ({}) or its key", clevis.pin),
        (None, Some(_)) => "its key".to_owned(),
        (None, None) => "a new key".to_owned(),
    };
    format!(
        "/dev/mapper/{}: LUKS2 volume on {}, opened by {opened_by}{}",
        volume.name,
        volume.device,
        if volume.wipe {
            "; whatever is there is erased"
        } else {
            ""
        }
    )
}

fn describe_filesystem(filesystem: &Filesystem) -> String {
    let label = match filesystem.label.as_deref() {
        None | Some("") => String::new(),
        Some(label) => format!(" `{label}`"),
    };
    let device = &filesystem.device;
    match (filesystem.format, filesystem.wipe) {
        (Format::None, true) => format!("{device}: erased"),
        (Format::None, false) => format!("{device}: left blank"),
        (format, true) => format!(
            "{device}: {}{label}; whatever is there is erased",
            format.name()
        ),
        (format, false) => format!(
            "{device}: {}{label}, kept if it is there already",
            format.name()
        ),
    }
}

fn describe_mount(mount: &Mount) -> String {
    let options = match mount.options.as_slice() {
        [] => String::new(),
        options => format!(" ({})", options.join(",")),
    };
    format!("{}: mounted from {}{options}", mount.path, mount.device)
}

fn describe_file(file: &super::File) -> String {
    let mut does = Vec::new();
    if file.contents.is_some() {
        does.push(
            if file.overwrite {
                "replaced"
            } else {
                "written"
            }
            .to_owned(),
        );
    } else if file.append.is_empty() {
        does.push("made if missing".to_owned());
    }
    if !file.append.is_empty() {
        does.push(format!("{} appended", file.append.len()));
    }
    does.join(", ")
}

/// Sectors in MiB, exact where they are whole.
pub(crate) fn size(sectors: u64, sector_size: u32) -> String {
    let bytes = u128::from(sectors) * u128::from(sector_size);
    let mib = u128::from(MIB);
    if bytes % mib == 0 {
        format!("{} MiB", bytes / mib)
    } else {
        format!("{}.{} MiB", bytes / mib, bytes % mib * 10 / mib)
    }
}

/// A place on a disk: `32 MiB at 1 MiB`.
pub(crate) fn extent(start: u64, sectors: u64, sector_size: u32) -> String {
    format!(
        "{} at {}",
        size(sectors, sector_size),
        size(start, sector_size)
    )
}
