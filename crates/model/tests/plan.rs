//! What the planner decides, case by case, in words.

mod fixture;

use fixture::{ANY, GIB, circumstances, desired, disk, foreign, grant, inventory, ours};
use hardway_model::desired::{AfterInstall, DiskSelector, Preference, WipePolicy};
use hardway_model::inventory::{Content, Disk};
use hardway_model::layout::{Layout, Partition, PartitionTable};
use hardway_model::plan::{Decision, Step, plan};
use hardway_model::receipt::Stage;

/// `install /dev/vda`, `install /dev/vda with grant`, `already on /dev/vda`, or the refusal.
fn in_words(decision: &Decision) -> String {
    match decision {
        Decision::Install { plan, spends } => {
            let Some(Step::ClaimDisk { disk, .. }) = plan.steps.first() else {
                return format!("{:?}", plan.steps);
            };
            let how = if !spends.is_empty() {
                " with grant"
            } else {
                ""
            };
            format!("install {}{how}", disk.path)
        }
        Decision::AlreadyInstalled { plan, .. } => match plan.steps.as_slice() {
            [Step::HandOver { disk, how }] => format!("already on {}, {how:?}", disk.path),
            steps => format!("{steps:?}"),
        },
        Decision::Refuse { refusal } => {
            let reason = serde_json::to_value(refusal.reason).unwrap();
            let reason = reason.as_str().unwrap().to_owned();
            format!("{reason}: {}. {}", refusal.cause, refusal.remedy)
        }
    }
}

#[track_caller]
fn check(wipe: WipePolicy, selector: &DiskSelector, disks: Vec<Disk>, expected: &str) {
    let decision = plan(
        &desired(wipe, selector.clone()),
        &inventory(disks),
        circumstances(2, None),
    );
    assert_eq!(in_words(&decision), expected);
}

#[test]
fn what_may_happen_to_a_disk() {
    use WipePolicy::{Always, IfOurs, Never};
    let unreadable = Content::Unreadable {
        error: "I/O error".into(),
    };
    let other_cluster = || {
        let Content::Ours { mut receipt } = ours(Stage::Complete, "node1", 9) else {
            return Content::Blank;
        };
        receipt.cluster = "home".into();
        Content::Ours { receipt }
    };
    // Wanted is generation 2. Columns: wipe never, if-ours, always, then never with a grant.
    let cases = [
        (
            "blank",
            Content::Blank,
            ["install", "install", "install", "install"],
        ),
        (
            "ours, cut off",
            ours(Stage::Writing, "node1", 2),
            ["install", "install", "install", "install"],
        ),
        (
            "ours, cut off in an older generation",
            ours(Stage::Writing, "node1", 1),
            ["install", "install", "install", "install"],
        ),
        (
            "ours, this generation",
            ours(Stage::Complete, "node1", 2),
            ["already", "already", "already", "already"],
        ),
        (
            "ours, a later generation",
            ours(Stage::Complete, "node1", 3),
            ["already", "already", "already", "already"],
        ),
        (
            "ours, an older generation",
            ours(Stage::Complete, "node1", 1),
            ["refuse", "install", "install", "granted"],
        ),
        (
            "another machine's",
            ours(Stage::Complete, "node2", 2),
            ["refuse", "refuse", "install", "granted"],
        ),
        (
            "another machine's, cut off",
            ours(Stage::Writing, "node2", 2),
            ["refuse", "refuse", "install", "granted"],
        ),
        (
            "another cluster's",
            other_cluster(),
            ["refuse", "refuse", "install", "granted"],
        ),
        (
            "foreign",
            foreign(),
            ["refuse", "refuse", "install", "granted"],
        ),
        (
            "unreadable",
            unreadable,
            ["refuse", "refuse", "refuse", "refuse"],
        ),
    ];
    let grant = grant("A");
    for (name, content, expected) in cases {
        let columns = [
            (Never, None),
            (IfOurs, None),
            (Always, None),
            (Never, Some(&grant)),
        ];
        let decided = columns.map(|(wipe, grant)| {
            let machine = inventory(vec![disk('a', 8, content.clone())]);
            match plan(&desired(wipe, ANY), &machine, circumstances(2, grant)) {
                Decision::Install { spends, .. } if !spends.is_empty() => "granted",
                Decision::Install { .. } => "install",
                Decision::AlreadyInstalled { .. } => "already",
                Decision::Refuse { .. } => "refuse",
            }
        });
        assert_eq!(decided, expected, "{name}");
    }
}

