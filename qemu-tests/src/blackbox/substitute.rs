//! Placeholders in a case: `$version`, `$uuidN`, `$diskN`, `$testserverN` and partition devices.

use std::collections::BTreeMap;

use super::corpus::{Case, Disk};

/// The spec in the making where the corpus comes from, and the newest stable one it is read as.
const EXPERIMENTAL: (&str, &str) = ("3.7.0-experimental", "3.6.0");
/// Specs that were in the making once are stable now.
const IN_THE_MAKING: &str = "-experimental";

/// Replaces `$version` and every `$uuidN`, in the config as well as on the disks. The same N gets the
/// same UUID throughout the case.
pub fn names(case: &mut Case, mut fresh_uuid: impl FnMut() -> String) {
    let version = match case.min_version.as_str() {
        version if version == EXPERIMENTAL.0 => EXPERIMENTAL.1,
        version => version.trim_end_matches(IN_THE_MAKING),
    };
    case.config = case.config.replace("$version", version);
    let mut known = BTreeMap::new();
    let mut replace = |text: &mut String| {
        *text = numbered(text, "$uuid", |number| {
            known.entry(number).or_insert_with(&mut fresh_uuid).clone()
        });
    };
    replace(&mut case.config);
    for disk in case.before.iter_mut().chain(&mut case.after) {
        for partition in &mut disk.partitions {
            replace(&mut partition.type_guid);
            replace(&mut partition.guid);
            replace(&mut partition.fs_uuid);
        }
    }
}

/// Replaces `$diskN` by the N-th of `devices`, and the keys of `mnt_devices` by the device of the
/// partition with that label.
///
/// # Errors
///
/// A label that no partition has.
pub fn devices(case: &mut Case, devices: &[String]) -> Result<(), String> {
    for (text, label) in &case.mnt_devices {
        let device = partition_device(&case.before, devices, label);
        let device = device.ok_or_else(|| format!("no partition is called {label}"))?;
        case.config = case.config.replace(text, &device);
    }
    case.config = numbered(&case.config, "$disk", |number| {
        let device = devices.get(number);
        device.cloned().unwrap_or_else(|| format!("$disk{number}"))
    });
    Ok(())
}

/// Replaces `$testserverN`.
pub fn servers(config: &str, mut url: impl FnMut(usize) -> String) -> String {
    numbered(config, "$testserver", &mut url)
}

/// The numbers of the `$testserverN` in a config.
pub fn servers_in(config: &str) -> Vec<usize> {
    let mut found = Vec::new();
    servers(config, |number| {
        found.push(number);
        String::new()
    });
    found.sort_unstable();
    found.dedup();
    found
}

fn partition_device(disks: &[Disk], devices: &[String], label: &str) -> Option<String> {
    let mut found = disks.iter().zip(devices).flat_map(|(disk, device)| {
        let partitions = disk.partitions.iter();
        partitions
            .filter(|partition| partition.exists() && partition.label == label)
            .map(move |partition| format!("{device}p{}", partition.number))
    });
    found.next()
}

/// Replaces each `name` that is followed by digits, the longest run of them.
fn numbered(text: &str, name: &str, mut value: impl FnMut(usize) -> String) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        result.push_str(before);
        match after[..digits].parse() {
            Ok(number) => result.push_str(&value(number)),
            Err(_) => {
                result.push_str(name);
                result.push_str(&after[..digits]);
            }
        }
        rest = &after[digits..];
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::super::corpus::Partition;
    use super::*;

    fn case(config: &str) -> Case {
        let partition = |label: &str, number| Partition {
            label: label.to_owned(),
            number,
            size_sectors: 8,
            guid: "$uuid1".to_owned(),
            ..Partition::default()
        };
        let disk = |partitions| Disk {
            partitions,
            ..Disk::default()
        };
        Case {
            config: config.to_owned(),
            min_version: "3.2.0".to_owned(),
            before: vec![
                disk(vec![partition("boot", 1)]),
                disk(vec![partition("data", 12)]),
            ],
            mnt_devices: BTreeMap::from([("$DEVICE".to_owned(), "data".to_owned())]),
            ..Case::default()
        }
    }

    #[test]
    fn a_uuid_is_the_same_wherever_its_number_stands() {
        let mut case = case("$version $uuid1 $uuid10 $uuid1 $uuid");
        let mut count = 0;
        names(&mut case, || {
            count += 1;
            format!("u{count}")
        });
        assert_eq!(case.config, "3.2.0 u1 u2 u1 $uuid");
        assert_eq!(case.before[1].partitions[0].guid, "u1");
    }

    #[test]
    fn specs_in_the_making_are_read_as_stable_ones() {
        for (given, expected) in [
            ("3.7.0-experimental", "3.6.0"),
            ("3.1.0-experimental", "3.1.0"),
            ("3.6.0", "3.6.0"),
        ] {
            let mut case = case("$version");
            case.min_version = given.to_owned();
            names(&mut case, String::new);
            assert_eq!(case.config, expected);
        }
    }

    #[test]
    fn disks_and_partitions_get_their_devices() {
        let loops = ["/dev/loop0", "/dev/loop1"].map(str::to_owned);
        let mut found = case("$disk1 $DEVICE $disk10");
        devices(&mut found, &loops).unwrap();
        assert_eq!(found.config, "/dev/loop1 /dev/loop1p12 $disk10");
        let mut lost = case("");
        lost.mnt_devices.insert("X".to_owned(), "none".to_owned());
        assert!(devices(&mut lost, &loops).is_err());
    }

    #[test]
    fn servers_are_told_apart_by_all_their_digits() {
        assert_eq!(
            servers("a $testserver1/x $testserver10", |number| format!(
                "<{number}>"
            )),
            "a <1>/x <10>"
        );
        assert_eq!(
            servers_in("$testserver10 $testserver1 $testserver1"),
            [1, 10]
        );
    }
}
