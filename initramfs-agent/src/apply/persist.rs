//! What the installed system needs to open its volumes: `/etc/crypttab` and the keys.

use anyhow::{Context, Result};
use hardway_ignition::operation::disks::Volume;

use super::disks::volume;
use super::root::{Attributes, TargetRoot};

const CRYPTTAB: &str = "/etc/crypttab";
const KEYS: &str = "/etc/luks";

/// Appends a line for each volume and puts its key into the target.
pub fn volumes(root: &TargetRoot, volumes: &[Volume]) -> Result<()> {
    for wanted in volumes {
        let persist = || -> Result<()> {
            let uuid = volume::uuid(wanted)?;
            add(root, wanted, &uuid, volume::stored_key(&wanted.name)?)
        };
        persist().with_context(|| format!("entering the volume {}", wanted.name))?;
    }
    volumes
        .iter()
        .try_for_each(|volume| volume::forget_key(&volume.name))
}

fn add(root: &TargetRoot, volume: &Volume, uuid: &str, key: Option<Vec<u8>>) -> Result<()> {
    let place = match key {
        Some(key) => {
            if root.kind(KEYS)?.is_none() {
                root.make_directory(KEYS, &Attributes::root(0o700))?;
            }
            let path = format!("{KEYS}/{}", volume.name);
            root.replace(&path, &key, &Attributes::root(0o600))?;
            path
        }
        None => "none".to_owned(),
    };
    let mut table = root.read(CRYPTTAB)?.unwrap_or_default();
    if table.last().is_some_and(|byte| *byte != b'\n') {
        table.push(b'\n');
    }
    table.extend_from_slice(line(volume, uuid, &place).as_bytes());
    root.replace(CRYPTTAB, &table, &Attributes::root(0o600))
}

/// A line of crypttab(5). That discards pass is stored in the volume's own header.
fn line(volume: &Volume, uuid: &str, key: &str) -> String {
    let needs_network = volume
        .clevis
        .as_ref()
        .is_some_and(|clevis| clevis.needs_network);
    let network = if needs_network { ",_netdev" } else { "" };
    format!("{} UUID={uuid} {key} luks{network}\n", volume.name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hardway_ignition::operation::disks::{Clevis, Device};

    use super::*;

    fn volume(name: &str, clevis: Option<bool>) -> Volume {
        Volume {
            name: name.into(),
            device: Device::Disk("/dev/vdb".into()),
            label: None,
            uuid: None,
            key: None,
            clevis: clevis.map(|needs_network| Clevis {
                pin: "sss".into(),
                config: "{}".into(),
                needs_network,
            }),
            discard: true,
            options: Vec::new(),
            open_options: Vec::new(),
            wipe: false,
        }
    }

    #[test]
    fn lines_are_appended_and_keys_are_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/crypttab"), "# by hand").unwrap();
        let root = TargetRoot::open(folder.path()).unwrap();
        add(
            &root,
            &volume("data", None),
            "1-2",
            Some(b"secret".to_vec()),
        )
        .unwrap();
        add(&root, &volume("root", Some(false)), "3-4", None).unwrap();
        add(&root, &volume("far", Some(true)), "5-6", None).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("etc/crypttab")).unwrap(),
            "# by hand\ndata UUID=1-2 /etc/luks/data luks\nroot UUID=3-4 none luks\n\
             far UUID=5-6 none luks,_netdev\n"
        );
        let mode = |path: &str| {
            let found = std::fs::metadata(folder.path().join(path)).unwrap();
            found.permissions().mode() & 0o7777
        };
        assert_eq!(mode("etc/crypttab"), 0o600);
        assert_eq!((mode("etc/luks"), mode("etc/luks/data")), (0o700, 0o600));
        assert_eq!(
            std::fs::read(folder.path().join("etc/luks/data")).unwrap(),
            b"secret"
        );
    }
}
