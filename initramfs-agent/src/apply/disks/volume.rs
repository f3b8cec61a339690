//! LUKS2 volumes, by cryptsetup, and their binding to TPM and Tang, by clevis.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::disks::{Clevis, Volume};
use serde_json::Value;

use super::{guid, nodes, probe};
use crate::apply::programs;

/// Where keys stand until they are brought into the target.
const KEYS: &str = "/run/hardway/luks";
/// Random bytes of a generated key; they stand in the file as twice as many hexadecimal digits,
/// because clevis fails on key files that are not text.
const KEY_LENGTH: usize = 4096;

/// Makes the volume, or keeps the one that is there, and opens it as `/dev/mapper/NAME`. `given` is
/// the configuration's own key. Says what it did.
pub fn open(volume: &Volume, given: Option<&[u8]>) -> Result<&'static str> {
    let device = nodes::of(&volume.device)?;
    let key = store_key(&volume.name, given)?;
    let key = key.to_str().context("the key's path")?;
    if volume.wipe {
        programs::run("wipefs", &["--all", &device])?;
    } else if is_luks2(&device)? {
        keep(volume, given.is_some(), &device, key)
            .with_context(|| format!("keeping the volume on {device}, as wipeVolume is not set"))?;
        nodes::wait_for(&node(&volume.name))?;
        return Ok("kept");
    } else if let Some(found) = probe::find(&device)? {
        bail!("{device} holds {found}; it is not erased, because wipeVolume is not set");
    }
    programs::run("cryptsetup", &format_arguments(volume, &device, key))?;
    programs::run("cryptsetup", &open_arguments(volume, &device, key))?;
    if let Some(clevis) = &volume.clevis {
        bind(volume, clevis, &device, key)?;
        if given.is_none() {
            // Nobody was told this key: clevis alone opens the volume from now on.
            programs::run("cryptsetup", &["luksRemoveKey", &device, key])?;
            forget_key(&volume.name)?;
        }
    }
    nodes::wait_for(&node(&volume.name))?;
    Ok("made")
}

/// Closes the volume.
pub fn close(name: &str) -> Result<()> {
    programs::run("cryptsetup", &["close", name]).map(drop)
}

/// A volume's UUID, from its header.
pub fn uuid(volume: &Volume) -> Result<String> {
    let device = nodes::of(&volume.device)?;
    let uuid = programs::run("cryptsetup", &["luksUUID", &device])?;
    Ok(uuid.trim().to_owned())
}

/// A volume's key, if it is one to be brought into the target.
pub fn stored_key(name: &str) -> Result<Option<Vec<u8>>> {
    match fs::read(key_path(name)?) {
        Ok(key) => Ok(Some(key)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading the key of {name}")),
    }
}

/// Removes a volume's key from this machine's own memory.
pub fn forget_key(name: &str) -> Result<()> {
    match fs::remove_file(key_path(name)?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the key of {name}"))
        }
        _ => Ok(()),
    }
}

fn node(name: &str) -> String {
    format!("/dev/mapper/{name}")
}

fn key_path(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        bail!("`{name}` is no name of a volume");
    }
    Ok(Path::new(KEYS).join(name))
}

