//! Carries an `enable` preset line out at once.
//!
//! systemd applies presets only at what it takes for a first boot (machine-id(5)): an image whose
//! machine-id is there but empty never has one. So the links that `systemctl enable` would make are
//! made here, by the unit's own `[Install]` section (systemd.unit(5)).

use anyhow::Result;

use super::root::TargetRoot;

const UNITS: &str = "/etc/systemd/system";
/// What a masked unit is a link to.
const NOWHERE: &str = "/dev/null";
/// Where unit files stand, the stronger first.
const UNIT_FOLDERS: [&str; 4] = [
    UNITS,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What makes links.
const LINKING: [&str; 4] = ["WantedBy", "RequiredBy", "UpheldBy", "Alias"];

/// Makes the links for a line such as `enable etcd.service` or `enable echo@.service a b`. A line of
/// another kind, and a unit that is not there, change nothing: the preset line stands in any case.
pub fn apply(root: &TargetRoot, line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let (Some("enable"), Some(unit)) = (words.next(), words.next()) else {
        return Ok(());
    };
    let instances: Vec<&str> = words.collect();
    let Some((file, text)) = find(root, unit)? else {
        return Ok(());
    };
    match unit.split_once("@.") {
        Some((stem, kind)) => instances.iter().try_for_each(|instance| {
            link(root, &format!("{stem}@{instance}.{kind}"), &file, &text)
        }),
        None => link(root, unit, &file, &text),
    }
}

/// The text of a unit that is there and not masked.
pub fn text(root: &TargetRoot, unit: &str) -> Result<Option<String>> {
    Ok(find(root, unit)?.map(|(_, text)| text))
}

/// Whether a unit's text says by what it is enabled.
pub fn is_installable(text: &str) -> bool {
    install_section(text).any(|(key, _)| LINKING.contains(&key))
}

/// The strongest unit file of that name, with its text and that of all drop-ins behind one another.
fn find(root: &TargetRoot, unit: &str) -> Result<Option<(String, String)>> {
    for folder in UNIT_FOLDERS {
        let path = format!("{folder}/{unit}");
        if let Some(text) = root.read_link(&path)?
            && (text == NOWHERE || is_masked(root, &text)?)
        {
            return Ok(None);
        }
        if let Some(bytes) = root.read(&path)? {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Some((path, text + &dropins(root, unit)?)));
        }
    }
    Ok(None)
}

/// Whether the unit that another name leads to is masked.
fn is_masked(root: &TargetRoot, target: &str) -> Result<bool> {
    let unit = target.rsplit('/').next().unwrap_or_default();
    let text = root.read_link(&format!("{UNITS}/{unit}"))?;
    Ok(text.as_deref() == Some(NOWHERE))
}

fn dropins(root: &TargetRoot, unit: &str) -> Result<String> {
    let mut text = String::new();
    for folder in UNIT_FOLDERS {
        let names = root.list(&format!("{folder}/{unit}.d"))?;
        for name in names.iter().filter(|name| name.ends_with(".conf")) {
            let bytes = root.read(&format!("{folder}/{unit}.d/{name}"))?;
            text.push('\n');
            text.push_str(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
        }
    }
    Ok(text)
}

fn link(root: &TargetRoot, unit: &str, file: &str, text: &str) -> Result<()> {
    for (key, value) in install_section(text) {
        let folder = match key {
            "WantedBy" => format!("{UNITS}/{value}.wants"),
            "RequiredBy" => format!("{UNITS}/{value}.requires"),
            "UpheldBy" => format!("{UNITS}/{value}.upholds"),
            "Alias" => UNITS.to_owned(),
            _ => continue,
        };
        let name = if key == "Alias" { value } else { unit };
        let path = format!("{folder}/{name}");
        if root.kind(&path)?.is_none() {
            root.symlink(file, &path)?;
            root.set_owner(&path, 0, 0)?;
        }
    }
    Ok(())
}

/// Keys of every `[Install]` with each of their values, which have to be plain names.
fn install_section(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut is_inside = false;
    text.lines()
        .map(str::trim)
        .filter(move |line| {
            if line.starts_with('[') {
                is_inside = *line == "[Install]";
            }
            is_inside
        })
        .filter_map(|line| line.split_once('='))
        .flat_map(|(key, values)| {
            values
                .split_whitespace()
                .filter(|value| !value.contains('/'))
                .map(move |value| (key.trim(), value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::root::tests::{own, root};

    fn check(file: &str, text: &str, line: &str, links: &[(&str, &str)]) {
        let (_folder, root) = root();
        root.replace(file, text.as_bytes(), &own(0o644)).unwrap();
        for _ in 0..2 {
            apply(&root, line).unwrap();
        }
        for (path, target) in links {
            let path = format!("{UNITS}/{path}");
            assert_eq!(
                root.read_link(&path).unwrap().as_deref(),
                Some(*target),
                "{path}"
            );
        }
        if links.is_empty() {
            assert_eq!(root.list(UNITS).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn links_are_made_by_the_install_section() {
        let file = "/usr/lib/systemd/system/etcd.service";
        let text = "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=multi-user.target a.target\nAlias=etcd2.service\n";
        check(
            file,
            text,
            "enable etcd.service",
            &[
                ("multi-user.target.wants/etcd.service", file),
                ("a.target.wants/etcd.service", file),
                ("etcd2.service", file),
            ],
        );
        let own = format!("{UNITS}/own.service");
        check(
            &own,
            "[Install]\nA=b\n[Service]\nWantedBy=no.target\n[Install]\nWantedBy=b.target\n",
            "enable own.service",
            &[("b.target.wants/own.service", &own)],
        );
        check(file, text, "disable etcd.service", &[]);
        check(file, text, "enable other.service", &[]);
        check(
            file,
            "[Install]\nAlias=../../x\n",
            "enable etcd.service",
            &[],
        );
    }

    #[test]
    fn instances_are_links_to_their_template() {
        let file = "/usr/lib/systemd/system/echo@.service";
        check(
            file,
            "[Install]\nRequiredBy=multi-user.target\n",
            "enable echo@.service a b",
            &[
                ("multi-user.target.requires/echo@a.service", file),
                ("multi-user.target.requires/echo@b.service", file),
            ],
        );
    }
}
