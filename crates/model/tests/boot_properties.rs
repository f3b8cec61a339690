//! Whatever happens to a booting machine, in whatever order: nothing crashes, nothing floods, and what
//! is remembered stays small.

use hardway_model::boot::{
    AGENT_IMAGE, Asker, BootFiles, BootHistory, Diagnosis, FirmwareClass, LOCAL_DISK, Protocol,
    SHIM, Stage, Transfer, TransferEnd,
};
use hardway_model::doctor::diagnose;
use hardway_model::lifecycle::{Effect, Event, MachineState, step};
use proptest::prelude::*;

fn any_file() -> impl Strategy<Value = String> {
    let known = [
        "undionly.kpxe",
        "snponly.efi",
        "ipxe.efi",
        AGENT_IMAGE,
        LOCAL_DISK,
        SHIM,
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["vmlinuz", "agent.initramfs", "grubx64.efi"]).prop_map(str::to_owned),
        2 => "[a-z]{1,2}",
    ]
}

fn any_asker() -> impl Strategy<Value = Asker> {
    let class = prop::sample::select(FirmwareClass::ALL.to_vec());
    prop_oneof![
        1 => Just(Asker::System),
        2 => Just(Asker::Ipxe),
        5 => prop::option::weighted(0.9, class).prop_map(|class| Asker::Firmware { class }),
    ]
}

fn any_end() -> impl Strategy<Value = TransferEnd> {
    prop_oneof![
        3 => Just(TransferEnd::Complete),
        1 => Just(TransferEnd::Silence),
        1 => any::<Option<u16>>()
            .prop_map(|code| TransferEnd::Aborted { code, message: "no".into() }),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let dhcp = (
        any_asker(),
        prop::option::weighted(0.8, any_file()),
        any::<bool>(),
    )
        .prop_map(|(asker, boot_file, is_taken)| Event::Dhcp {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            summary: "DHCP".into(),
            address: is_taken.then(|| "10.77.0.11".parse().unwrap()),
            asker,
            boot_file,
        });
    let transfer =
        (any_file(), 0_u64..300, 0_u64..300, any_end()).prop_map(|(file, bytes, size, end)| {
            Event::Transfer(Transfer {
                file,
                protocol: Protocol::Tftp,
                bytes,
                size,
                end,
                took: 0,
            })
        });
    let script = any::<bool>().prop_map(|agent| Event::Script {
        summary: "script".into(),
        token: agent.then(|| "token".into()),
    });
    let diagnosed =
        prop::sample::select(Diagnosis::ALL.to_vec()).prop_map(|diagnosis| Event::Diagnosed {
            diagnosis,
            seen: "seen".into(),
        });
    let began = any_file().prop_map(|file| Event::TransferBegan { file });
    prop_oneof![5 => dhcp, 5 => transfer, 2 => began, 2 => script, 1 => diagnosed]
}

/// An event, and the milliseconds until it.
fn any_story() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let pause =
        prop_oneof![3 => 0_u64..3_000, 2 => 0_u64..200_000, 1 => any::<u32>().prop_map(u64::from)];
    prop::collection::vec((any_event(), pause), 0..80)
}

/// Tells how many lines the timeline got.
fn lines(effects: &[Effect]) -> usize {
    effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Timeline(_)))
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_floods_and_nothing_is_lost(story in any_story()) {
        let mut state = MachineState::default();
        let mut now = 0_u64;
        let boot_files = BootFiles::default();
        for (event, pause) in story {
            // The doctor looks each second, and at most as long as it has something to say.
            let until = now + pause;
            let mut told = 0;
            while now < until {
                now = (now + 1000).min(until);
                let Some((diagnosis, seen)) = diagnose(&state, now) else {
                    if now + 700_000 < until {
                        now = until - 700_000;
                    }
                    continue;
                };
                prop_assert!(!seen.is_empty());
                let (next, effects) = step(state, Event::Diagnosed { diagnosis, seen }, now);
                prop_assert_eq!(lines(&effects), 1, "the doctor's word is told at once");
                state = next;
                told += 1;
            }
            prop_assert!(told <= 2, "{} diagnoses of one silence", told);

            let (next, effects) = step(state, event.clone(), now);
            prop_assert!(lines(&effects) <= 3, "{:?} told {:?}", event, effects);
            state = next;
            let history = &state.boot;
            prop_assert!(history.files.len() <= BootHistory::MOST_FILES);
            prop_assert!(history.told.len() <= Diagnosis::ALL.len());
            if let Some(attempt) = &history.trying {
                prop_assert!(attempt.since <= attempt.heard && attempt.heard <= now);
                prop_assert!(attempt.stage < Stage::Scripted || !attempt.is_lost());
            }
            for class in FirmwareClass::ALL {
                prop_assert!(history.choose(boot_files.of(class)).is_some());
            }
            // A repeated packet is one line, whatever it was.
            let (_, effects) = step(state.clone(), event.clone(), now);
            prop_assert!(lines(&effects) <= 2, "repeated {:?} told {:?}", event, effects);
            let kept: MachineState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            prop_assert_eq!(&kept, &state);
        }
    }

    /// Only a file that arrived whole can fail, and never more often than it arrived.
    #[test]
    fn a_file_fails_at_most_as_often_as_it_arrived(story in any_story()) {
        let mut state = MachineState::default();
        let mut now = 0_u64;
        let mut arrived = std::collections::BTreeMap::<String, u32>::new();
        for (event, pause) in story {
            now += pause;
            if let Event::Transfer(transfer) = &event && transfer.is_whole() {
                *arrived.entry(transfer.file.clone()).or_default() += 1;
            }
            state = step(state, event, now).0;
            for (file, record) in &state.boot.files {
                prop_assert!(record.failed <= arrived.get(file).copied().unwrap_or(0), "{}", file);
            }
        }
    }
}
