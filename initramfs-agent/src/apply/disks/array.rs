//! Linux software arrays, by mdadm.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::disks::{Array, Device};

use super::nodes;
use crate::apply::programs;

/// How long the kernel may take to run an array that mdadm has made.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Makes and starts the array; it is there as `/dev/md/NAME` then.
pub fn create(array: &Array) -> Result<()> {
    let members = array.devices.iter().map(nodes::of);
    let members = members.collect::<Result<Vec<_>>>()?;
    programs::run("mdadm", &arguments(array, &members)?)?;
    let first = members.first().context("the array has no members")?;
    link(&array.name, first)
}

/// Stops the array.
pub fn stop(name: &str) -> Result<()> {
    let path = Device::Array(name.to_owned()).to_string();
    programs::run("mdadm", &["--stop", &path])?;
    // Without udev the link stays, and would lead to some other array of a later time.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {path}"))
        }
        _ => Ok(()),
    }
}

fn arguments(array: &Array, members: &[String]) -> Result<Vec<String>> {
    let spares = array.spares as usize;
    let active = members.len().checked_sub(spares).filter(|count| *count > 0);
    let active = active.context("the array has spares only")?.to_string();
    let spares = array.spares.to_string();
    let mut arguments = vec![
        "--create",
        &array.name,
        "--force",
        "--run",
        "--homehost",
        "any",
        "--level",
        &array.level,
        "--raid-devices",
        &active,
    ];
    if array.spares > 0 {
        arguments.extend(["--spare-devices", &spares]);
    }
    let names_metadata =
        |option: &String| option.starts_with("--metadata") || option.starts_with("-e");
    if !array.options.iter().any(names_metadata) {
        arguments.push("--metadata=1.2");
    }
    arguments.extend(array.options.iter().map(String::as_str));
    arguments.extend(members.iter().map(String::as_str));
    Ok(arguments.into_iter().map(str::to_owned).collect())
}

/// Without udev there is only the kernel's own node: makes `/dev/md/NAME` a link to it.
fn link(name: &str, member: &str) -> Result<()> {
    let path = Device::Array(name.to_owned()).to_string();
    let deadline = Instant::now() + PATIENCE;
    let node = loop {
        if let Some(node) = holder(Path::new("/sys"), member)? {
            break node;
        }
        if Instant::now() >= deadline {
            bail!("no array of {member} appears");
        }
        std::thread::sleep(POLL);
    };
    nodes::wait_for(&node)?;
    let leads_there = |path: &str| matches!((fs::canonicalize(path), fs::canonicalize(&node)), (Ok(link), Ok(node)) if link == node);
    if !leads_there(&path) {
        fs::create_dir_all("/dev/md").context("making /dev/md")?;
        let _ = fs::remove_file(&path);
        // udev, where it runs, may have been quicker by now.
        if let Err(error) = symlink(&node, &path)
            && !leads_there(&path)
        {
            return Err(error).with_context(|| format!("making the link {path}"));
        }
    }
    nodes::wait_for(&path)
}

/// The node of the array that holds a disk or partition.
fn holder(sys: &Path, member: &str) -> Result<Option<String>> {
    let real = fs::canonicalize(member).with_context(|| format!("looking at {member}"))?;
    let name = real.file_name().context("a device without a name")?;
    let holders = sys.join("class/block").join(name).join("holders");
    let mut names: Vec<String> = fs::read_dir(holders)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("md"))
        .collect();
    names.sort();
    Ok(names.first().map(|name| format!("/dev/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(level: &str, members: u32, spares: u32, options: &[&str]) -> Array {
        Array {
            name: "data".into(),
            level: level.into(),
            devices: (1..=members)
                .map(|number| Device::Partition {
                    disk: "/dev/vda".into(),
                    number,
                })
                .collect(),
            spares,
            options: options.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn arguments_of_mdadm() {
        let check = |array: &Array, expected: &str| {
            let members: Vec<String> = array.devices.iter().map(ToString::to_string).collect();
            assert_eq!(arguments(array, &members).unwrap().join(" "), expected);
        };
        check(
            &array("raid1", 2, 0, &[]),
            "--create data --force --run --homehost any --level raid1 --raid-devices 2 \
             --metadata=1.2 /dev/vda1 /dev/vda2",
        );
        check(
            &array("raid5", 4, 1, &["--chunk=64"]),
            "--create data --force --run --homehost any --level raid5 --raid-devices 3 \
             --spare-devices 1 --metadata=1.2 --chunk=64 /dev/vda1 /dev/vda2 /dev/vda3 /dev/vda4",
        );
        check(
            &array("raid1", 2, 0, &["--metadata=1.0"]),
            "--create data --force --run --homehost any --level raid1 --raid-devices 2 \
             --metadata=1.0 /dev/vda1 /dev/vda2",
        );
    }

    #[test]
    fn spares_alone_are_no_array() {
        let members = vec!["/dev/vda1".to_owned()];
        assert!(arguments(&array("raid1", 1, 1, &[]), &members).is_err());
        assert!(arguments(&array("raid1", 1, 2, &[]), &members).is_err());
    }

    #[test]
    fn an_array_is_found_by_its_member() {
        let folder = tempfile::tempdir().unwrap();
        let member = folder.path().join("vda1");
        fs::write(&member, "").unwrap();
        let member = member.to_str().unwrap();
        assert_eq!(holder(folder.path(), member).unwrap(), None);
        let holders = folder.path().join("class/block/vda1/holders");
        fs::create_dir_all(holders.join("md127")).unwrap();
        assert_eq!(
            holder(folder.path(), member).unwrap(),
            Some("/dev/md127".into())
        );
    }
}
