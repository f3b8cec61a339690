//! Butane texts and the Ignition configs that they lead to.

#![cfg(feature = "front-end")]

use std::collections::BTreeMap;

use hardway_ignition::butane::{self, LocalFiles, NoLocalFiles, TreeEntry, TreeNode};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Files by path.
struct Files(BTreeMap<&'static str, &'static str>);

impl LocalFiles for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0
            .get(path)
            .map(|text| text.as_bytes().to_vec())
            .ok_or_else(|| "no such file".to_owned())
    }

    fn list(&self, path: &str) -> Result<Vec<TreeEntry>, String> {
        let inside = self
            .0
            .keys()
            .filter_map(|name| name.strip_prefix(path)?.strip_prefix('/'));
        Ok(inside
            .map(|path| TreeEntry {
                path: path.to_owned(),
                node: TreeNode::File {
                    executable: path.ends_with(".sh"),
                },
            })
            .collect())
    }
}

fn butane(text: &str) -> Value {
    let files = Files(BTreeMap::from([
        ("motd", "hi\n"),
        ("tree/bin/run.sh", "#!/bin/sh\n"),
        ("tree/etc/x", "x"),
        ("key.pub", "ssh-ed25519 AAAA a\n\nssh-ed25519 BBBB b\n"),
        ("a.service", "[Service]\n"),
    ]));
    match butane::translate(text, &files) {
        Ok(translated) => translated.json,
        Err(report) => report.to_string().into(),
    }
}

#[test]
fn butane_embeds_local_files() {
    let found = butane(
        "variant: fcos\nversion: 1.5.0\npasswd:\n  users:\n    - name: core\n      \
         ssh_authorized_keys_local: [key.pub]\nstorage:\n  trees: [{local: tree, path: /opt}]\n  files:\n    \
         - path: /etc/motd\n      contents: {local: motd}\n    - {path: /opt/etc/x, mode: 0600}\n\
         systemd:\n  units: [{name: a.service, contents_local: a.service}]\n",
    );
    let expected = json!({
        "ignition": {"version": "3.4.0"},
        "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b"]}]},
        "storage": {"files": [
            {"path": "/etc/motd", "contents": {"source": "data:,hi%0A", "compression": ""}},
            {"path": "/opt/etc/x", "mode": 0o600, "contents": {"source": "data:,x", "compression": ""}},
            {"path": "/opt/bin/run.sh", "mode": 0o755,
             "contents": {"source": "data:,%23%21%2Fbin%2Fsh%0A", "compression": ""}},
        ]},
        "systemd": {"units": [{"name": "a.service", "contents": "[Service]\n"}]},
    });
    assert_eq!(found, expected);
}

#[test]
fn butane_compresses_what_gains_by_it() {
    let text = format!(
        "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: /a\n      contents:\n        inline: {}\n",
        "a".repeat(2000)
    );
    let contents = &butane(&text)["storage"]["files"][0]["contents"];
    assert_eq!(contents["compression"], "gzip");
    assert!(contents["source"].as_str().expect("text").len() < 200);
}

#[test]
fn butane_writes_mount_units() {
    let found = butane(
        "variant: fcos\nversion: 1.4.0\nstorage:\n  filesystems:\n    - device: /dev/disk/by-label/data\n      \
         path: /var/lib/data-1\n      format: xfs\n      mount_options: [noatime]\n      with_mount_unit: true\n\
         systemd:\n  units: [{name: 'var-lib-data\\x2d1.mount', enabled: false}]\n",
    );
    let unit = &found["systemd"]["units"][0];
    assert_eq!(unit["name"], "var-lib-data\\x2d1.mount");
    // What the author says wins over what is generated.
    assert_eq!(unit["enabled"], false);
    let contents = unit["contents"].as_str().expect("text");
    assert!(contents.contains(
        "\nWhere=/var/lib/data-1\nWhat=/dev/disk/by-label/data\nType=xfs\nOptions=noatime\n"
    ));
    assert!(
        contents.contains("After=systemd-fsck@dev-disk-by\\x2dlabel-data.service\n"),
        "{contents}"
    );
    assert_eq!(found["systemd"]["units"].as_array().map(Vec::len), Some(1));
}

#[test]
fn butane_names_keys_and_places_as_written() {
    for (text, expected) in [
        (
            "variant: rhcos\nversion: 1.0.0\n",
            "1:10: error: variant `rhcos` is not supported: `fcos` and `flatcar` are at $.variant",
        ),
        (
            "variant: flatcar\nversion: 9.0.0\n",
            "2:10: error: version `9.0.0` is not supported: 1.0.0, 1.1.0 are at $.version",
        ),
        (
            "variant: fcos\nversion: 1.5.0\nstorage:\n  disks:\n    - device: /dev/a\n      partitions: [{size_mib: x}]\n",
            "6:20: error: a partition needs a number of 1 or more, or a label at $.storage.disks.0.partitions.0\n\
             6:31: error: expected an integer, found x at $.storage.disks.0.partitions.0.size_mib",
        ),
        (
            "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /a\n      contents: {local: ../x}\n",
            "6:25: error: `../x` leads out of the folder of local files at $.storage.files.0.contents.local",
        ),
    ] {
        assert_eq!(butane(text), expected, "{text}");
    }
}

