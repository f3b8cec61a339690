//! When the firmware's boot entries are part of a plan, and what a machine's life makes of it.

mod fixture;

use fixture::{circumstances, desired, disk, inventory, ours};
use hardway_model::boot_variables::Variable;
use hardway_model::desired::{BootOrder, DesiredMachine, DiskSelector, WipePolicy};
use hardway_model::inventory::{Content, Firmware, Inventory};
use hardway_model::layout::{Layout, Partition, PartitionTable};
use hardway_model::lifecycle::{Effect, Event, MachineState, Phase, Severity, step};
use hardway_model::load_option::HardDrive;
use hardway_model::messages::AgentEvent;
use hardway_model::plan::{
    Circumstances, Decision, Preparation, Step, boot_entries_of_running, plan,
};
use hardway_model::receipt::Stage;

const SYSTEM_PARTITION: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const GUID: &str = "00112233-4455-6677-8899-AABBCCDDEEFF";

fn wanted(boot_order: BootOrder) -> DesiredMachine {
    DesiredMachine {
        boot_order,
        ..desired(WipePolicy::Never, DiskSelector::default())
    }
}

/// Firmware with an order and no entries in it.
fn uefi(content: Content) -> Inventory {
    let mut disk = disk('a', 4, content);
    disk.layout = Some(Layout {
        table: PartitionTable::Gpt {
            first_usable: 34,
            last_usable: 8_000_000,
            partitions: vec![Partition {
                number: 2,
                start: 4096,
                sectors: 131_072,
                type_guid: SYSTEM_PARTITION.into(),
                guid: GUID.into(),
                label: String::new(),
                attributes: 0,
            }],
        },
        signatures: Vec::new(),
    });
    Inventory {
        firmware: Firmware::Uefi,
        boot_variables: Some(vec![Variable {
            name: "BootOrder".into(),
            value: Vec::new(),
        }]),
        ..inventory(vec![disk])
    }
}

fn steps(
    desired: &DesiredMachine,
    inventory: &Inventory,
    partition: Option<HardDrive>,
) -> Vec<Step> {
    let preparation = Preparation {
        system_partition: partition,
        ..Preparation::default()
    };
    let circumstances = Circumstances {
        preparation: Some(&preparation),
        ..circumstances(1, None)
    };
    match plan(desired, inventory, circumstances) {
        Decision::Install { plan, .. } | Decision::AlreadyInstalled { plan, .. } => plan.steps,
        Decision::Refuse { refusal } => panic!("{}", refusal.cause),
    }
}

fn written(steps: &[Step]) -> Option<&[Variable]> {
    steps.iter().find_map(|step| match step {
        Step::SetBootEntries { variables, .. } => Some(variables.as_slice()),
        _ => None,
    })
}

fn last(steps: &[Step], count: usize) -> Vec<&'static str> {
    steps
        .iter()
        .skip(steps.len() - count)
        .map(Step::name)
        .collect()
}

fn partition() -> Option<HardDrive> {
    Some(HardDrive {
        number: 2,
        start: 4096,
        sectors: 131_072,
        guid: [7; 16],
    })
}

#[test]
fn after_the_last_write_of_an_installation() {
    let blank = uefi(Content::Blank);
    let network_first = wanted(BootOrder::NetworkFirst);
    let found = steps(&network_first, &blank, partition());
    assert_eq!(
        last(&found, 3),
        ["commit-disk", "set-boot-entries", "hand-over"]
    );
    let names: Vec<_> = written(&found)
        .unwrap()
        .iter()
        .map(|v| v.name.as_str())
        .collect();
    assert_eq!(names, ["Boot0000", "BootOrder"]);

    let obeys = |boot_order, inventory: &Inventory| {
        let steps = steps(&wanted(boot_order), inventory, partition());
        let sets = |step: &Step| matches!(step, Step::InstallConfirmation { sets_boot_entries } if *sets_boot_entries);
        steps.iter().any(sets)
    };
    let bios = Inventory {
        firmware: Firmware::Bios,
        ..blank.clone()
    };
    let unreadable = Inventory {
        boot_variables: None,
        ..blank.clone()
    };
    assert!(obeys(BootOrder::NetworkFirst, &blank));
    // It would begin to listen to whoever answers on the network.
    assert!(!obeys(BootOrder::DiskFirst, &blank) && !obeys(BootOrder::Keep, &blank));
    assert!(!obeys(BootOrder::NetworkFirst, &bios));
    for (desired, inventory, partition) in [
        (&network_first, &bios, partition()),
        (&network_first, &unreadable, partition()),
        (&network_first, &blank, None),
        (&wanted(BootOrder::Keep), &blank, partition()),
    ] {
        assert_eq!(written(&steps(desired, inventory, partition)), None);
    }
}

#[test]
fn what_firmware_has_reverted_is_set_back() {
    let mut found = uefi(ours(Stage::Complete, "node1", 1));
    let network_first = wanted(BootOrder::NetworkFirst);
    let again = steps(&network_first, &found, None);
    assert_eq!(last(&again, again.len()), ["set-boot-entries", "hand-over"]);
    let variables = written(&again).unwrap().to_vec();
    let running = boot_entries_of_running(&network_first, &found).unwrap();
    assert_eq!(running.variables, variables);
    assert_eq!(running.summary.len(), 2);

    found.boot_variables = Some(variables);
    let again = steps(&network_first, &found, None);
    assert_eq!(last(&again, again.len()), ["hand-over"]);
    assert_eq!(boot_entries_of_running(&network_first, &found), None);
    // A disk of nobody's.
    let foreign = uefi(ours(Stage::Complete, "node2", 1));
    assert_eq!(boot_entries_of_running(&network_first, &foreign), None);
}

/// What comes after the last write to a disk is no installation: nothing of it begins again.
#[test]
fn a_machine_stays_installed_while_its_firmware_is_written() {
    let script = Event::Script {
        summary: "given the agent".into(),
        token: Some("token".into()),
    };
    let (mut state, _) = step(MachineState::default(), script, 1);
    state.phase = Phase::Installed;
    let mut reports = |sequence, event| {
        let report = Event::Report { sequence, event };
        let (next, effects) = step(state.clone(), report, 2);
        state = next;
        (state.phase.clone(), effects)
    };
    let started = AgentEvent::StepStarted {
        step: "set-boot-entries".into(),
    };
    assert_eq!(reports(1, started).0, Phase::Installed);
    let warning = AgentEvent::Warning {
        text: "no space".into(),
    };
    let (phase, effects) = reports(2, warning);
    assert_eq!(phase, Phase::Installed);
    let told = effects.iter().any(|effect| {
        matches!(effect, Effect::Timeline(line) if line.severity == Severity::Warning && line.text == "no space")
    });
    assert!(told, "{effects:?}");
}
