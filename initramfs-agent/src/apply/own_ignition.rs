//! Images that bring Ignition along: their configuration is left where their first boot looks for it.

use anyhow::{Result, bail};
use hardway_model::desired::ConfigApplier;

use super::root::{Attributes, Kind, TargetRoot};

/// Where a first boot looks.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Label of the filesystem, on the very disk that the system is on.
    pub label: &'static str,
    /// Its kind.
    pub kind: &'static str,
    file: &'static str,
    /// What the image ships there, and what makes its boot loader start Ignition.
    stamp: Option<&'static str>,
}

/// Fedora CoreOS: its boot loader tells the kernel of the first boot while the stamp is there.
const FEDORA_COREOS: Place = Place {
    label: "boot",
    kind: "ext4",
    file: "/ignition/config.ign",
    stamp: Some("/ignition.firstboot"),
};

/// Flatcar: the partition of the machine's maker. What its first boot goes by is on the ESP.
const FLATCAR: Place = Place {
    label: "OEM",
    kind: "btrfs",
    file: "/config.ign",
    stamp: None,
};

impl Place {
    /// Where the config goes; `None` where it is the agent that applies it.
    pub fn of(applier: ConfigApplier) -> Option<&'static Self> {
        match applier {
            ConfigApplier::Agent => None,
            ConfigApplier::FedoraCoreos => Some(&FEDORA_COREOS),
            ConfigApplier::Flatcar => Some(&FLATCAR),
        }
    }

    /// Leaves the config there. Whatever the image has there already is not overwritten: it would
    /// be the image's own configuration, or an image that has been started before.
    pub fn leave(&self, root: &TargetRoot, json: &[u8]) -> Result<String> {
        let (label, path) = (self.label, self.file);
        if let Some(stamp) = self.stamp
            && root.kind(stamp)? != Some(Kind::File)
        {
            bail!(
                "the filesystem with the label {label} has no {stamp}: the image does not run \
                 Ignition at its next start"
            );
        }
        if root.kind(path)?.is_some() {
            bail!("{path} is on the filesystem with the label {label} already");
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folder.is_empty() {
            match root.kind(folder)? {
                None => root.make_directory(folder, &Attributes::root(0o700))?,
                Some(Kind::Directory) => root.set_attributes(folder, &Attributes::root(0o700))?,
                Some(_) => {
                    bail!("{folder} on the filesystem with the label {label} is no directory")
                }
            }
        }
        root.replace(path, json, &Attributes::root(0o600))?;
        Ok(format!(
            "the configuration stands at {path} of the filesystem with the label {label}, for the \
             image's own Ignition"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn leave(place: &Place, folder: &Path) -> Result<String, String> {
        let root = TargetRoot::open(folder).unwrap();
        let left = place.leave(&root, b"{}");
        left.map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_config_is_left_once_and_for_its_owner_only() {
        for place in [&FEDORA_COREOS, &FLATCAR] {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            if let Some(stamp) = place.stamp {
                std::fs::write(folder.join(&stamp[1..]), b"").unwrap();
            }
            leave(place, folder).unwrap();
            let file = folder.join(&place.file[1..]);
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(std::fs::read(&file).unwrap(), b"{}");
            assert_eq!(mode(&file), 0o600);
            if file.parent() != Some(folder) {
                assert_eq!(mode(file.parent().unwrap()), 0o700);
            }
            let error = leave(place, folder).unwrap_err();
            assert!(error.contains("already"), "{error}");
            assert!(error.contains(place.label), "{error}");
        }
    }

    #[test]
    fn an_image_that_has_been_started_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            leave(&FEDORA_COREOS, folder.path()).unwrap_err(),
            "the filesystem with the label boot has no /ignition.firstboot: the image does not run \
             Ignition at its next start"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
