//! What somebody with a boot token may say, and what becomes of it.

mod fixture;

use hardway_model::boot::{Asker, Protocol, Transfer, TransferEnd};
use hardway_model::inventory::Content;
use hardway_model::lifecycle::{Effect, Event, MachineState, Phase, step};
use hardway_model::messages::AgentEvent;
use hardway_model::receipt::Stage;

fn with_a_token() -> MachineState {
    let event = Event::Script {
        summary: "given the agent".into(),
        token: Some("token".into()),
    };
    step(MachineState::default(), event, 1000).0
}

fn report(event: AgentEvent) -> Event {
    Event::Report { sequence: 1, event }
}

#[test]
fn long_texts_are_clipped() {
    let long = "x".repeat(1 << 20);
    let failed = AgentEvent::Failed {
        step: long.clone(),
        cause: long.clone(),
    };
    let started = AgentEvent::StepStarted { step: long.clone() };
    let finished = AgentEvent::StepFinished {
        step: String::new(),
        summary: long,
    };
    for event in [failed, started, finished] {
        let (state, effects) = step(with_a_token(), report(event), 2000);
        let phase = serde_json::to_string(&state.phase).unwrap();
        assert!(phase.len() < 10_000, "{}", phase.len());
        for effect in effects {
            if let Effect::Timeline(entry) = effect {
                assert!(entry.text.len() < 10_000, "{}", entry.text.len());
            }
        }
    }
}

#[test]
fn figures_and_generations_do_not_overflow() {
    let mut state = with_a_token();
    for _ in 0..2 {
        let event = Event::Transfer(Transfer {
            file: String::new(),
            protocol: Protocol::Http,
            bytes: u64::MAX,
            size: u64::MAX,
            end: TransferEnd::Complete,
            took: 0,
        });
        state = step(state, event, 2000).0;
    }
    let Content::Ours { receipt } = fixture::ours(Stage::Complete, "node1", u32::MAX) else {
        unreachable!("the fixture makes receipts");
    };
    let event = report(AgentEvent::Installed { receipt });
    state = step(state, event, 3000).0;
    assert_eq!(state.installed, None, "nobody ordered that generation");
    state = step(state, Event::Reinstall, 4000).0;
    assert_eq!(state.generation, 2);
    assert_eq!(state.phase, Phase::Booting);
}

#[test]
fn hardware_addresses_are_bounded() {
    let mut state = MachineState::default();
    for last in 0..=255 {
        let event = Event::Dhcp {
            mac: format!("52:54:00:00:01:{last:02x}").parse().unwrap(),
            summary: String::new(),
            address: None,
            asker: Asker::Ipxe,
            boot_file: None,
        };
        state = step(state, event, 1000).0;
    }
    assert_eq!(state.identity.macs.len(), 64);
}
