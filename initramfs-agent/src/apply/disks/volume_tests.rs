//! Volumes without a device: argument lists, names of keys, what a header says.

use hardway_ignition::operation::disks::Device;

use super::*;

fn volume() -> Volume {
    Volume {
        name: "data".into(),
        device: Device::Disk("/dev/vdb".into()),
        label: None,
        uuid: None,
        key: None,
        clevis: None,
        discard: false,
        options: Vec::new(),
        open_options: Vec::new(),
        wipe: false,
    }
}

#[test]
fn arguments_of_cryptsetup() {
    let check = |volume: &Volume, format: &str, open: &str| {
        let format_line = format_arguments(volume, "/dev/vdb", "/key").join(" ");
        assert_eq!(format_line, format);
        assert_eq!(open_arguments(volume, "/dev/vdb", "/key").join(" "), open);
    };
    check(
        &volume(),
        "luksFormat --type luks2 --batch-mode --key-file /key /dev/vdb",
        "luksOpen /dev/vdb data --key-file /key --persistent",
    );
    let full = Volume {
        label: Some("secret".into()),
        uuid: Some("1-2".into()),
        discard: true,
        options: vec!["--cipher".into(), "aes-cbc-essiv:sha256".into()],
        open_options: vec!["--perf-no_read_workqueue".into()],
        ..volume()
    };
    check(
        &full,
        "luksFormat --type luks2 --batch-mode --key-file /key --label secret --uuid 1-2 \
         --cipher aes-cbc-essiv:sha256 /dev/vdb",
        "luksOpen /dev/vdb data --key-file /key --persistent --allow-discards \
         --perf-no_read_workqueue",
    );
}

#[test]
fn a_key_stands_in_its_folder_only() {
    assert_eq!(
        key_path("data").unwrap(),
        Path::new("/run/hardway/luks/data")
    );
    for name in ["", ".", "..", "../passwd", "a/b"] {
        assert!(key_path(name).is_err(), "{name}");
    }
}

#[test]
fn generated_keys_are_long_text() {
    let (one, other) = (generated().unwrap(), generated().unwrap());
    assert_eq!(one.len(), 8192);
    assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(one, other);
}

#[test]
fn flags_of_a_header() {
    let with = r#"{"config":{"flags":["no-read-workqueue","allow-discards"]}}"#;
    assert!(passes_discards(with).unwrap());
    assert!(!passes_discards(r#"{"config":{"json_size":"12288"}}"#).unwrap());
    assert!(passes_discards("no JSON").is_err());
}

#[test]
fn a_binding_is_tried_where_it_can_work() {
    let opens = |config: &str| opens_here("sss", config);
    assert!(opens(r#"{"pins":{"tpm2":{}},"t":1}"#));
    assert!(opens(
        r#"{"pins":{"tang":[{"url":"http://a","thp":"x"}]},"t":1}"#
    ));
    assert!(!opens(
        r#"{"pins":{"tang":[{"url":"http://a","adv":{"payload":""}}]},"t":1}"#
    ));
    assert!(!opens(r#"{"pins":{"tang":[{"url":"http://a"}]},"t":2}"#));
    assert!(opens(
        r#"{"pins":{"tang":[{"url":"http://a"}],"tpm2":{}},"t":2}"#
    ));
    assert!(!opens_here("tang", r#"{"url":"http://a"}"#));
}
