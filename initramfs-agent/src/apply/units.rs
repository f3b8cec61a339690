//! systemd units: masks, and the preset lines that enable and disable.

use anyhow::Result;

use super::root::{Attributes, Kind, TargetRoot};

const UNITS: &str = "/etc/systemd/system";
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";
const NOWHERE: &str = "/dev/null";

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
        let links = enabling_links(root, only_if_enabled)?;
        if links.is_empty() {
            return Ok(());
        }
        for link in links {
            root.remove(&link)?;
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

fn enabling_links(root: &TargetRoot, units: &[String]) -> Result<Vec<String>> {
    let mut links = Vec::new();
    for name in root.list(UNITS)? {
        let path = format!("{UNITS}/{name}");
        let is_folder = [".wants", ".requires", ".upholds"]
            .iter()
            .any(|ending| name.ends_with(ending));
        if is_folder {
            for unit in units {
                let link = format!("{path}/{unit}");
                if root.kind(&link)? == Some(Kind::Symlink) {
                    links.push(link);
                }
            }
        } else if let Some(text) = root.read_link(&path)? {
            let target = text.rsplit('/').next().unwrap_or_default();
            if units.iter().any(|unit| unit == target) {
                links.push(path);
            }
        }
    }
    Ok(links)
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
    fn presets_and_their_condition() {
        let (_folder, root) = root();
        preset(&root, "enable a.service", &[]).unwrap();
        let unit = ["b.service".to_owned()];
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
            root.list("/etc/systemd/system/multi-user.target.wants")
                .unwrap(),
            [""; 0]
        );
        assert_eq!(
            root.list(UNITS).unwrap(),
            ["c.service", "multi-user.target.wants"]
        );
    }
}
