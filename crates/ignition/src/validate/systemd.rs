//! Units: their names, their text, and files of the config in their way.

use std::collections::HashSet;

use super::{Problems, unit_text};
use crate::config::{Config, Systemd, Unit};

/// Where units and drop-ins are written.
pub(crate) const UNIT_DIRECTORY: &str = "/etc/systemd/system";

const UNIT_TYPES: [&str; 12] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "snapshot",
    "slice",
    "scope",
];

pub(super) fn check(config: &Config, problems: &mut Problems) {
    for (index, unit) in config.systemd.units.iter().enumerate() {
        check_unit(
            unit,
            &format!("$.systemd.units.{index}"),
            &config.systemd,
            problems,
        );
    }
    check_conflicts(config, problems);
}

fn check_unit(unit: &Unit, at: &str, systemd: &Systemd, problems: &mut Problems) {
    let name = &unit.name;
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    if !ending.is_some_and(|ending| UNIT_TYPES.contains(&ending)) {
        let message =
            format!("`{name}` does not end as a unit's name does (`.service`, `.mount`, …)");
        problems.error(format!("{at}.name"), message);
    }
    // The real program takes such a name and writes outside the unit directory with it.
    if name.contains('/') {
        problems.error(
            format!("{at}.name"),
            format!("unit name `{name}` holds a slash"),
        );
    }
    check_text(
        unit.contents.as_deref(),
        &format!("{at}.contents"),
        problems,
    );
    for (index, dropin) in unit.dropins.iter().enumerate() {
        let at = format!("{at}.dropins.{index}");
        if !dropin.name.ends_with(".conf") {
            let message = format!("drop-in name `{}` does not end in `.conf`", dropin.name);
            problems.error(format!("{at}.name"), message);
        }
        if dropin.name.contains('/') {
            problems.error(
                format!("{at}.name"),
                format!("drop-in name `{}` holds a slash", dropin.name),
            );
        }
        check_text(
            dropin.contents.as_deref(),
            &format!("{at}.contents"),
            problems,
        );
    }
    check_install(unit, at, systemd, problems);
}

/// An enabled unit without `[Install]` is enabled for nothing.
fn check_install(unit: &Unit, at: &str, systemd: &Systemd, problems: &mut Problems) {
    let Some(contents) = unit
        .contents
        .as_deref()
        .filter(|contents| !contents.is_empty())
    else {
        return check_template(unit, at, systemd, problems);
    };
    let has_install = [Some(contents)]
        .into_iter()
        .chain(unit.dropins.iter().map(|dropin| dropin.contents.as_deref()))
        .flatten()
        .any(has_install_section);
    if unit.enabled == Some(true) && !has_install {
        let message = format!(
            "unit {} is enabled but has no [Install] section: nothing starts it",
            unit.name
        );
        problems.warning(format!("{at}.contents"), message);
    }
}

fn check_template(unit: &Unit, at: &str, systemd: &Systemd, problems: &mut Problems) {
    let Some((template, _)) = split_instance(&unit.name) else {
        return;
    };
    let contents = systemd
        .units
        .iter()
        .find(|other| other.name == template)
        .and_then(|other| other.contents.as_deref());
    if unit.enabled == Some(true)
        && contents.is_some_and(|text| !text.is_empty() && !has_install_section(text))
    {
        let message = format!(
            "template {template} of {} has no [Install] section",
            unit.name
        );
        problems.warning(format!("{at}.contents"), message);
    }
}

/// `echo@bar.service` → (`echo@.service`, `bar`).
pub(crate) fn split_instance(name: &str) -> Option<(String, &str)> {
    let at = name.find('@')?;
    let dot = name.rfind('.').filter(|dot| *dot > at)?;
    Some((
        format!("{}{}", &name[..=at], &name[dot..]),
        &name[at + 1..dot],
    ))
}

fn has_install_section(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "[Install]")
}

fn check_text(text: Option<&str>, at: &str, problems: &mut Problems) {
    if let Some(mistake) = text.and_then(unit_text::mistake) {
        problems.error(at, format!("not the text of a unit: {mistake}"));
    }
}

/// A path of the config where a unit or drop-in with contents will be.
fn check_conflicts(config: &Config, problems: &mut Problems) {
    let mut written = HashSet::new();
    let has_text =
        |contents: &Option<String>| contents.as_deref().is_some_and(|text| !text.is_empty());
    for unit in &config.systemd.units {
        if has_text(&unit.contents) {
            written.insert(format!("{UNIT_DIRECTORY}/{}", unit.name));
        }
        for dropin in unit
            .dropins
            .iter()
            .filter(|dropin| has_text(&dropin.contents))
        {
            written.insert(format!("{UNIT_DIRECTORY}/{}.d/{}", unit.name, dropin.name));
        }
    }
    let storage = &config.storage;
    let files = storage
        .files
        .iter()
        .map(|file| &file.path)
        .enumerate()
        .map(|(i, path)| ("files", i, path));
    let directories = storage
        .directories
        .iter()
        .map(|directory| &directory.path)
        .enumerate();
    let links = storage.links.iter().map(|link| &link.path).enumerate();
    let others = directories
        .map(|(i, path)| ("directories", i, path))
        .chain(links.map(|(i, path)| ("links", i, path)));
    for (list, index, path) in files
        .chain(others)
        .filter(|(_, _, path)| written.contains(*path))
    {
        let message = format!("{path} is written by systemd.units already");
        problems.error(format!("$.storage.{list}.{index}.path"), message);
    }
}
