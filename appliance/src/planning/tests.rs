//! From a config part and an inventory to the steps of a plan.

use hardway_ignition::{Operation, Operations};
use hardway_model::cluster::Cluster;
use hardway_model::desired::{
    AfterInstall, Compression, ConfigApplier, DesiredImage, DesiredMachine, DiskSelector,
    InstallPolicy, WipePolicy,
};
use hardway_model::identity::Sha256;
use hardway_model::inventory::{Content, Disk, Inventory};
use hardway_model::layout::{Layout, Signature};
use hardway_model::lifecycle::MachineState;
use hardway_model::plan::{Decision, Plan, Step};

use super::{Armed, Subject, decide};
use crate::fixture::{Appliance, MAC, inventory};
use crate::render::Rendered;
use hardway_recognition::fixture::gpt_disk;

mod imports;
mod previews;

/// What a machine of the tests is to become.
pub fn desired() -> DesiredMachine {
    DesiredMachine {
        cluster: "lab".into(),
        machine: "node1".into(),
        profile: "etcd".into(),
        image: DesiredImage {
            name: "node".into(),
            url: "/images/node.img".into(),
            compression: Compression::None,
            sha256: Sha256([1; 32]),
            imported: None,
            config: ConfigApplier::Agent,
        },
        disk: DiskSelector::default(),
        wipe: WipePolicy::Never,
        install: InstallPolicy::Automatic,
        after_install: AfterInstall::Kexec,
        read_back: true,
        boot_order: Default::default(),
        kernel_arguments: Vec::new(),
        config: Sha256([2; 32]),
    }
}

const CLUSTER: &str = r#"version: 1
cluster: {name: lab, domain: lab.internal}
network:
  address: 10.77.0.1/24
  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.199}
images:
  node:
    SOURCE
    sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    config: APPLIER
profiles:
  etcd:
    image: node
    disk: {path: /dev/vda}
    wipe: never
    kernel_arguments: [console=ttyS0]
    config: [base.bu]
machines:
  - name: node1
    match: {mac: "52:54:00:00:00:01"}
    profile: etcd
    address: 10.77.0.11
"#;

/// In place of the image's SHA-256, which only the agent compares: that of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn image() -> Vec<u8> {
    gpt_disk(8 << 20, 512, &[("boot", 1, 2), ("root", 3, 6)])
}

/// A machine whose image has the partitions boot and root, with `/dev/vda` of 4 GiB and `/dev/vdb`.
struct Machine {
    appliance: Appliance,
    inventory: Inventory,
}

impl Machine {
    async fn new(source: &str, applier: &str, part: &str) -> Self {
        let cluster = CLUSTER
            .replace("SOURCE", source)
            .replace("APPLIER", applier);
        Self::of(&cluster, part).await
    }

    async fn of(cluster: &str, part: &str) -> Self {
        let appliance = Appliance::with(cluster).await;
        let at = |name: &str| appliance.folder.path().join(name);
        std::fs::write(at("base.bu"), part).unwrap();
        std::fs::write(at("images/node.img"), image()).unwrap();
        std::fs::create_dir_all(at("payload/toolbox")).unwrap();
        let index = format!(
            r#"{{"segments": [{{"name": "storage", "file": "s.zst", "sha256": "{}", "size": 1}}]}}"#,
            Sha256([7; 32])
        );
        std::fs::write(at("payload/toolbox/index.json"), index).unwrap();
        std::fs::write(at("payload/toolbox/s.zst"), b"s").unwrap();
        let mut inventory = inventory(MAC, Content::Blank);
        inventory.disks.push(Disk {
            path: "/dev/vdb".into(),
            serial: Some("disk-2".into()),
            aliases: vec![
                "/dev/disk/by-id/virtio-disk-2".into(),
                r"/dev/disk/by-id/nvme-a\x23b".into(),
            ],
            ..inventory.disks[0].clone()
        });
        Self {
            appliance,
            inventory,
        }
    }

    fn decide(&self) -> (Decision, Option<Rendered>) {
        let context = &self.appliance.context;
        let snapshot = context.fleet.snapshot();
        let cluster: &Cluster = snapshot.cluster.as_ref().unwrap();
        let subject = Subject {
            cluster,
            machine: cluster.machine("node1").unwrap(),
            state: &MachineState {
                generation: 1,
                ..MachineState::default()
            },
            inventory: &self.inventory,
            agent: "0.1.0",
            confirmation_key: "key",
            armed: Armed::For(None),
        };
        let judgement = decide(context, subject);
        (judgement.decision, judgement.document)
    }

    #[track_caller]
    fn plan(&self) -> (Plan, Vec<u8>) {
        match self.decide() {
            (Decision::Install { plan, .. }, Some(document)) => (plan, document.json),
            (other, _) => panic!("{other:#?}"),
        }
    }

