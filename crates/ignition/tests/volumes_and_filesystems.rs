//! Encrypted volumes and filesystems: what is made, kept and refused.

mod machine;

use hardway_ignition::hardware::Hardware;
use hardway_ignition::operation::Operation;
use hardway_ignition::operation::disks::Clevis;
use machine::{UUID, UUID2, machine, plan_on, refused};
use serde_json::{Value, json};

/// The volume of a config with one, or why not.
fn volume(volume: Value, tpm2: Option<bool>) -> Result<Option<Clevis>, Vec<String>> {
    let mut storage = json!({"name": "v", "device": "/dev/vda5"});
    for (key, value) in volume.as_object().expect("an object") {
        storage[key] = value.clone();
    }
    let machine = Hardware { tpm2, ..machine() };
    let planned = plan_on(&machine, &json!({"luks": [storage]}))?;
    let clevis = planned.into_iter().find_map(|operation| match operation {
        Operation::OpenVolume(volume) => Some(volume.clevis),
        _ => None,
    });
    Ok(clevis.expect("a volume"))
}

#[test]
fn bindings_are_written_as_clevis_reads_them() {
    let tang = json!({"url": "http://t", "thumbprint": "T"});
    let advertised =
        json!({"url": "http://u", "thumbprint": "U", "advertisement": r#"{"payload": "x"}"#});
    for (clevis, pin, config, needs_network) in [
        (
            json!({"tang": [tang, advertised], "tpm2": true, "threshold": 2}),
            "sss",
            json!({"t": 2, "pins": {"tpm2": {}, "tang": [
                {"url": "http://t", "thp": "T"},
                {"url": "http://u", "thp": "U", "adv": {"payload": "x"}},
            ]}}),
            true,
        ),
        (
            json!({"tpm2": true}),
            "sss",
            json!({"t": 1, "pins": {"tpm2": {}}}),
            false,
        ),
        (
            json!({"custom": {"pin": "tpm2", "config": "{\"pcr_ids\": \"7\"}", "needsNetwork": true}}),
            "tpm2",
            json!({"pcr_ids": "7"}),
            true,
        ),
    ] {
        let found = volume(json!({ "clevis": clevis }), Some(true)).expect("possible");
        let found = found.expect("a binding");
        assert_eq!(
            (found.pin.as_str(), found.needs_network),
            (pin, needs_network)
        );
        let found: Value = serde_json::from_str(&found.config).expect("JSON");
        assert_eq!(found, config);
    }
    assert_eq!(volume(json!({}), None), Ok(None));
}

#[test]
fn volumes_that_cannot_be_made() {
    let tang = json!([{"url": "http://t", "thumbprint": "T"}]);
    for (settings, tpm2, expected) in [
        (
            json!({"clevis": {"tpm2": true}}),
            Some(false),
            "clevis.tpm2: the machine has no TPM 2.0",
        ),
        (
            json!({"clevis": {"tpm2": true}}),
            None,
            "clevis.tpm2: whether the machine has a TPM 2.0 is not known",
        ),
        (
            json!({"clevis": {"custom": {"pin": "sss", "config": r#"{"t":1,"pins":{"tpm2":{}}}"#}}}),
            Some(false),
            "clevis.custom: the machine has no TPM 2.0",
        ),
        (
            json!({"clevis": {"custom": {"pin": "tang", "config": "nonsense"}}}),
            Some(false),
            "clevis.custom.config: clevis takes a JSON object here",
        ),
        (
            json!({"clevis": {"tang": tang, "threshold": 2}}),
            Some(false),
            "clevis.threshold: of 1 pins, 2 cannot be needed",
        ),
        (
            json!({"clevis": {"threshold": 1}}),
            Some(false),
            "clevis: there is nothing to bind to: give `tang`, `tpm2` or `custom`",
        ),
        (
            json!({"cex": {"enabled": true}}),
            Some(false),
            "cex: volumes bound to a Crypto Express card are not made: such cards are of IBM Z",
        ),
        (json!({"uuid": "x"}), Some(false), "uuid: not a UUID"),
        (
            json!({"name": "a b"}),
            Some(false),
            "name: `a b` is no name of a volume: /dev/mapper/NAME",
        ),
        (
            json!({"device": "/dev/vda2"}),
            Some(false),
            ": on /dev/vda2, ext4 is there: `wipeVolume: true` would erase it",
        ),
        (
            json!({"device": "/dev/vda3"}),
            Some(false),
            ": on /dev/vda3, a volume is there, and no key is given that opens it: `wipeVolume: true` \
             would erase it",
        ),
        (
            json!({"device": "/dev/vda3", "keyFile": {"source": "data:,k"}, "label": "other"}),
            Some(false),
            ": on /dev/vda3, a volume is there with the label `vault`: `wipeVolume: true` would erase \
             it",
        ),
    ] {
        let dot = if expected.starts_with(':') { "" } else { "." };
        let expected = vec![format!("$.storage.luks.0{dot}{expected}")];
        assert_eq!(volume(settings, tpm2), Err(expected));
    }
    let kept = json!({"device": "/dev/vda3", "keyFile": {"source": "data:,k"}, "label": "vault",
                      "uuid": UUID2.to_uppercase()});
    assert_eq!(volume(kept, None), Ok(None));
    let wiped = json!({"device": "/dev/vda2", "wipeVolume": true});
    assert_eq!(volume(wiped, None), Ok(None));
}

#[test]
fn filesystems_that_are_there_are_kept_or_refused() {
    for (filesystem, expected) in [
        (
            json!({"device": "/dev/vda1", "format": "vfat", "uuid": "A1B2C3D4"}),
            None,
        ),
        (
            json!({"device": "/dev/vda1", "format": "vfat", "uuid": "a1b2-c3d4", "label": "ESP"}),
            None,
        ),
        (
            json!({"device": "/dev/vda2", "format": "ext4", "uuid": UUID.to_uppercase()}),
            None,
        ),
        // Which of the two counts, blkid says.
        (json!({"device": "/dev/vda4", "format": "ext4"}), None),
        (json!({"device": "/dev/vda5", "format": "none"}), None),
        (
            json!({"device": "/dev/vda2", "format": "xfs"}),
            Some(format!(
                "/dev/vda2 holds ext4 `root` ({UUID}), and xfs is wanted"
            )),
        ),
        (
            json!({"device": "/dev/vda2", "format": "ext4", "label": ""}),
            Some(format!(
                "/dev/vda2 holds ext4 `root` ({UUID}), and ext4 is wanted"
            )),
        ),
        (
            json!({"device": "/dev/vda1", "format": "none"}),
            Some("/dev/vda1 holds vfat `ESP` (A1B2-C3D4), and it is to be blank".to_owned()),
        ),
        (
            json!({"device": "/dev/vda4", "format": "btrfs"}),
            Some("/dev/vda4 holds ext4 and zfs_member, and btrfs is wanted".to_owned()),
        ),
    ] {
        let planned = plan_on(&machine(), &json!({"filesystems": [filesystem.clone()]}));
        let expected = expected.map(|text| {
            vec![format!(
                "$.storage.filesystems.0: {text}: `wipeFilesystem: true` would erase it"
            )]
        });
        assert_eq!(planned.err(), expected, "{filesystem}");
    }
}

#[test]
fn old_signatures_count_unless_the_disk_is_claimed() {
    // A new partition where an old one began.
    let storage = json!({
        "disks": [{"device": "/dev/vda", "wipeTable": true,
                   "partitions": [{"number": 1, "startMiB": 33, "sizeMiB": 20}]}],
        "filesystems": [{"device": "/dev/vda1", "format": "xfs"}],
    });
    assert!(refused(&storage)[0].contains("/dev/vda1 holds ext4 `root`"));
    let mut claimed = machine();
    claimed.disks[0].claimed = true;
    assert!(plan_on(&claimed, &storage).is_ok());
}

#[test]
fn wrong_labels_and_places_of_filesystems() {
    for (filesystem, expected) in [
        (
            json!({"format": "ext4", "path": "/"}),
            "path: the root filesystem comes with the image and is mounted already: leave `path` out",
        ),
        (
            json!({"format": "vfat", "uuid": UUID}),
            "uuid: vfat takes eight hexadecimal digits, as A1B2-C3D4",
        ),
        (
            json!({"format": "xfs", "uuid": "random"}),
            "uuid: not a UUID",
        ),
    ] {
        let mut filesystem = filesystem;
        filesystem["device"] = json!("/dev/vda5");
        let expected = format!("$.storage.filesystems.0.{expected}");
        assert_eq!(refused(&json!({"filesystems": [filesystem]})), [expected]);
    }
}
