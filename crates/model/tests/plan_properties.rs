//! What the planner never does, whatever stands on the disks.

mod fixture;

use fixture::{ANY, circumstances, desired, disk, foreign, grant, inventory, ours};
use hardway_model::desired::{DiskSelector, Preference, WipePolicy};
use hardway_model::inventory::{Content, Disk};
use hardway_model::plan::{Decision, Step, plan};
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
        let Decision::Install { plan, spends_grant } = decision else {
            return Ok(());
        };
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
}
