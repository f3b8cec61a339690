//! What an installed system is told of its firmware's boot entries.

use hardway_model::boot_variables::Variable;
use hardway_model::inventory::Firmware;
use hardway_model::layout::{Layout, Partition, PartitionTable};
use hardway_model::lifecycle::Severity;

use super::*;

/// A machine whose installed system runs, with firmware that has forgotten its entries: it is told what
/// to write once, and what comes of it stands on the timeline.
#[tokio::test]
async fn boot_entries_are_set_back_by_the_running_system() {
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    let (plan, key) = execute(&text);
    let receipt = plan.steps.into_iter().find_map(|step| match step {
        Step::CommitDisk { receipt } => Some(receipt),
        _ => None,
    });
    let content = Content::Ours {
        receipt: Box::new(receipt.unwrap()),
    };
    let mut running = Running {
        machine: "node1".into(),
        generation: 1,
        key,
        boot_id: "first".into(),
        inventory: Some(Box::new(with_boot_variables(inventory(MAC, content)))),
        written: None,
    };
    let (status, text) = appliance.post("/agent/v1/running", None, &running).await;
    assert_eq!(status, StatusCode::OK);
    let variables: Vec<Variable> = parse(&text);
    let names: Vec<&str> = variables.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["Boot0000", "BootOrder"]);

    // Firmware that keeps nothing, and firmware that refuses.
    for (written, line) in [
        ("", "the firmware does not keep its boot entries: Boot0000"),
        ("no space", "boot entries are not set: no space"),
    ] {
        running.written = Some(written.into());
        let (status, _) = appliance.post("/agent/v1/running", None, &running).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        expect_timeline(&appliance, Severity::Warning, line).await;
    }
    expect_timeline(&appliance, Severity::Info, "boot entries are set: Boot0000").await;

    running.written = None;
    running.inventory.as_mut().unwrap().boot_variables = Some(variables);
    let (status, _) = appliance.post("/agent/v1/running", None, &running).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

/// UEFI without any entry, and a disk with an EFI system partition.
fn with_boot_variables(mut inventory: Inventory) -> Inventory {
    let partition = Partition {
        number: 1,
        start: 2048,
        sectors: 2048,
        type_guid: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".into(),
        guid: "00112233-4455-6677-8899-AABBCCDDEEFF".into(),
        label: String::new(),
        attributes: 0,
    };
    let table = PartitionTable::Gpt {
        first_usable: 34,
        last_usable: 8_000_000,
        partitions: vec![partition],
    };
    inventory.disks[0].layout = Some(Layout {
        table,
        signatures: Vec::new(),
    });
    inventory.firmware = Firmware::Uefi;
    inventory.boot_variables = Some(vec![Variable {
        name: "BootOrder".into(),
        value: Vec::new(),
    }]);
    inventory
}

async fn expect_timeline(appliance: &Appliance, severity: Severity, begin: &str) {
    let (_, text) = appliance.get("/api/v1/machines/node1").await;
    let detail: MachineDetail = parse(&text);
    let mut timeline = detail.timeline.iter();
    let found = timeline.any(|entry| entry.severity == severity && entry.text.starts_with(begin));
    assert!(found, "{begin}: {:#?}", detail.timeline);
}
