//! What the planner never does, whatever stands on the disks.

mod fixture;

use fixture::{ANY, circumstances, desired, disk, foreign, grant, inventory, ours};
use hardway_model::desired::{DiskSelector, Preference, WipePolicy};
use hardway_model::inventory::{Content, Disk};
use hardway_model::plan::{Circumstances, Decision, Preparation, Step, plan};
use hardway_model::receipt::Stage;
use proptest::prelude::*;

fn any_content() -> impl Strategy<Value = Content> {
    let stage = prop_oneof![Just(Stage::Writing), Just(Stage::Complete)];
    let machine = prop_oneof![Just("node1"), Just("node2")];
    prop_oneof![
        Just(Content::Blank),
        Just(foreign()),
        Just(Content::Unreadable {
            error: "EIO".into()
        }),
        (stage, machine, 1_u32..4)
            .prop_map(|(stage, machine, generation)| ours(stage, machine, generation)),
    ]
}

fn any_disk(letter: char) -> impl Strategy<Value = Disk> {
    (1_u64..4, any_content(), any::<bool>(), any::<bool>()).prop_map(
        move |(gib, content, removable, read_only)| Disk {
            removable,
            read_only,
            ..disk(letter, gib, content)
        },
    )
}

proptest! {
    /// Whatever the machine holds: a disk is written only if it is blank, our own unfinished work,
    /// or allowed by policy or grant; never a removable, protected or unreadable one; and never
    /// while the wanted generation is on any fixed disk.
    #[test]
    fn nothing_is_written_without_permission(
        disks in (any_disk('a'), any_disk('b'), any_disk('c')),
        wipe in prop_oneof![Just(WipePolicy::Never), Just(WipePolicy::IfOurs), Just(WipePolicy::Always)],
        prefer in prop_oneof![Just(None), Just(Some(Preference::Smallest)), Just(Some(Preference::Largest))],
        granted in prop_oneof![Just(None), Just(Some(grant("A"))), Just(Some(grant("B")))],
        generation in 1_u32..4,
    ) {
        let machine = inventory(vec![disks.0, disks.1, disks.2]);
        let selector = DiskSelector { prefer, ..ANY };
        let decision = plan(&desired(wipe, selector), &machine, circumstances(generation, granted.as_ref()));
        let Decision::Install { plan, spends } = decision else {
            return Ok(());
        };
        let spends_grant = !spends.is_empty();
        let Some(Step::ClaimDisk { disk: bound, receipt }) = plan.steps.first() else {
            return Err(TestCaseError::fail("a plan that does not begin with its claim"));
        };
        let chosen = machine.disks.iter().find(|disk| disk.path == bound.path).unwrap();
        prop_assert!(!chosen.removable && !chosen.read_only);
        prop_assert_eq!(&bound.content, &chosen.content);
        prop_assert_eq!(receipt.generation, generation);
        let allowed = match &chosen.content {
            Content::Blank => true,
            Content::Unreadable { .. } => false,
            Content::Foreign { .. } => wipe == WipePolicy::Always || spends_grant,
            Content::Ours { receipt } if receipt.machine != "node1" => {
                wipe == WipePolicy::Always || spends_grant
            }
            Content::Ours { receipt } => {
                receipt.stage == Stage::Writing || wipe != WipePolicy::Never || spends_grant
            }
        };
        prop_assert!(allowed, "{:?}", chosen);
        if spends_grant {
            prop_assert_eq!(granted.map(|grant| grant.disk), Some(chosen.id()));
        }
        for disk in machine.disks.iter().filter(|disk| !disk.removable) {
            if let Content::Ours { receipt } = &disk.content {
                let done = receipt.machine == "node1"
                    && receipt.stage == Stage::Complete
                    && receipt.generation >= generation;
                prop_assert!(!done, "{:?} fulfils it already", disk);
            }
        }
    }

    /// The same of data disks: each that a plan binds is blank, or allowed by policy, by a grant for
    /// it that is spent, or by this machine's receipt that names it; and nothing but what was blank
    /// before an interruption is erased unasked.
    #[test]
    fn no_data_disk_is_touched_without_permission(
        disks in (any_disk('a'), any_disk('b'), any_disk('c')),
        wipe in prop_oneof![Just(WipePolicy::Never), Just(WipePolicy::IfOurs), Just(WipePolicy::Always)],
        granted in prop::sample::subsequence(vec!["A", "B", "C"], 0..=3),
        listed in prop::sample::subsequence(vec!["B", "C"], 0..=2),
        was_blank in prop::sample::subsequence(vec!["B", "C"], 0..=2),
        named in prop::sample::subsequence(vec!["/dev/vda", "/dev/vdb", "/dev/vdc"], 0..=3),
        generation in 1_u32..4,
    ) {
        let (mut system, b, c) = disks;
        if let Content::Ours { receipt } = &mut system.content {
            receipt.data_disks = listed.iter().map(|id| (*id).to_owned()).collect();
            receipt.blank_data_disks = was_blank.iter().map(|id| (*id).to_owned()).collect();
        }
        let receipt = match &system.content {
            Content::Ours { receipt } if receipt.machine == "node1" => Some(receipt.clone()),
            _ => None,
        };
        let machine = inventory(vec![system, b, c]);
        let grants: Vec<_> = granted.iter().map(|id| grant(id)).collect();
        let preparation = Preparation {
            disks: named.iter().map(|path| (*path).to_owned()).collect(),
            is_staged: true,
            ..Preparation::default()
        };
        let selector = DiskSelector { path: Some("/dev/vda".into()), ..ANY };
        let asked = Circumstances {
            grants: &grants,
            armed: None,
            preparation: Some(&preparation),
            ..circumstances(generation, None)
        };
        let Decision::Install { plan, spends } = plan(&desired(wipe, selector), &machine, asked) else {
            return Ok(());
        };
        let prepare = plan.steps.iter().find_map(|step| match step {
            Step::PrepareDisks { disks, erase, .. } => Some((disks, erase)),
            _ => None,
        });
        let Some((bound, erase)) = prepare else {
            return Err(TestCaseError::fail("a disks stage that is not in the plan"));
        };
        let paths: Vec<&str> = bound.iter().map(|disk| disk.path.as_str()).collect();
        prop_assert!(erase.iter().all(|path| paths.contains(&path.as_str())));
        prop_assert!(named.iter().all(|path| *path == "/dev/vda" || paths.contains(path)));
        for binding in bound {
            let disk = machine.disks.iter().find(|disk| disk.path == binding.path).unwrap();
            prop_assert!(named.contains(&disk.path.as_str()) && disk.path != "/dev/vda");
            prop_assert!(!disk.removable && !disk.read_only);
            prop_assert_eq!(&binding.content, &disk.content);
            let spent = spends.contains(&disk.id()) && granted.contains(&disk.id().as_str());
            let held = receipt.as_ref().is_some_and(|receipt| {
                listed.contains(&disk.id().as_str())
                    && (receipt.stage == Stage::Writing || wipe == WipePolicy::IfOurs)
            });
            let begun_blank = receipt.as_ref().is_some_and(|receipt| {
                receipt.stage == Stage::Writing && was_blank.contains(&disk.id().as_str())
            });
            let own = match &disk.content {
                Content::Ours { receipt } if receipt.machine == "node1" => {
                    receipt.stage == Stage::Writing || wipe == WipePolicy::IfOurs
                }
                _ => false,
            };
            let allowed = match &disk.content {
                Content::Blank => true,
                Content::Unreadable { .. } => false,
                _ => wipe == WipePolicy::Always || spent || held || own,
            };
            prop_assert!(allowed, "{:?}", disk);
            if erase.contains(&disk.path) {
                prop_assert!(begun_blank && disk.content != Content::Blank, "{:?}", disk);
            }
        }
    }
}
