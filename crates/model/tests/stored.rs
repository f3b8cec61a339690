//! What an older version stored is understood by this one.

mod fixture;

use fixture::{disk, grant, inventory, ours};
use hardway_model::inventory::{Content, Inventory};
use hardway_model::lifecycle::MachineState;
use hardway_model::receipt::{Receipt, Stage};
use serde_json::{Value, json};

#[test]
fn a_journal_with_one_grant_or_none() {
    let state = MachineState {
        generation: 1,
        inventory: Some(inventory(vec![disk('a', 8, Content::Blank)])),
        ..MachineState::default()
    };
    let mut older = serde_json::to_value(&state).unwrap();
    older.as_object_mut().unwrap().remove("grants");
    for (stored, grants) in [
        (Value::Null, Vec::new()),
        (json!({"disk": "A", "time": 1}), vec![grant("A")]),
    ] {
        older["grant"] = stored;
        let read: MachineState = serde_json::from_value(older.clone()).unwrap();
        let expected = MachineState {
            grants,
            ..state.clone()
        };
        assert_eq!(read, expected);
    }
}

#[test]
fn an_inventory_and_a_receipt_without_what_came_later() {
    let full = inventory(vec![disk('a', 8, Content::Blank)]);
    let mut older = serde_json::to_value(&full).unwrap();
    for field in ["aliases", "layout"] {
        let disk = older["disks"][0].as_object_mut().unwrap();
        assert!(
            disk.remove(field).is_none(),
            "{field} is left out where it says nothing"
        );
    }
    older.as_object_mut().unwrap().remove("tpm2");
    assert_eq!(serde_json::from_value::<Inventory>(older).unwrap(), full);

    let Content::Ours { receipt } = ours(Stage::Complete, "node1", 1) else {
        panic!("no receipt");
    };
    let older = serde_json::to_value(&*receipt).unwrap();
    assert!(older.get("data_disks").is_none());
    assert_eq!(serde_json::from_value::<Receipt>(older).unwrap(), *receipt);
}