    #[track_caller]
    fn refusal(&self) -> String {
        match self.decide().0 {
            Decision::Refuse { refusal } => refusal.cause,
            other => panic!("{other:#?}"),
        }
    }
}

const FILE: &str = "file: node.img";

/// A partition behind the image's on the system disk, and a filesystem on the other.
const TWO_DISKS: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  disks:\n    - device: \
                         /dev/disk/by-id/coreos-boot-disk\n      partitions:\n        - {number: 3, label: \
                         var, start_mib: 2048, size_mib: 0}\n  filesystems:\n    - {device: \
                         /dev/disk/by-id/virtio-disk-2, format: xfs, path: /data}\n";

#[tokio::test]
async fn both_disks_are_planned_exactly() {
    let machine = Machine::new(FILE, "agent", TWO_DISKS).await;
    let (plan, document) = machine.plan();
    let names: Vec<&str> = plan.steps.iter().map(Step::name).collect();
    assert_eq!(
        names,
        [
            "fetch-toolbox",
            "claim-disk",
            "write-image",
            "read-back",
            "prepare-disks",
            "grow-partition-table",
            "grow-filesystem",
            "apply-config",
            "install-confirmation",
            "commit-disk",
            "hand-over",
        ]
    );
    for step in &plan.steps {
        match step {
            Step::PrepareDisks {
                disks,
                erase,
                sha256,
                summary,
            } => {
                let disks: Vec<&str> = disks.iter().map(|disk| disk.id.as_str()).collect();
                assert_eq!((disks, erase.len()), (vec!["disk-2"], 0));
                assert_eq!(*sha256, Rendered::new(document.clone()).digest);
                assert!(
                    summary.iter().any(|line| line.contains("/dev/vdb")),
                    "{summary:?}"
                );
            }
            // The image's own last partition, up to the one that the configuration adds.
            Step::GrowPartitionTable { partition } => assert_eq!(*partition, Some(2)),
            Step::CommitDisk { receipt } => {
                assert_eq!(receipt.data_disks, ["disk-2"]);
                assert_eq!(receipt.blank_data_disks, ["disk-2"]);
            }
            _ => {}
        }
    }
    let work: Operations = serde_json::from_slice(&document).unwrap();
    let Some(Operation::WriteTable(table)) = work.operations.first() else {
        panic!("{:?}", work.operations);
    };
    let entries: Vec<_> = table
        .entries
        .iter()
        .map(|e| (e.number, e.start, e.sectors))
        .collect();
    let end_of_the_disk = (4 << 21) - 33;
    let (start, root) = (2048 << 11, (2, 6144, 8192));
    assert_eq!(
        entries,
        [(1, 2048, 4096), root, (3, start, end_of_the_disk - start)]
    );
}

#[tokio::test]
async fn what_stands_on_a_data_disk_is_respected_and_needs_a_grant() {
    let mut machine = Machine::new(FILE, "agent", TWO_DISKS).await;
    let data = &mut machine.inventory.disks[1];
    data.content = Content::Foreign {
        signatures: vec!["xfs at 0".into()],
    };
    data.layout = Some(Layout {
        signatures: vec![Signature {
            offset: 0,
            kind: "xfs".into(),
            label: None,
            uuid: None,
        }],
        ..Layout::default()
    });
    let Decision::Refuse { refusal } = machine.decide().0 else {
        panic!("not refused");
    };
    assert_eq!(refusal.grantable, ["disk-2"], "{}", refusal.cause);
    // A filesystem of another kind is no question of a grant.
    let layout = machine.inventory.disks[1].layout.as_mut().unwrap();
    layout.signatures[0].kind = "ext4".into();
    let cause = machine.refusal();
    assert!(cause.contains("ext4"), "{cause}");
}

#[tokio::test]
async fn a_configuration_does_not_destroy_the_new_system() {
    let part = "variant: fcos\nversion: 1.5.0\nstorage:\n  disks:\n    - {device: /dev/vda, \
                wipe_table: true}\n";
    let machine = Machine::new(FILE, "agent", part).await;
    let cause = machine.refusal();
    assert!(cause.contains("would destroy the system"), "{cause}");
}

#[tokio::test]
async fn a_missing_toolbox_is_a_refusal() {
    let machine = Machine::new(FILE, "agent", TWO_DISKS).await;
    let folder = machine.appliance.folder.path().join("payload/toolbox");
    std::fs::remove_dir_all(folder).unwrap();
    let cause = machine.refusal();
    assert!(cause.contains("cargo xtask image toolbox"), "{cause}");
}