#[test]
fn a_grant_is_for_one_disk() {
    let wanted = desired(WipePolicy::Never, ANY);
    let machine = inventory(vec![disk('a', 8, foreign())]);
    let other = grant("B");
    let decision = plan(&wanted, &machine, circumstances(1, Some(&other)));
    assert!(matches!(decision, Decision::Refuse { .. }), "{decision:?}");

    // Two disks of one name: nobody knows which one was meant.
    let by_path = DiskSelector {
        path: Some("/dev/vda".into()),
        ..ANY
    };
    let mut twin = disk('b', 8, foreign());
    twin.serial = Some("A".into());
    let machine = inventory(vec![disk('a', 8, foreign()), twin]);
    let grant = grant("A");
    let decision = plan(
        &desired(WipePolicy::Never, by_path),
        &machine,
        circumstances(1, Some(&grant)),
    );
    assert_eq!(
        in_words(&decision),
        "disk-not-blank: the grant is for disk `A`, and several disks of the machine go by that \
         name. remove the other disk, or erase this one by hand"
    );
}

/// As a whole disk it would do, and everything may be wiped.
#[test]
fn the_disk_of_an_appliance_is_never_chosen() {
    let partition = |number: u32, label: &str| Partition {
        number,
        start: 2048 * u64::from(number),
        sectors: 2048,
        type_guid: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into(),
        guid: format!("01010101-0101-0101-0101-01010101010{number}"),
        label: label.into(),
        attributes: 0,
    };
    let partitions = ["ESP", "CONFIG", "DATA"].into_iter().zip(1..);
    let table = PartitionTable::Gpt {
        first_usable: 34,
        last_usable: 1 << 24,
        partitions: partitions
            .map(|(label, number)| partition(number, label))
            .collect(),
    };
    let stick = Disk {
        layout: Some(Layout {
            table,
            signatures: Vec::new(),
        }),
        ..disk('a', 64, foreign())
    };
    check(
        WipePolicy::Always,
        &ANY,
        vec![stick],
        "no-disk-fits: no disk fits profile `etcd`; there is /dev/vda (A, 64.0 GiB): an appliance starts from \
         it (partitions ESP and CONFIG). change `disk:` of profile `etcd`, or the machine's disks",
    );
}

#[test]
fn refusals_say_what_is_there_and_what_to_do() {
    let never = WipePolicy::Never;
    check(
        never,
        &ANY,
        vec![disk('a', 4, foreign())],
        "disk-not-blank: /dev/vda (A, 4.0 GiB) holds gpt: 3 partitions (EFI, boot, root). \
         `hardway grant wipe node1` allows it to be overwritten once; `wipe:` in profile `etcd` \
         allows it for good",
    );
    check(
        never,
        &ANY,
        vec![disk('a', 4, ours(Stage::Complete, "node7", 1))],
        "disk-not-blank: /dev/vda (A, 4.0 GiB) holds generation 1 of machine `node7` of cluster \
         `lab`. `hardway grant wipe node1` allows it to be overwritten once; `wipe:` in profile \
         `etcd` allows it for good",
    );
    check(
        never,
        &ANY,
        Vec::new(),
        "no-disk-fits: the machine has no disk that its kernel knows of. look at the machine's \
         list of devices without a driver, and at its cabling",
    );
    let removable = Disk {
        removable: true,
        ..disk('b', 64, Content::Blank)
    };
    let large = DiskSelector {
        min_size: Some(8 * GIB),
        ..ANY
    };
    check(
        never,
        &large,
        vec![disk('a', 4, Content::Blank), removable],
        "no-disk-fits: no disk fits profile `etcd`; there is /dev/vda (A, 4.0 GiB): it is smaller \
         than 8.0 GiB; /dev/vdb (B, 64.0 GiB): it is removable. change `disk:` of profile `etcd`, \
         or the machine's disks",
    );
    let protected = Disk {
        read_only: true,
        ..disk('a', 4, Content::Blank)
    };
    check(
        never,
        &ANY,
        vec![protected],
        "disk-unusable: no disk fits profile `etcd`; there is /dev/vda (A, 4.0 GiB): it refuses \
         writes. change `disk:` of profile `etcd`, or the machine's disks",
    );
}