fn store_key(name: &str, given: Option<&[u8]>) -> Result<PathBuf> {
    let path = key_path(name)?;
    let key = match given {
        Some(key) => key.to_owned(),
        None => generated()?.into_bytes(),
    };
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(KEYS)?;
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&path)?.write_all(&key)
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn generated() -> Result<String> {
    let mut bytes = vec![0; KEY_LENGTH];
    guid::fill_randomly(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_luks2(device: &str) -> Result<bool> {
    let is = |arguments: &[&str]| -> Result<bool> {
        let finished = programs::ask("cryptsetup", arguments)?;
        match finished.status {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(finished.failure("cryptsetup")),
        }
    };
    if is(&["isLuks", "--type", "luks2", device])? {
        return Ok(true);
    }
    if is(&["isLuks", device])? {
        bail!("{device} holds a LUKS volume of version 1, and only version 2 can be kept");
    }
    Ok(false)
}

/// Opens a volume that is there already, if it is the wanted one.
fn keep(volume: &Volume, has_own_key: bool, device: &str, key: &str) -> Result<()> {
    if volume.clevis.is_some() {
        bail!("what clevis would open it by cannot be compared");
    }
    if !has_own_key {
        bail!("the configuration gives no key for it");
    }
    if let Some(label) = &volume.label {
        let found = probe::find(device)?.unwrap_or_default().label;
        if *label != found {
            bail!("its label is {found:?}, and {label:?} is wanted");
        }
    }
    if let Some(wanted) = &volume.uuid {
        let found = programs::run("cryptsetup", &["luksUUID", device])?;
        if !found.trim().eq_ignore_ascii_case(wanted) {
            bail!("its UUID is {}, and {wanted} is wanted", found.trim());
        }
    }
    let header = programs::run("cryptsetup", &["luksDump", "--dump-json-metadata", device])?;
    if passes_discards(&header)? != volume.discard {
        bail!("it differs in whether discards pass through it");
    }
    programs::run("cryptsetup", &open_arguments(volume, device, key)).map(drop)
}

/// Whether a LUKS2 header (its JSON area) lets discards pass.
fn passes_discards(header: &str) -> Result<bool> {
    let header: Value = serde_json::from_str(header).context("reading the volume's header")?;
    let flags = header["config"]["flags"].as_array();
    Ok(flags.is_some_and(|flags| flags.iter().any(|flag| flag == "allow-discards")))
}

fn format_arguments(volume: &Volume, device: &str, key: &str) -> Vec<String> {
    let mut arguments = words(&[
        "luksFormat",
        "--type",
        "luks2",
        "--batch-mode",
        "--key-file",
        key,
    ]);
    for (flag, value) in [("--label", &volume.label), ("--uuid", &volume.uuid)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            arguments.extend(words(&[flag, value]));
        }
    }
    arguments.extend(volume.options.iter().cloned());
    arguments.push(device.to_owned());
    arguments
}

/// The flags given here are stored in the header: the installed system opens the volume alike.
fn open_arguments(volume: &Volume, device: &str, key: &str) -> Vec<String> {
    let mut arguments = words(&[
        "luksOpen",
        device,
        &volume.name,
        "--key-file",
        key,
        "--persistent",
    ]);
    if volume.discard {
        arguments.push("--allow-discards".to_owned());
    }
    arguments.extend(volume.open_options.iter().cloned());
    arguments
}

/// Binds the volume, and opens it once by the binding where that can work here.
fn bind(volume: &Volume, clevis: &Clevis, device: &str, key: &str) -> Result<()> {
    let Clevis { pin, config, .. } = clevis;
    let bind = ["luks", "bind", "-f", "-k", key, "-d", device, pin, config];
    programs::run("clevis", &bind)?;
    if opens_here(pin, config) {
        close(&volume.name)?;
        let unlock = ["luks", "unlock", "-d", device, "-n", &volume.name];
        programs::run("clevis", &unlock).context("opening the volume by its binding")?;
    }
    Ok(())
}

/// Whether enough of what opens the volume can be reached from here. A Tang server whose
/// advertisement the configuration holds may only be reached where the system will run.
fn opens_here(pin: &str, config: &str) -> bool {
    let Ok(config) = serde_json::from_str::<Value>(config) else {
        return false;
    };
    if pin != "sss" {
        return false;
    }
    let servers = config["pins"]["tang"].as_array().into_iter().flatten();
    let reachable = servers.filter(|server| server["adv"].is_null()).count() as u64;
    let tpm = u64::from(!config["pins"]["tpm2"].is_null());
    reachable + tpm >= config["t"].as_u64().unwrap_or(1)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
