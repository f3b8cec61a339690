//! The firmware's boot variables, in efivarfs (the kernel's Documentation/filesystems/efivarfs.rst).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use hardway_model::boot_variables::{MOST_BYTES, NAMESPACE, Variable};
use hardway_userspace::mounts::{self, Flags};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::drivers::Drivers;

/// Where efivarfs is mounted, and where UEFI is, below it.
pub const FOLDER: &str = "/sys/firmware/efi/efivars";
/// Kept without power, and there for boot services and for systems (UEFI 2.10, section 8.2).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// Mounts efivarfs, whose module is in the appliance's store, unless that is done.
pub fn mount(drivers: &mut Drivers) -> Result<()> {
    let folder = Path::new(FOLDER);
    let is_empty = |mut entries: std::fs::ReadDir| entries.next().is_none();
    if folder.read_dir().is_ok_and(is_empty) {
        drivers.load("efivarfs");
        let flags = Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC;
        mounts::mount("efivarfs", folder, "efivarfs", flags, "")?;
    }
    Ok(())
}

/// Reads them; `None` where there are none, and where there are more than a message may hold.
pub fn read(folder: &Path) -> Option<Vec<Variable>> {
    let mut variables = Vec::new();
    let mut bytes = 0;
    for entry in folder.read_dir().ok()?.flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.split_once('-'));
        if let Some((name, NAMESPACE)) = name
            && is_boot_variable(name)
        {
            // One that cannot be read must not look as if its number were free.
            let value = value(&entry.path())?;
            bytes += value.len();
            variables.push(Variable {
                name: name.to_owned(),
                value,
            });
        }
    }
    (!variables.is_empty() && bytes <= MOST_BYTES).then_some(variables)
}

/// `BootOrder`, `BootCurrent`, `Boot0000`: others, as `BootOptionSupport`, are of no matter here.
fn is_boot_variable(name: &str) -> bool {
    let rest = name.strip_prefix("Boot").unwrap_or_default();
    let is_number = rest.len() == 4 && rest.bytes().all(|c| c.is_ascii_hexdigit());
    is_number || rest == "Order" || rest == "Current"
}

/// Writes variables, in their order, and reads each of them back.
pub fn write(folder: &Path, variables: &[Variable]) -> Result<()> {
    for Variable { name, value } in variables {
        if !is_boot_variable(name) {
            bail!("{name} is no boot variable");
        }
        let path = folder.join(format!("{name}-{NAMESPACE}"));
        put(&path, value).with_context(|| format!("writing the firmware's {name}"))?;
        let kept = path.exists().then(|| self::value(&path)).flatten();
        if kept.unwrap_or_default() != *value {
            bail!("the firmware took {name} and did not keep it");
        }
    }
    Ok(())
}

/// A variable without its attributes.
fn value(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    Some(bytes.get(ATTRIBUTES.len()..)?.to_vec())
}

fn put(path: &Path, value: &[u8]) -> Result<()> {
    // The kernel protects variables that it does not know from a careless `rm`.
    if let Ok(file) = File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
    }
    if value.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => Ok(outcome?),
        };
    }
    // Never truncated beforehand, and written at once: each write is a variable.
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(&[&ATTRIBUTES, value].concat())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &[u8]) -> Variable {
        Variable {
            name: name.to_owned(),
            value: value.to_vec(),
        }
    }

    #[test]
    fn written_read_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(read(folder), None);
        let written = [
            variable("Boot000A", &[1, 2, 3]),
            variable("BootOrder", &[10, 0]),
        ];
        write(folder, &written).unwrap();
        let file = folder.join("Boot000A-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        assert_eq!(std::fs::read(&file).unwrap(), [7, 0, 0, 0, 1, 2, 3]);
        for other in [
            "BootOptionSupport-8be4df61-93ca-11d2-aa0d-00e098032b8c",
            "Boot0001-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
            "Bootß-x",
            "Timeout",
        ] {
            std::fs::write(folder.join(other), [7, 0, 0, 0, 1]).unwrap();
        }
        let mut found = read(folder).unwrap();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(found, written);
        for _ in 0..2 {
            write(folder, &[variable("Boot000A", &[])]).unwrap();
        }
        assert_eq!(read(folder).unwrap(), [variable("BootOrder", &[10, 0])]);
    }

    #[test]
    fn what_cannot_be_written_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // As firmware that takes a shorter order and keeps the longer one.
        write(folder, &[variable("BootOrder", &[1, 0, 2, 0])]).unwrap();
        let error = write(folder, &[variable("BootOrder", &[2, 0])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the firmware took BootOrder and did not keep it"
        );
        let error = write(folder, &[variable("../Boot0001", &[1])]).unwrap_err();
        assert_eq!(error.to_string(), "../Boot0001 is no boot variable");
        let error = write(&folder.join("absent"), &[variable("Boot0001", &[1])]).unwrap_err();
        assert_eq!(error.to_string(), "writing the firmware's Boot0001");
        // Without its attributes it is no variable, and its number not free.
        std::fs::write(folder.join(format!("Boot0001-{NAMESPACE}")), [7]).unwrap();
        assert_eq!(read(folder), None);
        std::fs::write(
            folder.join(format!("Boot0001-{NAMESPACE}")),
            vec![7; 70_000],
        )
        .unwrap();
        assert_eq!(read(folder), None);
    }
}
