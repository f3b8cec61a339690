//! What the planner decides about data disks, and about images that bring Ignition along.

mod fixture;

use fixture::{circumstances, desired, disk, foreign, grant, inventory, ours};
use hardway_model::desired::{
    AfterInstall, ConfigApplier, DesiredMachine, DiskSelector, WipePolicy,
};
use hardway_model::identity::Sha256;
use hardway_model::inventory::{Content, Disk};
use hardway_model::plan::{
    Circumstances, Decision, Grant, Growth, Preparation, Step, ToolboxSegment, begins_blank,
    believable, plan,
};
use hardway_model::receipt::{Seal, Stage};

/// The system goes to `/dev/vda`, whatever else there is.
fn wanted(wipe: WipePolicy) -> DesiredMachine {
    let path = Some("/dev/vda".into());
    desired(
        wipe,
        DiskSelector {
            path,
            ..DiskSelector::default()
        },
    )
}

/// A configuration that writes `/dev/vda` and these.
fn preparation(letters: &str) -> Preparation {
    Preparation {
        disks: std::iter::once('a')
            .chain(letters.chars())
            .map(|letter| format!("/dev/vd{letter}"))
            .collect(),
        is_staged: true,
        summary: vec!["/dev/vdb: new table".into()],
        ..Preparation::default()
    }
}

/// This machine's receipt on the system disk, with `B` among its data disks.
fn with_receipt(stage: Stage, generation: u32, was_blank: bool) -> Content {
    let Content::Ours { mut receipt } = ours(stage, "node1", generation) else {
        return Content::Blank;
    };
    receipt.data_disks = vec!["B".into()];
    receipt.blank_data_disks = match was_blank {
        true => vec!["B".into()],
        false => Vec::new(),
    };
    Content::Ours { receipt }
}

fn decide(
    desired: &DesiredMachine,
    disks: Vec<Disk>,
    preparation: &Preparation,
    grants: &[Grant],
) -> Decision {
    let circumstances = Circumstances {
        grants,
        armed: None,
        preparation: Some(preparation),
        ..circumstances(2, None)
    };
    plan(desired, &inventory(disks), circumstances)
}

fn prepared(decision: &Decision) -> Option<(Vec<&str>, Vec<&str>)> {
    let Decision::Install { plan, .. } = decision else {
        return None;
    };
    plan.steps.iter().find_map(|step| match step {
        Step::PrepareDisks { disks, erase, .. } => Some((
            disks.iter().map(|disk| disk.path.as_str()).collect(),
            erase.iter().map(String::as_str).collect(),
        )),
        _ => None,
    })
}

/// `blank` (planned as a blank disk), `erased` (and made one first), `kept`, each with ` by grant`
/// where one is spent, or `refused`.
#[track_caller]
fn check(system: Content, data: Content, expected: [&str; 4]) {
    use WipePolicy::{Always, IfOurs, Never};
    let grant = grant("B");
    let columns = [
        (Never, None),
        (IfOurs, None),
        (Always, None),
        (Never, Some(grant)),
    ];
    let decided = columns.map(|(wipe, grant)| {
        let desired = wanted(wipe);
        let disks = vec![disk('a', 8, system.clone()), disk('b', 8, data.clone())];
        let grants: Vec<Grant> = grant.into_iter().collect();
        let is_blank = begins_blank(&desired, &inventory(disks.clone()), &disks[1]);
        let decision = decide(&desired, disks, &preparation("b"), &grants);
        let Some((data, erased)) = prepared(&decision) else {
            return "refused".to_owned();
        };
        assert_eq!(data, ["/dev/vdb"], "the system disk has a claim of its own");
        let fate = match (is_blank, erased.as_slice()) {
            (true, []) => "blank",
            (true, ["/dev/vdb"]) => "erased",
            (false, []) => "kept",
            other => panic!("{other:?}"),
        };
        match decision {
            Decision::Install { spends, .. } if spends == ["B"] => format!("{fate} by grant"),
            _ => fate.to_owned(),
        }
    });
    assert_eq!(decided, expected);
}

