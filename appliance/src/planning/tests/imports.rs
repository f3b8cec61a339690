//! Machines whose image was imported.

use super::*;
use crate::imported;

impl Machine {
    /// Of an image that was imported, and whose file is gone.
    async fn imported(part: &str) -> Self {
        let sha256 = hardway_image::hash(&image());
        let cluster = CLUSTER
            .replace("SOURCE", FILE)
            .replace("APPLIER", "agent")
            .replace(EMPTY, &sha256.to_string());
        let machine = Self::of(&cluster, part).await;
        let folder = machine.appliance.folder.path().join("images");
        let file = folder.join("node.img");
        imported::import(&file, &folder, Some(sha256)).unwrap();
        std::fs::remove_file(file).unwrap();
        machine
    }
}

#[tokio::test]
async fn an_imported_image_is_planned_like_its_file_and_written_in_chunks() {
    let (streamed, document) = Machine::new(FILE, "agent", TWO_DISKS).await.plan();
    let (plan, same) = Machine::imported(TWO_DISKS).await.plan();
    assert!(document == same, "the operations need the image's table");
    let prepared = |plan: &Plan| {
        let step = plan
            .steps
            .iter()
            .find(|step| step.name() == "prepare-disks");
        step.cloned().unwrap()
    };
    assert_eq!(prepared(&plan), prepared(&streamed));
    let Some(Step::WriteChunks { index, compare, .. }) = plan.steps.get(2) else {
        panic!("{:#?}", plan.steps);
    };
    assert_eq!(
        *index,
        format!("/images/{}.index", hardway_image::hash(&image()))
    );
    assert!(!compare);
}

/// It is refused to a machine that is to be installed, and to no other.
#[tokio::test]
async fn a_damaged_import_keeps_nobody_from_its_disk() {
    let mut machine = Machine::imported("variant: fcos\nversion: 1.5.0\n").await;
    let (plan, _) = machine.plan();
    let sha256 = hardway_image::hash(&image());
    let [data, _] = imported::files(sha256);
    let data = machine.appliance.folder.path().join("images").join(data);
    std::fs::write(data, b"").unwrap();
    let refusal = machine.refusal();
    assert!(refusal.contains("import the image again"), "{refusal}");
    let Some(Step::CommitDisk { receipt }) = plan.steps.iter().rev().nth(1) else {
        panic!("{:#?}", plan.steps);
    };
    let receipt = Box::new(receipt.clone());
    machine.inventory.disks[0].content = Content::Ours { receipt };
    let (decision, _) = machine.decide();
    assert!(
        matches!(decision, Decision::AlreadyInstalled { .. }),
        "{decision:#?}"
    );
}

#[tokio::test]
async fn an_imported_image_for_other_sectors_is_refused_before_anything_is_written() {
    let mut machine = Machine::imported("variant: fcos\nversion: 1.5.0\n").await;
    machine.plan();
    machine.inventory.disks[0].sector_size = 4096;
    let refusal = machine.refusal();
    let expected = "it is made for sectors of 512 bytes, the disk has 4096";
    assert!(refusal.contains(expected), "{refusal}");
}

#[tokio::test]
async fn an_image_by_https_has_to_be_imported() {
    let machine = Machine::new(
        "url: https://files.example/node.img",
        "agent",
        "variant: fcos\nversion: 1.5.0\n",
    );
    let refusal = machine.await.refusal();
    assert!(
        refusal.contains("`hardway image import https://files.example/node.img`"),
        "{refusal}"
    );
}
