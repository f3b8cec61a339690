//! What the planner decides of imported images, and of several ways to one disk.

mod fixture;

use fixture::{ANY, GIB, circumstances, desired, disk, inventory, ours};
use hardway_model::desired::{DesiredMachine, DiskSelector, ImportedImage, Preference, WipePolicy};
use hardway_model::identity::Sha256;
use hardway_model::inventory::Content;
use hardway_model::plan::{Decision, RefusalReason, Step, plan};
use hardway_model::receipt::Stage;

fn with_import(size: u64) -> DesiredMachine {
    let mut wanted = desired(WipePolicy::IfOurs, ANY);
    wanted.read_back = false;
    wanted.image.imported = Some(ImportedImage {
        index: "/images/a.index".into(),
        sha256: Sha256([8; 32]),
        data: "/images/a.data".into(),
        size,
    });
    wanted
}

/// What was imported is written in chunks; a disk of ours is compared first, and nothing is read back
/// where the profile says so.
#[test]
fn an_imported_image_is_written_in_chunks() {
    for (content, compared) in [
        (Content::Blank, false),
        (ours(Stage::Writing, "node1", 2), true),
        (ours(Stage::Complete, "node1", 1), true),
    ] {
        let machine = inventory(vec![disk('a', 8, content)]);
        let decision = plan(&with_import(GIB), &machine, circumstances(2, None));
        let Decision::Install { plan, .. } = decision else {
            panic!("{decision:?}");
        };
        let names: Vec<&str> = plan.steps.iter().map(Step::name).collect();
        assert_eq!(
            names[..3],
            ["claim-disk", "write-image", "grow-partition-table"]
        );
        assert_eq!(
            plan.steps[1],
            Step::WriteChunks {
                index: "/images/a.index".into(),
                sha256: Sha256([8; 32]),
                data: "/images/a.data".into(),
                compare: compared,
            }
        );
    }
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let machine = inventory(vec![disk('a', 8, Content::Blank)]);
    let fits = plan(&with_import(8 * GIB), &machine, circumstances(2, None));
    assert!(matches!(fits, Decision::Install { .. }), "{fits:?}");
    let larger = plan(&with_import(8 * GIB + 1), &machine, circumstances(2, None));
    let Decision::Refuse { refusal } = larger else {
        panic!("{larger:?}");
    };
    assert_eq!(refusal.reason, RefusalReason::DiskTooSmall);
    assert!(
        refusal.cause.contains("is smaller than image `node`"),
        "{}",
        refusal.cause
    );
}

/// Both ways to a disk have its world-wide name.
#[test]
fn several_ways_to_one_disk_are_named_as_that() {
    let way = |letter| {
        let mut way = disk(letter, 8, Content::Blank);
        way.wwn = Some("naa.1".into());
        way
    };
    let mut other = way('b');
    other.wwn = Some("naa.2".into());
    for (second, words) in [
        (way('b'), "several ways lead to one disk (multipath)"),
        (other, "several disks fit profile"),
    ] {
        let machine = inventory(vec![way('a'), second]);
        for prefer in [None, Some(Preference::Largest)] {
            let selector = DiskSelector { prefer, ..ANY };
            let wanted = desired(WipePolicy::Always, selector);
            let decision = plan(&wanted, &machine, circumstances(1, None));
            let Decision::Refuse { refusal } = decision else {
                panic!("{decision:?}");
            };
            assert!(refusal.cause.starts_with(words), "{}", refusal.cause);
        }
    }
}