#[test]
fn a_boot_device_becomes_a_disk_layout() {
    let found = butane(
        "variant: fcos\nversion: 1.4.0\nboot_device:\n  layout: aarch64\n  luks: {tpm2: true}\n  \
         mirror: {devices: [/dev/sda, /dev/sdb]}\nstorage:\n  filesystems: [{device: /dev/mapper/root, format: ext4}]\n",
    );
    let storage = &found["storage"];
    let names = |list: &Value, key: &str| -> Vec<String> {
        let entries = list.as_array().into_iter().flatten();
        entries
            .map(|entry| entry[key].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(
        names(&storage["disks"][1]["partitions"], "label"),
        ["reserved-2", "esp-2", "boot-2", "root-2"]
    );
    assert_eq!(names(&storage["raid"], "name"), ["md-boot", "md-root"]);
    assert_eq!(
        names(&storage["filesystems"], "format"),
        ["vfat", "vfat", "ext4", "ext4"]
    );
    let volume = json!({"name": "root", "label": "luks-root", "device": "/dev/md/md-root", "wipeVolume": true,
        "clevis": {"tpm2": true}});
    assert_eq!(storage["luks"], json!([volume]));
}

#[test]
fn a_boot_device_that_cannot_be_is_refused() {
    for (body, expected) in [
        (
            "layout: vax\n  mirror: {devices: [/dev/a, /dev/b]}",
            "layout `vax` does not go",
        ),
        (
            "layout: s390x-eckd\n  luks: {tpm2: true}",
            "layout `s390x-eckd` does not go",
        ),
        ("mirror: {devices: [/dev/a]}", "needs two devices"),
    ] {
        let found = butane(&format!(
            "variant: fcos\nversion: 1.6.0\nboot_device:\n  {body}\n"
        ));
        assert!(
            found
                .as_str()
                .is_some_and(|report| report.contains(expected)),
            "{found}"
        );
    }
    // Flatcar knows no such key; nothing is left to do.
    let found = butane("variant: flatcar\nversion: 1.1.0\nboot_device: {luks: {tpm2: true}}\n");
    assert_eq!(found, json!({"ignition": {"version": "3.4.0"}}));
}

#[test]
fn what_a_variant_does_not_have_is_refused() {
    for (text, expected) in [
        (
            "variant: fcos\nversion: 1.5.0\nboot_device:\n  layout: s390x-virt\n  luks: {tpm2: true}\n",
            "layout `s390x-virt` does not go",
        ),
        (
            "variant: flatcar\nversion: 1.1.0\nstorage:\n  luks: [{name: a, device: /dev/a, clevis: {tpm2: true}}]\n",
            "variant flatcar does not support clevis at $.storage.luks.0.clevis",
        ),
    ] {
        let found = butane(text);
        let report = found.as_str().unwrap_or_default();
        assert!(report.contains(expected), "{found}");
    }
}

#[test]
fn grub_passwords_cannot_break_out_of_the_script() {
    let text = |name: &str| {
        format!(
            "variant: fcos\nversion: 1.5.0\ngrub:\n  users: [{{name: {name}, password_hash: grub.pbkdf2.x}}]\n"
        )
    };
    let file = &butane(&text("root"))["storage"]["files"][0];
    assert_eq!(file["path"], "/boot/grub2/user.cfg");
    let source = file["append"][0]["source"].as_str().expect("text");
    assert!(
        source.ends_with("%0Apassword_pbkdf2%20root%20grub.pbkdf2.x%0A"),
        "{source}"
    );
    assert!(
        butane(&text("'a\"; reboot'"))
            .as_str()
            .is_some_and(|report| report.contains("plain word"))
    );
}

#[test]
fn misspelt_keys_are_told_of() {
    let text = "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - {path: /a, moed: 0600}\n";
    let translated = butane::translate(text, &NoLocalFiles).expect("valid");
    let warnings: Vec<_> = translated
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = "5:18: warning: unknown key `moed` is ignored: did you mean `mode`? at $.storage.files.0.moed";
    assert_eq!(warnings, [expected]);
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"(storage|files|trees|boot_device|luks|mirror|path|local|[-:{}\[\], \n&*]){0,30}"#) {
        let _ = butane::translate(&format!("variant: fcos\nversion: 1.6.0\n{text}"), &NoLocalFiles);
    }
}
