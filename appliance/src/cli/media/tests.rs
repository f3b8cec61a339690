//! A disk is composed with the host's own tools and read back with them.

use super::*;
use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use gptman::{GPT, GPTPartitionEntry};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;
const OS_IMAGE: &[u8] = b"an OS image";

/// A disk with the appliance's partitions: ESP, CONFIG, DATA, the first bytes of ESP marked.
fn base_image(path: &Path) {
    let mut disk = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap();
    disk.set_len(40 * MIB).unwrap();
    disk.write_all(b"boot sector").unwrap();
    let mut table = GPT::new_from(&mut disk, 512, [1; 16]).unwrap();
    for (number, (name, start, end)) in
        (1..).zip([("ESP", 1, 4), ("CONFIG", 4, 20), ("DATA", 20, 39)])
    {
        table[number] = GPTPartitionEntry {
            partition_type_guid: [2; 16],
            unique_partition_guid: [number as u8; 16],
            starting_lba: start * MIB / 512,
            ending_lba: end * MIB / 512 - 1,
            attribute_bits: 0,
            partition_name: name.into(),
        };
    }
    table.write_into(&mut disk).unwrap();
    GPT::write_protective_mbr_into(&mut disk, 512).unwrap();
}

fn cluster(sha256: &str) -> String {
    format!(
        "version: 1\ncluster: {{name: t, domain: t.internal}}\nnetwork: {{address: 10.77.0.1/24}}\n\
         images:\n  node: {{file: node.img, sha256: \"{sha256}\", config: agent}}\n"
    )
}

fn compose_arguments(folder: &Path, sha256: &str) -> Compose {
    base_image(&folder.join("appliance.img"));
    fs::write(folder.join("cluster.yaml"), cluster(sha256)).unwrap();
    fs::write(folder.join("node.img"), OS_IMAGE).unwrap();
    fs::write(folder.join("token"), "secret").unwrap();
    Compose {
        image: folder.join("appliance.img"),
        config: folder.join("cluster.yaml"),
        images_dir: folder.to_path_buf(),
        output: folder.join("disk.img"),
        size: None,
        admin_token: Some(folder.join("token")),
        no_verify_images: false,
    }
}

fn own_hash() -> String {
    Sha256::digest(OS_IMAGE)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_composed_disk_has_the_configuration_and_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = compose_arguments(folder.path(), &own_hash());
    run(&arguments).unwrap();

    let mut disk = File::open(&arguments.output).unwrap();
    let table = GPT::read_from(&mut disk, 512).unwrap();
    let sectors = disk.metadata().unwrap().len() / 512;
    assert_eq!(table.header.backup_lba, sectors - 1);
    assert_eq!(table[3].ending_lba, sectors - MIB / 512 - 1);
    assert_eq!(fs::read(&arguments.output).unwrap()[..11], *b"boot sector");

    let config = format!("{}@@{}", arguments.output.display(), 4 * MIB);
    let read = |name: &str| {
        output_of(
            Command::new("mtype")
                .args(["-i", &config, name])
                .env("MTOOLS_SKIP_CHECK", "1"),
        )
    };
    assert_eq!(read("::/cluster.yaml"), cluster(&own_hash()));
    assert_eq!(read("::/admin-token"), "secret");

    let data = folder.path().join("data.ext4");
    fs::write(
        &data,
        &fs::read(&arguments.output).unwrap()[20 * MIB as usize..],
    )
    .unwrap();
    let list = output_of(
        Command::new("/usr/sbin/debugfs")
            .args(["-R", "ls -p /images"])
            .arg(&data),
    );
    for name in imported::files(own_hash().parse().unwrap()) {
        assert!(list.contains(&name), "{list}");
    }
    assert!(!list.contains("node.img"), "{list}");
    output_of(
        Command::new("/usr/sbin/e2fsck")
            .args(["-f", "-n"])
            .arg(&data),
    );
}

/// Composes and expects a refusal that leaves neither a disk nor scratch files.
fn check_refusal(change: impl FnOnce(&mut Compose), expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = compose_arguments(folder.path(), &own_hash());
    change(&mut arguments);
    let error = format!("{:#}", run(&arguments).unwrap_err());
    assert!(error.contains(expected), "{error}");
    assert!(!arguments.output.exists());
    let left = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}

#[test]
fn refusals_name_their_reason() {
    check_refusal(
        |arguments| fs::write(arguments.images_dir.join("node.img"), "other").unwrap(),
        "cluster.yaml says",
    );
    check_refusal(
        |arguments| fs::remove_file(arguments.images_dir.join("node.img")).unwrap(),
        "there is no node.img in",
    );
    check_refusal(
        |arguments| fs::write(&arguments.config, "version: 1\nclutser: {}\n").unwrap(),
        "clutser",
    );
    check_refusal(
        |arguments| arguments.size = Some(30 * MIB),
        "a disk of 31457280 bytes is too small",
    );
}

#[test]
fn a_wrong_hash_can_be_let_through() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = Compose {
        no_verify_images: true,
        ..compose_arguments(folder.path(), &"00".repeat(32))
    };
    run(&arguments).unwrap();
    assert!(arguments.output.exists());
}

/// Under two names: it is staged once, and the operator's own files stay what they are.
#[test]
fn one_image_of_two_names_is_imported_once() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = compose_arguments(folder.path(), &own_hash());
    let two = cluster(&own_hash()).replace(
        "images:\n",
        &format!(
            "images:\n  twin: {{file: twin.img, sha256: \"{}\"}}\n",
            own_hash()
        ),
    );
    fs::write(&arguments.config, two).unwrap();
    let original = folder.path().join("node.img");
    imported::import(&original, folder.path(), None).unwrap();
    run(&arguments).unwrap();
    let found = Imported::find(folder.path(), own_hash().parse().unwrap());
    found.unwrap().unwrap().check().unwrap();
}

#[test]
fn an_image_that_was_imported_before_needs_no_original() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = compose_arguments(folder.path(), &own_hash());
    let original = folder.path().join("node.img");
    imported::import(&original, folder.path(), None).unwrap();
    fs::remove_file(original).unwrap();
    run(&arguments).unwrap();
    assert!(arguments.output.exists());
}
