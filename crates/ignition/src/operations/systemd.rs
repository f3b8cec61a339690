//! Units: drop-ins, the unit's file, its mask, and the preset lines that enable and disable.

use std::collections::BTreeMap;

use super::Plan;
use crate::config::{Systemd, Unit};
use crate::operation::{Compression, File, Operation, Resource, Source};
use crate::validate::systemd::{UNIT_DIRECTORY, split_instance};

/// A new unit's or drop-in's permissions.
const MODE: u32 = 0o644;

pub(super) fn add(systemd: &Systemd, plan: &mut Plan) {
    for unit in &systemd.units {
        add_unit(unit, plan);
    }
    add_presets(systemd, plan);
}

fn add_unit(unit: &Unit, plan: &mut Plan) {
    let path = format!("{UNIT_DIRECTORY}/{}", unit.name);
    for dropin in &unit.dropins {
        // Unlike a unit, a drop-in is written when its contents are empty, if they are given.
        if let Some(contents) = &dropin.contents {
            write(format!("{path}.d/{}", dropin.name), contents, plan);
        }
    }
    if let Some(contents) = unit
        .contents
        .as_deref()
        .filter(|contents| !contents.is_empty())
    {
        write(path.clone(), contents, plan);
    }
    match unit.mask {
        Some(true) => plan.operations.push(Operation::Mask { path }),
        Some(false) => plan.operations.push(Operation::Unmask { path }),
        None => {}
    }
}

/// Unlike a file of the config, a unit takes the place of whatever is there.
fn write(path: String, contents: &str, plan: &mut Plan) {
    plan.operations.push(Operation::File(File {
        path,
        contents: Some(Resource {
            source: Source::Inline(contents.as_bytes().to_vec()),
            compression: Compression::None,
            verification: None,
        }),
        append: Vec::new(),
        mode: Some(MODE),
        user: None,
        group: None,
        overwrite: true,
    }));
}

/// One line for a unit, one for all instances of a template; sorted.
fn add_presets(systemd: &Systemd, plan: &mut Plan) {
    let mut lines: BTreeMap<(String, bool), Vec<&str>> = BTreeMap::new();
    for unit in &systemd.units {
        let Some(enabled) = unit.enabled else {
            continue;
        };
        let (name, instance) = match split_instance(&unit.name) {
            Some((template, instance)) => (template, Some(instance)),
            None => (unit.name.clone(), None),
        };
        lines
            .entry((name, enabled))
            .or_default()
            .extend(instance.filter(|name| !name.is_empty()));
    }
    for ((name, enabled), instances) in lines {
        plan.operations.push(preset(&name, enabled, &instances));
    }
}

fn preset(name: &str, enabled: bool, instances: &[&str]) -> Operation {
    let verb = if enabled { "enable" } else { "disable" };
    let mut line = format!("{verb} {name}");
    for instance in instances {
        line.push(' ');
        line.push_str(instance);
    }
    let only_if_enabled = if enabled {
        Vec::new()
    } else if instances.is_empty() {
        vec![name.to_owned()]
    } else {
        instances
            .iter()
            .map(|instance| name.replacen('@', &format!("@{instance}"), 1))
            .collect()
    };
    Operation::PresetLine {
        line,
        only_if_enabled,
    }
}
