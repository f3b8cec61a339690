//! What is shown of a plan, disk by disk.

use hardway_model::layout::{Partition, PartitionTable};
use hardway_model::plan::Grant;
use hardway_model::preview::Fate;

use super::*;

impl Machine {
    /// Each disk's path and its lines, as in a diff.
    fn preview(&self, grants: &[&str]) -> Vec<(String, Vec<String>)> {
        let context = &self.appliance.context;
        let snapshot = context.fleet.snapshot();
        let cluster: &Cluster = snapshot.cluster.as_ref().unwrap();
        let grants = grants.iter().map(|disk| Grant {
            disk: (*disk).to_owned(),
            time: 1,
        });
        let state = MachineState {
            generation: 1,
            grants: grants.collect(),
            ..MachineState::default()
        };
        let subject = Subject {
            cluster,
            machine: cluster.machine("node1").unwrap(),
            state: &state,
            inventory: &self.inventory,
            agent: "0.1.0",
            confirmation_key: "key",
            armed: Armed::For(None),
        };
        let preview = super::super::preview(context, subject).unwrap();
        let sign = |fate| match fate {
            Fate::Kept => ' ',
            Fate::Created => '+',
            Fate::Changed => '~',
            Fate::Destroyed => '-',
            Fate::Undecided => '?',
        };
        let disks = preview.disks.into_iter().map(|disk| {
            let changes = disk.changes.iter();
            let lines = changes.map(|change| format!("{} {}", sign(change.fate), change.what));
            (disk.path, lines.collect())
        });
        disks.collect()
    }

    /// Puts a partition with ext4 on a disk.
    fn occupy(&mut self, disk: usize) {
        let disk = &mut self.inventory.disks[disk];
        disk.content = Content::Foreign {
            signatures: vec!["gpt: 1 partition (old)".into()],
        };
        disk.layout = Some(Layout {
            table: PartitionTable::Gpt {
                first_usable: 34,
                last_usable: (4 << 21) - 34,
                partitions: vec![Partition {
                    number: 1,
                    start: 2048,
                    sectors: 2 << 21,
                    type_guid: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into(),
                    guid: "01010101-0101-0101-0101-010101010101".into(),
                    label: "old".into(),
                    attributes: 0,
                }],
            },
            signatures: vec![Signature {
                offset: 1 << 20,
                kind: "ext4".into(),
                label: Some("photographs".into()),
                uuid: None,
            }],
        });
    }
}

const OLD: &str = "partition 1 `old`: 2.0 GiB, ext4 `photographs`";
const PLAIN: &str = "variant: fcos\nversion: 1.5.0\n";

#[tokio::test]
async fn nothing_is_lost_without_a_grant_and_all_of_the_systems_disk_with_it() {
    let mut machine = Machine::new(FILE, "agent", PLAIN).await;
    machine.occupy(0);
    machine.occupy(1);
    let kept = vec![format!("  {OLD}")];
    let vdb = ("/dev/vdb".to_owned(), kept.clone());
    assert_eq!(
        machine.preview(&[]),
        [("/dev/vda".to_owned(), kept), vdb.clone()]
    );
    let replaced = vec![
        format!("- {OLD}"),
        "+ partition 1 `boot`: 2.0 MiB, from the image".to_owned(),
        "+ partition 2 `root`: 4.0 GiB, from the image, grown".to_owned(),
    ];
    assert_eq!(
        machine.preview(&["disk-1"]),
        [("/dev/vda".to_owned(), replaced), vdb]
    );
}

#[tokio::test]
async fn a_configurations_partitions_and_filesystems_are_shown_on_their_disks() {
    let machine = Machine::new(FILE, "agent", TWO_DISKS).await;
    let system = [
        "+ partition 1 `boot`: 2.0 MiB, from the image",
        "+ partition 2 `root`: 2.0 GiB, from the image, grown",
        "+ partition 3 `var`: 2.0 GiB",
    ];
    let data = ["+ /dev/vdb: xfs, kept if it is there already"];
    let shown = machine.preview(&[]);
    assert_eq!(shown[0].1, system);
    assert_eq!(shown[1].1, data);
}

/// A table that the configuration changes, on a disk that holds something.
#[tokio::test]
async fn of_a_data_disk_it_is_told_what_stays_what_goes_and_what_comes() {
    const DELETED: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  disks:\n    - device: \
                           /dev/disk/by-id/virtio-disk-2\n      partitions:\n        - {number: 1, \
                           should_exist: false, wipe_partition_entry: true}\n        - {number: 2, label: new, \
                           size_mib: 100}\n";
    const ADDED: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  disks:\n    - device: \
                         /dev/disk/by-id/virtio-disk-2\n      partitions:\n        - {number: 2, label: new, \
                         size_mib: 100}\n";
    for (part, sign) in [(DELETED, '-'), (ADDED, ' ')] {
        let mut machine = Machine::new(FILE, "agent", part).await;
        machine.occupy(1);
        let shown = machine.preview(&["disk-2"]);
        let expected = [
            format!("{sign} {OLD}"),
            "+ partition 2 `new`: 100.0 MiB".to_owned(),
        ];
        assert_eq!(shown[1].1, expected, "{part}");
    }
}

/// A new table, a volume and an array need no partition table to take what stands there.
#[tokio::test]
async fn what_is_covered_is_shown_as_lost() {
    const TABLE: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  disks:\n    - device: \
                         /dev/disk/by-id/virtio-disk-2\n      partitions:\n        - {number: 1, label: new, \
                         size_mib: 100}\n";
    const VOLUME: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  luks:\n    - {name: data, device: \
                          /dev/disk/by-id/virtio-disk-2, wipe_volume: true}\n";
    for part in [TABLE, VOLUME] {
        let mut machine = Machine::new(FILE, "agent", part).await;
        let disk = &mut machine.inventory.disks[1];
        disk.content = Content::Foreign {
            signatures: vec!["xfs at 0".into()],
        };
        disk.layout = Some(Layout {
            signatures: vec![Signature {
                offset: 0,
                kind: "xfs".into(),
                label: None,
                uuid: None,
            }],
            ..Layout::default()
        });
        let shown = machine.preview(&["disk-2"]);
        assert_eq!(
            shown[1].1[0], "- xfs on the whole disk",
            "{part}: {shown:?}"
        );
    }
}

#[tokio::test]
async fn what_the_images_own_ignition_decides_is_not_called_kept() {
    const PART: &str = "variant: fcos\nversion: 1.0.0\nstorage:\n  filesystems:\n    - {device: \
                        /dev/disk/by-id/virtio-disk-2, format: xfs, path: /data, wipe_filesystem: true}\n";
    let mut machine = Machine::new(FILE, "fedora-coreos", PART).await;
    machine.occupy(1);
    let shown = machine.preview(&["disk-2"]);
    let [old, rest] = shown[1].1.as_slice() else {
        panic!("{shown:?}");
    };
    assert_eq!(*old, format!("? {OLD}"));
    assert!(
        rest.starts_with("? what the image's own Ignition"),
        "{rest}"
    );
}

#[tokio::test]
async fn of_an_image_by_url_it_is_said_that_its_table_is_unknown() {
    let machine = Machine::new("url: http://files.example/node.img", "agent", PLAIN).await;
    let shown = machine.preview(&[]);
    let [line] = shown[0].1.as_slice() else {
        panic!("{shown:?}");
    };
    assert!(line.starts_with("+ what the image brings"), "{line}");
}
