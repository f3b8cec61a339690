//! Selections over a small kernel.

use super::depmod::{Lists, parse};
use super::*;

fn kernel() -> Modules {
    let modules = parse(
        Path::new("/k"),
        &Lists {
            dep: "kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz\n\
                  kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz\n\
                  kernel/net/core/failover.ko.xz:\n\
                  kernel/drivers/net/wireless/iwl-x.ko.xz:\n\
                  kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz\n\
                  kernel/fs/jbd2/jbd2.ko.xz:\n\
                  kernel/crypto/crc32c_generic.ko.xz:\n\
                  kernel/arch/x86/crypto/crc32c-intel.ko.xz:\n",
            alias: "# made by depmod\nalias virtio:d00000001v* virtio_net\nalias crc32c crc32c_generic\nalias crc32c crc32c_intel\nalias fs-ext4 ext4\n",
            softdep: "softdep ext4 pre: crc32c builtin-thing post: iwl-x\n",
        },
    );
    Modules {
        kernel: "6.12.1".into(),
        modules,
    }
}

fn check(selection: Selection, expected: &[&str]) {
    let names = kernel().select(&selection).unwrap();
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_folder_comes_with_its_needs_and_without_what_is_left_out() {
    check(
        Selection {
            folders: words(&["drivers/net"]),
            without: words(&["drivers/net/wireless"]),
            ..Selection::default()
        },
        &["failover", "net_failover", "virtio_net"],
    );
}

#[test]
fn soft_dependencies_are_followed_through_aliases() {
    check(
        Selection {
            modules: words(&["ext4"]),
            ..Selection::default()
        },
        &["crc32c_generic", "crc32c_intel", "ext4", "jbd2"],
    );
}

#[test]
fn a_name_that_the_kernel_lost_is_an_error() {
    let unknown = |selection| kernel().select(&selection).unwrap_err().to_string();
    assert_eq!(
        unknown(Selection {
            modules: words(&["e1001"]),
            ..Selection::default()
        }),
        "kernel 6.12.1 has no module e1001"
    );
    assert_eq!(
        unknown(Selection {
            folders: words(&["drivers/ne"]),
            ..Selection::default()
        }),
        "kernel 6.12.1 has no modules in drivers/ne"
    );
    assert_eq!(
        unknown(Selection {
            without: words(&["ext4"]),
            ..Selection::default()
        }),
        "`without` names ext4, which is not taken anyway"
    );
}

#[test]
fn the_index_of_an_image_names_only_what_is_in_it() {
    let kernel = kernel();
    let shipped = BTreeSet::from([
        "crc32c_generic".to_owned(),
        "ext4".to_owned(),
        "jbd2".to_owned(),
    ]);
    let file = ModuleFile {
        path: "/x/ext4.ko".into(),
        name: "ext4.ko".into(),
        sha256: "00ff".into(),
        size: 4,
    };
    let index = kernel
        .index(&BTreeMap::from([("ext4", file)]), &shipped)
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&index).unwrap(),
        serde_json::json!({"kernel": "6.12.1", "modules": {"ext4": {
            "file": "ext4.ko", "sha256": "00ff", "size": 4,
            "depends": ["jbd2"], "softdeps": ["crc32c_generic"], "aliases": ["fs-ext4"],
        }}})
    );
}