#[test]
fn what_may_happen_to_a_data_disk() {
    let blank = || Content::Blank;
    check(blank(), blank(), ["blank"; 4]);
    check(
        blank(),
        foreign(),
        ["refused", "refused", "kept", "kept by grant"],
    );
    let unreadable = Content::Unreadable {
        error: "EIO".into(),
    };
    check(blank(), unreadable, ["refused"; 4]);
    // Another machine's system, then an older one of this machine's own.
    check(
        blank(),
        ours(Stage::Complete, "node2", 1),
        ["refused", "refused", "kept", "kept by grant"],
    );
    check(
        blank(),
        ours(Stage::Complete, "node1", 1),
        ["refused", "kept", "kept", "kept by grant"],
    );
}

#[test]
fn an_installation_that_was_cut_off_begins_anew_on_what_was_blank_and_nowhere_else() {
    let cut_off = |was_blank| with_receipt(Stage::Writing, 2, was_blank);
    check(cut_off(true), foreign(), ["erased"; 4]);
    check(cut_off(true), Content::Blank, ["blank"; 4]);
    check(cut_off(false), foreign(), ["kept"; 4]);
    let unlisted = ours(Stage::Writing, "node1", 2);
    check(
        unlisted,
        foreign(),
        ["refused", "refused", "kept", "kept by grant"],
    );
}

/// The system disk was erased by hand, receipt and all left in its gap: its data disks are not erased with it.
#[test]
fn the_data_of_an_installation_that_was_complete_is_not_that_of_one_that_was_cut_off() {
    let shown = inventory(vec![
        disk('a', 8, with_receipt(Stage::Writing, 1, true)),
        disk('b', 8, foreign()),
    ]);
    let Content::Ours { receipt: known } = with_receipt(Stage::Complete, 1, true) else {
        panic!("no receipt");
    };
    let mut other = (*known).clone();
    other.time += 1;
    let erased = Some((vec!["/dev/vdb"], vec!["/dev/vdb"]));
    for (known, expected) in [
        (None, &erased),
        (Some(&other), &erased),
        (Some(&*known), &None),
    ] {
        let believed = believable(&shown, known, |_| Seal::Own);
        let decision = decide(
            &wanted(WipePolicy::Never),
            believed.disks,
            &preparation("b"),
            &[],
        );
        assert_eq!(&prepared(&decision), expected, "{known:?}");
    }
}

#[test]
fn an_installed_machines_data_disks_are_its_own() {
    let desired = wanted(WipePolicy::IfOurs);
    let disks = |listed: bool| {
        let Content::Ours { mut receipt } = with_receipt(Stage::Complete, 1, true) else {
            panic!("no receipt");
        };
        if !listed {
            receipt.data_disks.clear();
        }
        vec![
            disk('a', 8, Content::Ours { receipt }),
            disk('b', 8, foreign()),
        ]
    };
    let decision = decide(&desired, disks(true), &preparation("b"), &[]);
    assert_eq!(
        prepared(&decision),
        Some((vec!["/dev/vdb"], Vec::new())),
        "what the configuration keeps is kept"
    );
    let decision = decide(&desired, disks(false), &preparation("b"), &[]);
    assert_eq!(prepared(&decision), None);
}

