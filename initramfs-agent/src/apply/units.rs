//! systemd units: masks, and the preset lines that enable and disable.

use anyhow::Result;

use super::enablement;
use super::root::{Attributes, Kind, TargetRoot};

const UNITS: &str = "/etc/systemd/system";
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";
const NOWHERE: &str = "/dev/null";

/// Writes a unit or a drop-in. A directory is not taken away for it.
pub fn write(root: &TargetRoot, path: &str, contents: &str) -> Result<()> {
    root.replace(path, contents.as_bytes(), &Attributes::root(0o644))
}

/// Puts a link to /dev/null in the place of whatever stands there.
pub fn mask(root: &TargetRoot, path: &str) -> Result<()> {
    root.remove(path)?;
    root.symlink(NOWHERE, path)?;
    root.set_owner(path, 0, 0)
}

/// Removes such a link, and nothing else.
pub fn unmask(root: &TargetRoot, path: &str) -> Result<()> {
    if root.read_link(path)?.as_deref() == Some(NOWHERE) {
        root.remove(path)?;
    }
    Ok(())
}

/// Appends a preset line, where it is conditional only if one of the units is enabled, whose links
/// are removed.
pub fn preset(root: &TargetRoot, line: &str, only_if_enabled: &[String]) -> Result<()> {
    if !only_if_enabled.is_empty() {
        let mut is_any_enabled = false;
        for unit in only_if_enabled {
            is_any_enabled |= disable(root, unit)?;
        }
        if !is_any_enabled {
            return Ok(());
        }
    }
    let standing = root.read(PRESETS)?;
    let attributes = match root.stat(PRESETS)? {
        Some(stat) => Attributes::of(&stat),
        None => Attributes::root(0o644),
    };
    let mut text = standing.unwrap_or_default();
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    root.replace(PRESETS, &text, &attributes)
}

/// Removes the links that enable a unit. Says whether `systemctl is-enabled` would have ended well:
/// the unit is there, and linked, or has nothing to be linked by.
fn disable(root: &TargetRoot, unit: &str) -> Result<bool> {
    let Some(text) = enablement::text(root, unit)? else {
        return Ok(false);
    };
    let mut links = enabling_links(root, unit)?;
    // Another name of a unit: the unit itself goes with it.
    if let Some(text) = root.read_link(&format!("{UNITS}/{unit}"))? {
        let target = text.rsplit('/').next().unwrap_or_default();
        links.extend(enabling_links(root, target)?);
    }
    for link in &links {
        root.remove(link)?;
        remove_if_empty(root, link)?;
    }
    Ok(!links.is_empty() || !enablement::is_installable(&text))
}

fn enabling_links(root: &TargetRoot, unit: &str) -> Result<Vec<String>> {
    let mut links = Vec::new();
    for name in root.list(UNITS)? {
        let path = format!("{UNITS}/{name}");
        if is_link_folder(&name) {
            let link = format!("{path}/{unit}");
            if root.kind(&link)? == Some(Kind::Symlink) {
                links.push(link);
            }
        } else if let Some(text) = root.read_link(&path)? {
            let target = text.rsplit('/').next().unwrap_or_default();
            if unit == target || unit == name {
                links.push(path);
            }
        }
    }
    Ok(links)
}

fn is_link_folder(name: &str) -> bool {
    [".wants", ".requires", ".upholds"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// A folder of links goes with its last one.
fn remove_if_empty(root: &TargetRoot, link: &str) -> Result<()> {
    match link.rsplit_once('/') {
        Some((folder, _)) if is_link_folder(folder) && root.list(folder)?.is_empty() => {
            root.remove(folder)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::root::tests::{own, root};

    #[test]
    fn masks() {
        let (_folder, root) = root();
        let path = "/etc/systemd/system/a.service";
        root.replace(path, b"[Unit]", &own(0o644)).unwrap();
        unmask(&root, path).unwrap();
        assert_eq!(root.kind(path).unwrap(), Some(Kind::File), "not a mask");
        mask(&root, path).unwrap();
        assert_eq!(root.read_link(path).unwrap().as_deref(), Some("/dev/null"));
        unmask(&root, path).unwrap();
        unmask(&root, path).unwrap();
        assert_eq!(root.kind(path).unwrap(), None);
    }

    #[test]
    fn what_disables_a_unit_disables_its_other_names() {
        let (_folder, root) = root();
        let file = "/usr/lib/systemd/system/b.service";
        root.replace(file, b"[Service]\n", &own(0o644)).unwrap();
        for link in ["alias.service", "x.target.wants/b.service"] {
            root.symlink(file, &format!("{UNITS}/{link}")).unwrap();
        }
        let unit = ["alias.service".to_owned()];
        preset(&root, "disable alias.service", &unit).unwrap();
        assert_eq!(root.list(UNITS).unwrap(), [""; 0]);
        let unit = ["b.service".to_owned()];
        preset(&root, "disable b.service", &unit).unwrap();
        assert_eq!(
            root.read(PRESETS).unwrap().unwrap(),
            b"disable alias.service\ndisable b.service\n",
            "a unit that nothing enables is as good as enabled"
        );
        let installed = b"[Install]\nWantedBy=x.target\n";
        let dropin = format!("{UNITS}/b.service.d/1.conf");
        root.replace(&dropin, installed, &own(0o644)).unwrap();
        preset(&root, "disable b.service", &unit).unwrap();
        assert_eq!(root.read(PRESETS).unwrap().unwrap().len(), 22 + 18);
    }

    #[test]
    fn presets_and_their_condition() {
        let (_folder, root) = root();
        preset(&root, "enable a.service", &[]).unwrap();
        let unit = ["b.service".to_owned()];
        let file = "/usr/lib/systemd/system/b.service";
        root.replace(file, b"[Install]\nWantedBy=x.target\n", &own(0o644))
            .unwrap();
        preset(&root, "disable b.service", &unit).unwrap();
        root.symlink(
            "../b.service",
            "/etc/systemd/system/multi-user.target.wants/b.service",
        )
        .unwrap();
        root.symlink(
            "/usr/lib/systemd/system/b.service",
            "/etc/systemd/system/alias.service",
        )
        .unwrap();
        root.symlink("/dev/null", "/etc/systemd/system/c.service")
            .unwrap();
        preset(&root, "disable b.service", &unit).unwrap();
        let text = root.read(PRESETS).unwrap().unwrap();
        assert_eq!(text, b"enable a.service\ndisable b.service\n");
        assert_eq!(
            root.list(UNITS).unwrap(),
            ["c.service"],
            "and its empty folder"
        );
    }
}
