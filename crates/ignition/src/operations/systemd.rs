//! Units: drop-ins, the unit's file, its mask, and the preset lines that enable and disable.

use std::collections::BTreeMap;

use super::Plan;
use crate::config::{Systemd, Unit};
use crate::operation::Operation;
use crate::validate::systemd::{UNIT_DIRECTORY, split_instance};

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
            plan.operations.push(Operation::UnitFile {
                path: format!("{path}.d/{}", dropin.name),
                contents: contents.clone(),
            });
        }
    }
    if let Some(contents) = unit
        .contents
        .as_deref()
        .filter(|contents| !contents.is_empty())
    {
        plan.operations.push(Operation::UnitFile {
            path: path.clone(),
            contents: contents.to_owned(),
        });
    }
    match unit.mask {
        Some(true) => plan.operations.push(Operation::Mask { path }),
        Some(false) => plan.operations.push(Operation::Unmask { path }),
        None => {}
    }
}

/// One line for a unit, one for all instances of a template, sorted as the real program sorts.
fn add_presets(systemd: &Systemd, plan: &mut Plan) {
    let mut lines: BTreeMap<String, Operation> = BTreeMap::new();
    for unit in &systemd.units {
        let key = |name: &str, word: &str| format!("{name}-{word}");
        match (unit.enabled, split_instance(&unit.name)) {
            (Some(true), Some((template, instance))) => {
                let line = lines
                    .entry(key(&template, "enabled"))
                    .or_insert_with(|| preset(format!("enable {template}"), &[]));
                if let Operation::PresetLine { line, .. } = line {
                    line.push(' ');
                    line.push_str(instance);
                }
            }
            (Some(true), None) => {
                let line = preset(format!("enable {}", unit.name), &[]);
                lines.insert(key(&unit.name, "enabled"), line);
            }
            (Some(false), None) => {
                let line = preset(format!("disable {}", unit.name), &[&unit.name]);
                lines.insert(key(&unit.name, "disabled"), line);
            }
            // The real program asks systemctl about the instances of a template in one word, hears
            // that there is no such unit, and leaves them as they are.
            (Some(false), Some(_)) | (None, _) => {}
        }
    }
    plan.operations.extend(lines.into_values());
}

fn preset(line: String, only_if_enabled: &[&str]) -> Operation {
    Operation::PresetLine {
        line,
        only_if_enabled: only_if_enabled
            .iter()
            .map(|unit| (*unit).to_owned())
            .collect(),
    }
}
