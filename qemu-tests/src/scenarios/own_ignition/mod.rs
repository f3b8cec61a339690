//! Images that bring Ignition along get their configuration where their first boot looks for it,
//! with the right modes, and are changed nowhere else.
//!
//! The images are stand-ins made by [`image`]: the real ones are too large to be fetched by a test.
//! What their own Ignition makes of the configuration is not seen here.

mod image;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{expect_timeline, own_images, wait_installed};
use crate::lab::{Lab, LabMachine, LabOptions};
use crate::tools::{self, run};
use crate::{disk, interrupt};

/// Its folders: of the configuration and the images.
const NAME: &str = "own-ignition";
/// How long an installed machine may take to switch itself off.
const TO_OFF: Duration = Duration::from_secs(60);

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    let folder = own_images::folder(options, NAME)?;
    image::make(&folder.join("images"))?;
    own_images::serve(options, NAME, &folder)
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    for name in ["coreos1", "flatcar1"] {
        lab.machine(name)?.power_on()?;
    }
    let images = lab.options().cluster.with_file_name("images");
    for (name, image) in [
        ("coreos1", "coreos-like.img"),
        ("flatcar1", "flatcar-like.img"),
    ] {
        let installed = wait_installed(lab, name)?;
        expect_timeline(&installed, "for the image's own Ignition")?;
        let receipt = installed.installed.context("there is no receipt")?;
        // Their own Ignition may change them.
        ensure!(receipt.partitions.is_empty(), "{:?}", receipt.partitions);
        let machine = lab.machine(name)?;
        wait_off(machine)?;
        let disk = machine.disk().to_owned();
        expect_the_images_own_table(&disk, &images.join(image))?;
        let config = match name {
            "coreos1" => config_on_ext4(&disk),
            _ => config_on_btrfs(&disk),
        };
        let config = config.with_context(|| format!("looking into the disk of {name}"))?;
        expect_config(&config, name)?;
    }
    Ok(())
}

fn wait_off(machine: &mut LabMachine) -> Result<()> {
    let deadline = Instant::now() + TO_OFF;
    while machine.vm.is_on() {
        interrupt::check()?;
        ensure!(
            Instant::now() < deadline,
            "{} does not switch itself off",
            machine.declared.name
        );
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Master boot record, GPT header and entries are the image's: its first boot goes by them.
fn expect_the_images_own_table(disk: &Path, image: &Path) -> Result<()> {
    const HEAD: usize = 34 * 512;
    let head = |path: &Path| -> Result<Vec<u8>> {
        let mut bytes = vec![0; HEAD];
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    ensure!(
        head(disk)? == head(image)?,
        "the partition table was changed"
    );
    Ok(())
}

/// The file on the partition `boot`, its mode and its folder's.
fn config_on_ext4(disk: &Path) -> Result<String> {
    let offset = disk::partition_offset(disk, "boot")?;
    let filesystem = format!("{}?offset={offset}", disk.display());
    let ask = |request: &str| run(tools::system("debugfs").args(["-R", request, &filesystem]));
    for (path, mode) in [("/ignition", "0700"), ("/ignition/config.ign", "0600")] {
        let answer = ask(&format!("stat {path}"))?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|found| *found == word)?;
            words.get(at + 1).copied()
        };
        let found = (after("Mode:"), after("User:"), after("Group:"));
        ensure!(
            found == (Some(mode), Some("0"), Some("0")),
            "{path} is not {mode} 0:0: {answer}"
        );
    }
    ask("cat /ignition/config.ign")
}

/// The file on the filesystem `OEM`, and its mode.
fn config_on_btrfs(disk: &Path) -> Result<String> {
    let filesystem = extract(disk, "OEM")?;
    let mut inspect = Command::new("btrfs");
    inspect.args(["inspect-internal", "dump-tree", "-t", "5"]);
    let tree = run(inspect.arg(&filesystem))?;
    let inode = inode_of(&tree, "config.ign").context("there is no config.ign")?;
    let key = format!("{inode} INODE_ITEM 0)");
    let item = tree.split("\titem ").find(|item| {
        let own_key = item.split_once("key (");
        own_key.is_some_and(|(_, rest)| rest.starts_with(&key))
    });
    let item = item.context("config.ign has no inode")?;
    ensure!(
        item.contains("mode 100600") && item.contains("uid 0 gid 0"),
        "config.ign is not 0600 0:0: {item}"
    );
    let target = filesystem.with_extension("files");
    fs::create_dir_all(&target)?;
    run(Command::new("btrfs")
        .arg("restore")
        .arg(&filesystem)
        .arg(&target))?;
    Ok(fs::read_to_string(target.join("config.ign"))?)
}

/// A partition as a file beside the disk's.
fn extract(disk: &Path, label: &str) -> Result<PathBuf> {
    /// As long as the generator makes it.
    const LENGTH: usize = 128 << 20;
    let offset = disk::partition_offset(disk, label)?;
    let mut bytes = vec![0; LENGTH];
    File::open(disk)?.read_exact_at(&mut bytes, offset)?;
    let file = disk.with_extension(label);
    fs::write(&file, bytes)?;
    Ok(file)
}

/// The inode number that a name of a directory stands for, from `btrfs inspect-internal dump-tree`.
fn inode_of(tree: &str, name: &str) -> Option<u64> {
    let item = tree
        .split("\titem ")
        .find(|item| item.contains(" DIR_ITEM ") && item.contains(&format!("name: {name}")))?;
    let (_, location) = item.split_once("location key (")?;
    location.split_whitespace().next()?.parse().ok()
}

fn expect_config(text: &str, name: &str) -> Result<()> {
    let config: Value = serde_json::from_str(text).context("parsing config.ign")?;
    let files = config["storage"]["files"].as_array();
    let motd = files
        .into_iter()
        .flatten()
        .find(|file| file["path"] == "/etc/motd");
    let source = motd.and_then(|file| file["contents"]["source"].as_str());
    ensure!(
        source.is_some_and(|source| source.contains(name)),
        "the configuration is not that of {name}: {text}"
    );
    let units = config["systemd"]["units"].as_array();
    ensure!(
        units
            .into_iter()
            .flatten()
            .any(|unit| unit["name"] == "hardway-confirm.service"),
        "the configuration confirms nothing: {text}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator's images are what the checks can read.
    #[test]
    fn stand_ins_have_the_partitions_and_no_config() {
        let folder = tempfile::tempdir().unwrap();
        image::make(folder.path()).unwrap();
        let coreos = folder.path().join("coreos-like.img");
        let offset = disk::partition_offset(&coreos, "boot").unwrap();
        let filesystem = format!("{}?offset={offset}", coreos.display());
        let mut debugfs = tools::system("debugfs");
        let files = run(debugfs.args(["-R", "ls -p /", &filesystem])).unwrap();
        assert!(files.contains("ignition.firstboot"), "{files}");
        let error = config_on_ext4(&coreos).unwrap_err();
        assert!(error.to_string().contains("is not 0700"), "{error}");
        let flatcar = folder.path().join("flatcar-like.img");
        let error = config_on_btrfs(&flatcar).unwrap_err();
        assert_eq!(error.to_string(), "there is no config.ign");
    }
}
