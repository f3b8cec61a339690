//! Filesystems: kept where they are what is wanted, made where nothing is.

use anyhow::{Result, bail};
use hardway_ignition::operation::disks::{Filesystem, Format};

use super::nodes;
use super::probe::{self, Found};
use crate::apply::programs;

/// Makes the filesystem, or keeps the one that is there. Says which.
pub fn make(wanted: &Filesystem) -> Result<&'static str> {
    let device = nodes::of(&wanted.device)?;
    if wanted.wipe {
        programs::run("wipefs", &["--all", &device])?;
    } else if let Some(found) = probe::find(&device)? {
        if matches(wanted, &found) {
            return Ok("kept");
        }
        bail!("{device} holds {found}; it is not erased, because wipeFilesystem is not set");
    }
    let Some(program) = program(wanted.format) else {
        return Ok("left blank");
    };
    programs::run(program, &arguments(wanted, &device))?;
    Ok("made")
}

fn matches(wanted: &Filesystem, found: &Found) -> bool {
    let wanted_uuid = wanted.uuid.as_deref();
    found.kind == wanted.format.name()
        && wanted
            .label
            .as_ref()
            .is_none_or(|label| *label == found.label)
        && wanted_uuid.is_none_or(|uuid| {
            canonical(wanted.format, uuid) == canonical(wanted.format, &found.uuid)
        })
}

/// Lower case; the volume number of FAT without the dash that people write in it.
fn canonical(format: Format, uuid: &str) -> String {
    let uuid = uuid.to_lowercase();
    match format {
        Format::Vfat if uuid.as_bytes().get(4) == Some(&b'-') => uuid.replacen('-', "", 1),
        _ => uuid,
    }
}

fn program(format: Format) -> Option<&'static str> {
    match format {
        Format::Ext4 => Some("mkfs.ext4"),
        Format::Btrfs => Some("mkfs.btrfs"),
        Format::Xfs => Some("mkfs.xfs"),
        Format::Vfat => Some("mkfs.vfat"),
        Format::Swap => Some("mkswap"),
        Format::None => None,
    }
}

/// The configuration's own options, then those that make the program not ask, then UUID and label.
fn arguments(wanted: &Filesystem, device: &str) -> Vec<String> {
    let format = wanted.format;
    let mut arguments = wanted.options.clone();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    match format {
        Format::Btrfs => add(&["--force"]),
        Format::Ext4 => add(&["-F"]),
        Format::Xfs | Format::Swap => add(&["-f"]),
        Format::Vfat | Format::None => {}
    }
    // An empty one is only compared with.
    if let Some(uuid) = wanted.uuid.as_deref().filter(|uuid| !uuid.is_empty()) {
        let uuid = canonical(format, uuid);
        match format {
            Format::Xfs => add(&["-m", &format!("uuid={uuid}")]),
            Format::Vfat => add(&["-i", &uuid]),
            _ => add(&["-U", &uuid]),
        }
    }
    if let Some(label) = wanted.label.as_deref().filter(|label| !label.is_empty()) {
        let flag = if format == Format::Vfat { "-n" } else { "-L" };
        add(&[flag, label]);
    }
    add(&[device]);
    arguments
}

#[cfg(test)]
mod tests {
    use hardway_ignition::operation::disks::Device;

    use super::*;

    fn filesystem(format: Format, label: Option<&str>, uuid: Option<&str>) -> Filesystem {
        Filesystem {
            device: Device::Disk("/dev/vdb".into()),
            format,
            label: label.map(str::to_owned),
            uuid: uuid.map(str::to_owned),
            options: Vec::new(),
            wipe: false,
        }
    }

    const UUID: &str = "F63BF118-f6d7-40a3-b64c-a92b05a7f9ee";

    #[test]
    fn arguments_of_every_mkfs() {
        let check = |format, uuid: &str, expected: &str| {
            let mut wanted = filesystem(format, Some("data"), Some(uuid));
            wanted.options = vec!["--own".into()];
            let line = [
                &[program(format).unwrap().to_owned()][..],
                &arguments(&wanted, "/dev/vdb")[..],
            ];
            assert_eq!(line.concat().join(" "), expected);
        };
        let uuid = "f63bf118-f6d7-40a3-b64c-a92b05a7f9ee";
        let with = |text: &str| text.replace("UUID", uuid);
        check(
            Format::Ext4,
            UUID,
            &with("mkfs.ext4 --own -F -U UUID -L data /dev/vdb"),
        );
        check(
            Format::Btrfs,
            UUID,
            &with("mkfs.btrfs --own --force -U UUID -L data /dev/vdb"),
        );
        check(
            Format::Xfs,
            UUID,
            &with("mkfs.xfs --own -f -m uuid=UUID -L data /dev/vdb"),
        );
        check(
            Format::Swap,
            UUID,
            &with("mkswap --own -f -U UUID -L data /dev/vdb"),
        );
        check(
            Format::Vfat,
            "2E24-EC82",
            "mkfs.vfat --own -i 2e24ec82 -n data /dev/vdb",
        );
        let plain = filesystem(Format::Xfs, None, None);
        assert_eq!(arguments(&plain, "/dev/vdb"), ["-f", "/dev/vdb"]);
    }

    #[test]
    fn what_is_asked_for_has_to_be_there() {
        let found = |kind: &str, label: &str, uuid: &str| Found {
            kind: kind.into(),
            label: label.into(),
            uuid: uuid.into(),
        };
        let ext4 = found("ext4", "data", &UUID.to_lowercase());
        let vfat = found("vfat", "EFI", "2E24-EC82");
        for (wanted, found, expected) in [
            (filesystem(Format::Ext4, None, None), &ext4, true),
            (
                filesystem(Format::Ext4, Some("data"), Some(UUID)),
                &ext4,
                true,
            ),
            (filesystem(Format::Ext4, Some(""), None), &ext4, false),
            (filesystem(Format::Ext4, Some("Data"), None), &ext4, false),
            (
                filesystem(Format::Ext4, None, Some("2E24EC82")),
                &ext4,
                false,
            ),
            (filesystem(Format::Xfs, None, None), &ext4, false),
            (filesystem(Format::None, None, None), &ext4, false),
            (
                filesystem(Format::Vfat, None, Some("2e24ec82")),
                &vfat,
                true,
            ),
            (
                filesystem(Format::Vfat, None, Some("2e24-ec82")),
                &vfat,
                true,
            ),
        ] {
            assert_eq!(matches(&wanted, found), expected, "{wanted:?}");
        }
    }

    /// The real programs, on a file in a device's stead: what is made is found again.
    #[test]
    fn what_mkfs_makes_is_kept_the_next_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let path = file.path().to_str().unwrap();
        let wanted = filesystem(Format::Ext4, Some("data"), Some(UUID));
        programs::run("mkfs.ext4", &arguments(&wanted, path)).unwrap();
        let found = probe::find(path).unwrap().unwrap();
        assert!(matches(&wanted, &found), "{found}");
    }
}