#[tokio::test]
async fn an_image_by_url_has_no_table_to_plan_with() {
    let url = "url: http://10.77.0.2/node.img";
    let machine = Machine::new(url, "agent", TWO_DISKS).await;
    let cause = machine.refusal();
    assert!(cause.contains("an image from the image store"), "{cause}");
    let other = TWO_DISKS.replace("/dev/disk/by-id/coreos-boot-disk", "/dev/vdb");
    let other = other.replace(
        "/dev/disk/by-id/virtio-disk-2",
        "/dev/disk/by-partlabel/var",
    );
    let machine = Machine::new(url, "agent", &other).await;
    let (plan, _) = machine.plan();
    let grows = plan
        .steps
        .contains(&Step::GrowPartitionTable { partition: None });
    assert!(
        grows,
        "a configuration that leaves the system disk alone: {plan:?}"
    );
}

#[tokio::test]
async fn an_image_with_ignition_of_its_own_gets_the_config() {
    let part = "variant: fcos\nversion: 1.0.0\nstorage:\n  files:\n    - path: /etc/motd\n";
    let machine = Machine::new(FILE, "fedora-coreos", part).await;
    let (plan, document) = machine.plan();
    assert!(plan.steps.iter().any(|step| step.name() == "apply-config"));
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| step.name() == "install-confirmation")
    );
    let config: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(
        config["ignition"]["version"], "3.3.0",
        "for kernel arguments"
    );
    assert_eq!(config["kernelArguments"]["shouldExist"][0], "console=ttyS0");
    assert_eq!(config["storage"]["files"][0]["path"], "/etc/motd");
    let unit = &config["systemd"]["units"][0];
    assert_eq!(unit["name"], "hardway-confirm.service");
    let (again, same) = machine.plan();
    assert_eq!((again.steps.len(), same), (plan.steps.len(), document));

    let flatcar = Machine::new(FILE, "flatcar", part).await;
    let cause = flatcar.refusal();
    assert!(cause.contains("no partition labelled `OEM`"), "{cause}");
}

#[tokio::test]
async fn what_the_images_own_ignition_will_write_has_to_be_permitted() {
    let data_disk = |device: &str| {
        format!(
            "variant: fcos\nversion: 1.0.0\nstorage:\n  filesystems:\n    - {{device: {device}, \
             format: xfs, path: /data, wipe_filesystem: true}}\n"
        )
    };
    for (device, is_named) in [
        ("/dev/vdb", true),
        ("/dev/vdb1", true),
        ("/dev/disk/by-id/virtio-disk-2", true),
        ("/dev/disk/by-id/virtio-disk-2-part3", true),
        ("/dev/disk/by-label/photographs", true),
        (r"/dev/disk/by-label/ph\x6ftographs", true),
        (r"/dev/disk/by-id/nvme-a\x23b-part1", true),
        ("/dev/disk/by-id/coreos-boot-disk-part4", false),
        ("/dev/disk/by-partlabel/root", false),
    ] {
        let mut machine = Machine::new(FILE, "fedora-coreos", &data_disk(device)).await;
        let data = &mut machine.inventory.disks[1];
        data.content = Content::Foreign {
            signatures: vec!["xfs \"photographs\" at 0".into()],
        };
        data.layout = Some(Layout {
            signatures: vec![Signature {
                offset: 0,
                kind: "xfs".into(),
                label: Some("photographs".into()),
                uuid: None,
            }],
            ..Layout::default()
        });
        match machine.decide().0 {
            Decision::Refuse { refusal } if is_named => {
                assert_eq!(refusal.grantable, ["disk-2"], "{}", refusal.cause);
            }
            Decision::Install { .. } if !is_named => {}
            other => panic!("{device}: {other:#?}"),
        }
    }
}

#[tokio::test]
async fn a_device_that_nobody_can_place_is_not_left_to_the_images_own_ignition() {
    let part = |device: &str| {
        format!(
            "variant: fcos\nversion: 1.0.0\nstorage:\n  raid:\n    - {{name: data, level: raid1, \
             devices: [/dev/vdb, /dev/vda5]}}\n  filesystems:\n    - {{device: {device}, format: xfs, \
             path: /data, wipe_filesystem: true}}\n"
        )
    };
    let made = Machine::new(FILE, "fedora-coreos", &part("/dev/md/data")).await;
    assert!(matches!(made.decide().0, Decision::Install { .. }));
    for device in [
        "/dev/md/old",
        "/dev/md127",
        "/dev/mapper/vg-lv",
        "/dev/disk/by-id/virtio-disk-22",
    ] {
        let machine = Machine::new(FILE, "fedora-coreos", &part(device)).await;
        let cause = machine.refusal();
        assert!(
            cause.contains(&format!("writes {device}, which")),
            "{cause}"
        );
    }
}