#[test]
fn every_disk_that_waits_for_a_grant_is_named_with_its_command() {
    let disks = || {
        "abc"
            .chars()
            .map(|letter| disk(letter, 4, foreign()))
            .collect()
    };
    let decide = |grants: &[Grant]| {
        decide(
            &wanted(WipePolicy::Never),
            disks(),
            &preparation("bc"),
            grants,
        )
    };
    let Decision::Refuse { refusal } = decide(&[grant("A")]) else {
        panic!("not refused");
    };
    assert_eq!(
        format!("{}. {}", refusal.cause, refusal.remedy),
        "/dev/vdb (B, 4.0 GiB) holds gpt: 3 partitions (EFI, boot, root); /dev/vdc (C, 4.0 GiB) \
         holds gpt: 3 partitions (EFI, boot, root). `hardway grant wipe node1 --disk B`, `hardway \
         grant wipe node1 --disk C` allow each to be overwritten once; `wipe:` in profile `etcd` \
         allows them for good"
    );
    assert_eq!(refusal.grantable, ["B", "C"]);
    let Decision::Refuse { refusal } = decide(&[grant("A"), grant("C")]) else {
        panic!("not refused");
    };
    assert_eq!(refusal.grantable, ["B"]);
    assert!(
        refusal
            .remedy
            .starts_with("`hardway grant wipe node1` allows it")
    );
    match decide(&["A", "B", "C"].map(grant)) {
        Decision::Install { spends, .. } => assert_eq!(spends, ["A", "B", "C"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_data_disk_has_to_be_there_and_writable() {
    let reason = |change: fn(&mut Disk)| {
        let mut data = disk('b', 8, Content::Blank);
        change(&mut data);
        let disks = vec![disk('a', 8, Content::Blank), data];
        match decide(&wanted(WipePolicy::Always), disks, &preparation("b"), &[]) {
            Decision::Refuse { refusal } => refusal.cause,
            other => panic!("{other:?}"),
        }
    };
    let writes = "the configuration of profile `etcd` writes /dev/vdb";
    assert_eq!(
        reason(|disk| disk.path = "/dev/vdx".into()),
        format!("{writes}, and the machine has no such disk")
    );
    assert_eq!(
        reason(|disk| disk.read_only = true),
        format!("{writes} (B, 8.0 GiB), which refuses writes")
    );
    assert_eq!(
        reason(|disk| disk.removable = true),
        format!("{writes} (B, 8.0 GiB), which is removable")
    );
}

#[test]
fn the_steps_of_an_installation_with_data_disks() {
    let preparation = Preparation {
        toolbox: vec![ToolboxSegment {
            name: "storage".into(),
            url: "/toolbox/storage.cpio.zst".into(),
            size: 9,
            sha256: Sha256([3; 32]),
        }],
        growth: Growth::UpToNext(3),
        ..preparation("b")
    };
    let disks = || vec![disk('a', 8, Content::Blank), disk('b', 8, Content::Blank)];
    let decide =
        |preparation: &Preparation| decide(&wanted(WipePolicy::Never), disks(), preparation, &[]);
    insta::assert_json_snapshot!(decide(&preparation));
    let configured = Preparation {
        growth: Growth::Configured,
        ..preparation
    };
    let Decision::Install { plan, .. } = decide(&configured) else {
        panic!("refused");
    };
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| step.name() == "grow-partition-table")
    );
}

#[test]
fn an_image_with_ignition_of_its_own_is_left_to_its_first_boot() {
    for applier in [ConfigApplier::FedoraCoreos, ConfigApplier::Flatcar] {
        let mut desired = wanted(WipePolicy::Never);
        desired.image.config = applier;
        let decision = decide(
            &desired,
            vec![disk('a', 8, Content::Blank)],
            &Preparation::default(),
            &[],
        );
        let Decision::Install { plan, .. } = decision else {
            panic!("{decision:?}");
        };
        let names: Vec<&str> = plan.steps.iter().map(Step::name).collect();
        let expected = [
            "claim-disk",
            "write-image",
            "read-back",
            "apply-config",
            "commit-disk",
            "hand-over",
        ];
        assert_eq!(names, expected);
        // Its boot loader is what tells the system that it starts for the first time.
        let how = plan.steps.iter().find_map(|step| match step {
            Step::HandOver { how, .. } => Some(*how),
            _ => None,
        });
        assert_eq!(how, Some(AfterInstall::Reboot));
        let arguments = plan.steps.iter().find_map(|step| match step {
            Step::ApplyConfig {
                kernel_arguments, ..
            } => Some(kernel_arguments.len()),
            _ => None,
        });
        assert_eq!(arguments, Some(0), "they are part of the config");
    }
}
