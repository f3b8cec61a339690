//! What stands on a device, as libblkid sees it: real Ignition asks the same library.

use std::io::Read;

use anyhow::{Context, Result, bail};

use crate::apply::programs;

/// blkid's exit status when there is nothing to tell.
const NOTHING: i32 = 2;
/// blkid's exit status when several filesystems are recognised at once.
const AMBIVALENT: i32 = 8;

/// What libblkid recognises first of all. Where several filesystems leave their signatures on one
/// device, it takes the first in this order; of containers only one ever counts.
const PRECEDENCE: [&str; 9] = [
    "vfat",
    "swsuspend",
    "swap",
    "xfs",
    "ext4",
    "ext3",
    "ext2",
    "zfs_member",
    "btrfs",
];

/// Something recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The kind: `ext4`, `crypto_LUKS`, …
    pub kind: String,
    /// Its label; empty for none.
    pub label: String,
    /// Its UUID; empty for none.
    pub uuid: String,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.label.is_empty() {
            write!(f, " with label {:?}", self.label)?;
        }
        if !self.uuid.is_empty() {
            write!(f, " with UUID {}", self.uuid)?;
        }
        Ok(())
    }
}

/// What is on the device; `None` for nothing. A partition table is not looked for.
pub fn find(device: &str) -> Result<Option<Found>> {
    // To blkid a device that cannot be read is as one with nothing on it.
    let mut first = [0; 512];
    std::fs::File::open(device)
        .and_then(|mut file| file.read_exact(&mut first))
        .with_context(|| format!("reading {device}"))?;
    let among = match ask(device, None, "TYPE")? {
        Some(Answer::One(kind)) => return details(device, None, kind).map(Some),
        Some(Answer::Several) => PRECEDENCE,
        // From 2.41 on blkid says of several filesystems what it says of none: nothing, with the same
        // status.
        None if bears_signatures(device)? => PRECEDENCE,
        None => return Ok(None),
    };
    for kind in among {
        if let Some(Answer::One(found)) = ask(device, Some(kind), "TYPE")? {
            return details(device, Some(kind), found).map(Some);
        }
    }
    bail!("{device} has the signatures of several filesystems at once")
}

/// Whether there are signatures of anything but partition tables.
fn bears_signatures(device: &str) -> Result<bool> {
    let arguments = ["--noheadings", "--output", "USAGE", device];
    let usages = programs::run("wipefs", &arguments)?;
    let mut usages = usages.lines().map(str::trim);
    Ok(usages.any(|usage| !matches!(usage, "" | "partition-table")))
}

enum Answer {
    One(String),
    Several,
}

fn details(device: &str, only: Option<&str>, kind: String) -> Result<Found> {
    let text = |tag: &str| -> Result<String> {
        Ok(match ask(device, only, tag)? {
            Some(Answer::One(text)) => text,
            _ => String::new(),
        })
    };
    Ok(Found {
        kind,
        label: text("LABEL")?,
        uuid: text("UUID")?,
    })
}

fn ask(device: &str, only: Option<&str>, tag: &str) -> Result<Option<Answer>> {
    let finished = programs::ask("blkid", &arguments(device, only, tag))?;
    match finished.status {
        Some(0) => {
            let text = finished
                .output
                .strip_suffix('\n')
                .unwrap_or(&finished.output);
            Ok((!text.is_empty()).then(|| Answer::One(text.to_owned())))
        }
        Some(NOTHING) if finished.last_words.is_empty() => Ok(None),
        Some(AMBIVALENT) => Ok(Some(Answer::Several)),
        _ => Err(finished.failure("blkid")),
    }
}

fn arguments<'a>(device: &'a str, only: Option<&'a str>, tag: &'a str) -> Vec<&'a str> {
    let mut arguments = vec![
        "--probe",
        "--no-encoding",
        "--match-tag",
        tag,
        "--output",
        "value",
    ];
    if let Some(kind) = only {
        arguments.extend(["--match-types", kind]);
    }
    arguments.push(device);
    arguments
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file(writes: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(2 << 20).unwrap();
        for (at, bytes) in writes {
            file.as_file().write_all_at(bytes, *at).unwrap();
        }
        file
    }

    /// A swap area of version 1 (linux/swap.h): one page of header, label and UUID in it.
    const SWAP: [(u64, &[u8]); 4] = [
        (1024, &[1, 0, 0, 0, 0xff, 0x01, 0, 0]),
        (1036, &[0x11; 16]),
        (1052, b"paper"),
        (4086, b"SWAPSPACE2"),
    ];

    #[test]
    fn nothing_and_one_thing() {
        let blank = file(&[]);
        assert_eq!(find(blank.path().to_str().unwrap()).unwrap(), None);
        let swap = file(&SWAP);
        let found = find(swap.path().to_str().unwrap()).unwrap().unwrap();
        assert_eq!(
            found.to_string(),
            r#"swap with label "paper" with UUID 11111111-1111-1111-1111-111111111111"#
        );
    }

    #[test]
    fn of_several_the_first_counts() {
        let mut writes = SWAP.to_vec();
        writes.push((0x1_0040, b"_BHRfS_M"));
        let device = file(&writes);
        assert_eq!(
            find(device.path().to_str().unwrap()).unwrap().unwrap().kind,
            "swap"
        );
    }

    #[test]
    fn a_device_that_is_not_there() {
        let error = find("/dev/no-such-device").unwrap_err();
        assert_eq!(error.to_string(), "reading /dev/no-such-device");
    }

    #[test]
    fn arguments_of_blkid() {
        assert_eq!(
            arguments("/dev/vda1", Some("ext4"), "UUID").join(" "),
            "--probe --no-encoding --match-tag UUID --output value --match-types ext4 /dev/vda1"
        );
    }
}