#[test]
fn several_fitting_disks() {
    let prefer = |preference| DiskSelector {
        prefer: Some(preference),
        ..ANY
    };
    let disks = || vec![disk('a', 8, Content::Blank), disk('b', 4, foreign())];
    let always = WipePolicy::Always;
    check(
        always,
        &ANY,
        disks(),
        "several-disks-fit: several disks fit profile `etcd`: /dev/vda (A, 8.0 GiB) with nothing; \
         /dev/vdb (B, 4.0 GiB) with gpt: 3 partitions (EFI, boot, root). add `prefer: smallest`, \
         `prefer: largest` or a serial to `disk:` of profile `etcd`",
    );
    check(
        always,
        &prefer(Preference::Smallest),
        disks(),
        "install /dev/vdb",
    );
    check(
        always,
        &prefer(Preference::Largest),
        disks(),
        "install /dev/vda",
    );
    let equal = vec![disk('a', 8, Content::Blank), disk('b', 8, Content::Blank)];
    check(
        always,
        &prefer(Preference::Largest),
        equal,
        "several-disks-fit: several disks fit profile `etcd`: /dev/vda (A, 8.0 GiB) with nothing; \
         /dev/vdb (B, 8.0 GiB) with nothing. their sizes are equal: name one by serial, wwn or \
         path in `disk:` of profile `etcd`",
    );
}

#[test]
fn every_property_of_a_selector_has_to_hold() {
    let mut other = disk('b', 16, Content::Blank);
    other.rotational = true;
    other.transport = Some("sata".into());
    other.model = Some("SPIN".into());
    other.wwn = Some("naa.5".into());
    let disks = || vec![disk('a', 8, Content::Blank), other.clone()];
    let text = |value: &str| Some(value.to_owned());
    let second = [
        DiskSelector {
            path: text("/dev/vdb"),
            ..ANY
        },
        DiskSelector {
            serial: text("B"),
            ..ANY
        },
        DiskSelector {
            wwn: text("naa.5"),
            ..ANY
        },
        DiskSelector {
            model: text("SPIN"),
            ..ANY
        },
        DiskSelector {
            min_size: Some(8 * GIB + 1),
            ..ANY
        },
        DiskSelector {
            rotational: Some(true),
            ..ANY
        },
        DiskSelector {
            transport: text("sata"),
            ..ANY
        },
    ];
    for selector in second {
        check(WipePolicy::Never, &selector, disks(), "install /dev/vdb");
        let none = DiskSelector {
            max_size: Some(GIB),
            ..selector
        };
        let decision = plan(
            &desired(WipePolicy::Always, none),
            &inventory(disks()),
            circumstances(1, None),
        );
        assert!(
            in_words(&decision).starts_with("no-disk-fits"),
            "{decision:?}"
        );
    }
}

#[test]
fn an_installation_on_another_disk_is_not_made_again() {
    let moved = DiskSelector {
        serial: Some("A".into()),
        ..ANY
    };
    let disks = vec![
        disk('a', 8, Content::Blank),
        disk('b', 8, ours(Stage::Complete, "node1", 2)),
    ];
    check(
        WipePolicy::Always,
        &moved,
        disks,
        "already on /dev/vdb, Kexec",
    );
}

#[test]
fn a_machine_that_was_switched_off_after_its_installation_is_started() {
    let mut wanted = desired(WipePolicy::Never, ANY);
    wanted.after_install = AfterInstall::Poweroff;
    let machine = inventory(vec![disk('a', 8, ours(Stage::Complete, "node1", 1))]);
    let decision = plan(&wanted, &machine, circumstances(1, None));
    assert_eq!(in_words(&decision), "already on /dev/vda, Reboot");
}

#[test]
fn the_steps_of_an_installation() {
    let machine = inventory(vec![disk('a', 8, Content::Blank)]);
    let decision = plan(
        &desired(WipePolicy::Never, ANY),
        &machine,
        circumstances(2, None),
    );
    insta::assert_json_snapshot!(decision);
}

#[test]
fn a_disk_is_known_by_its_links() {
    let names = ["/dev/disk/by-id/nvme-b", "/dev/disk/by-path/pci-1"];
    let mut second = disk('b', 8, Content::Blank);
    second.aliases = names.map(String::from).to_vec();
    for (path, expected) in [
        (names[0], "install /dev/vdb"),
        (names[1], "install /dev/vdb"),
        ("/dev/vdb", "install /dev/vdb"),
    ] {
        let selector = DiskSelector {
            path: Some(path.into()),
            ..ANY
        };
        let disks = vec![disk('a', 8, Content::Blank), second.clone()];
        check(WipePolicy::Never, &selector, disks, expected);
    }
}
