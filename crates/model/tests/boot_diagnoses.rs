//! What is told of boots that go wrong.

mod booting;
mod fixture;

use std::fmt::Write;

use booting::{Boot, findings};
use hardway_model::boot::{Asker, Diagnosis, FirmwareClass, SHIM, TransferEnd};
use hardway_model::doctor::{duplicate_uuids, silent_system};
use hardway_model::inventory::Content;
use hardway_model::lifecycle::{Effect, Event, Figures, MachineState, Phase, step};

use FirmwareClass::{Bios, UefiX64, UefiX64Http};

/// What the doctor says of a boot that stops at each stage.
#[test]
fn silences() {
    let mut all = String::new();
    let mut record = |what: &str, story: &dyn Fn(&mut Boot)| {
        let mut boot = Boot::new();
        story(&mut boot);
        boot.passes(1200);
        let _ = writeln!(all, "{what}\n    {}", findings(&boot).join("\n    "));
    };
    record("it asks again and again", &|boot| {
        for pause in [4, 8, 16, 32] {
            boot.discovers(UefiX64).passes(pause);
        }
    });
    record("it asked once and was switched off", &|boot| {
        boot.discovers(UefiX64);
    });
    record("it never asks for its file", &|boot| {
        boot.firmware(UefiX64);
    });
    record("it never asks for its file by HTTP", &|boot| {
        boot.firmware(UefiX64Http);
    });
    record("a file that takes its time", &|boot| {
        boot.firmware(UefiX64);
        boot.happens(Event::TransferBegan {
            file: "snponly.efi".into(),
        });
    });
    record("nothing of the file arrives", &|boot| {
        boot.firmware(Bios)
            .transfer("undionly.kpxe", 0, 71_680, TransferEnd::Silence);
    });
    record("a part of the file arrives", &|boot| {
        boot.firmware(UefiX64)
            .transfer("snponly.efi", 214_000, 260_000, TransferEnd::Silence);
    });
    record("it wants the size alone", &|boot| {
        let message = "no room for the file".to_owned();
        let end = TransferEnd::Aborted {
            code: Some(3),
            message,
        };
        boot.firmware(Bios)
            .transfer("undionly.kpxe", 0, 71_680, end);
    });
    record("the file does not run on BIOS", &|boot| {
        boot.firmware(Bios).fetches_its_file();
    });
    record("the file does not run on UEFI", &|boot| {
        boot.firmware(UefiX64).fetches_its_file();
    });
    record("the file does not run on UEFI, and did before", &|boot| {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .passes(2)
            .ipxe()
            .script(None);
        boot.passes(60).firmware(UefiX64).fetches_its_file();
    });
    record("the shim does not run", &|boot| {
        boot.secure_boot = true;
        boot.firmware(UefiX64).fetches(SHIM);
    });
    record("iPXE has no script", &|boot| {
        boot.ipxe();
    });
    record("the kernel is not fetched", &|boot| {
        boot.ipxe().script(Some("a"));
    });
    record("the initramfs is not fetched", &|boot| {
        boot.ipxe().script(Some("a")).fetches("vmlinuz");
    });
    record("the initramfs stops in the middle", &|boot| {
        boot.ipxe().script(Some("a")).fetches("vmlinuz");
        boot.transfer(
            "agent.initramfs",
            3_400_000,
            9_000_000,
            TransferEnd::Silence,
        );
    });
    record("the agent never speaks", &|boot| {
        boot.ipxe()
            .script(Some("a"))
            .fetches("vmlinuz")
            .fetches("agent.initramfs");
    });
    record("the agent has an address and never speaks", &|boot| {
        boot.ipxe().script(Some("a")).fetches("vmlinuz");
        boot.happens(Event::TransferBegan {
            file: "agent.initramfs".into(),
        });
        boot.passes(20).dhcp(Asker::System, None, true);
    });
    record("its firmware is of no known kind", &|boot| {
        for _ in 0..4 {
            boot.dhcp(Asker::Firmware { class: None }, None, true)
                .passes(20);
        }
    });
    record("all is well", &|boot| {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .passes(2)
            .ipxe()
            .script(None);
    });
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_wrong_with_the_network_is_repeated_hourly() {
    let mut boot = Boot::new();
    for _ in 0..180 {
        boot.happens(Event::Diagnosed {
            diagnosis: Diagnosis::PoolExhausted,
            seen: "the pool 10.77.0.100-10.77.0.199 has no free address".into(),
        });
        boot.now += 60 * 1000;
    }
    assert_eq!(boot.text.lines().count(), 3, "{}", boot.text);
}

/// Told once an installation, twenty minutes after its disk was complete.
#[test]
fn an_installed_system_that_says_nothing_is_named_once() {
    const MINUTE: u64 = 60_000;
    let installed = |phase, at| MachineState {
        phase,
        figures: Figures {
            installed: Some(at),
            ..Figures::default()
        },
        ..MachineState::default()
    };
    let mut state = installed(Phase::Installed, MINUTE);
    assert_eq!(silent_system(&state, 20 * MINUTE), None, "it has time");
    let (diagnosis, seen) = silent_system(&state, 21 * MINUTE).unwrap();
    assert_eq!(diagnosis, Diagnosis::SystemSilent);
    assert!(
        seen.starts_with("its disk has been complete for 20 min"),
        "{seen}"
    );
    state.boot.told.insert(diagnosis, 21 * MINUTE);
    assert_eq!(silent_system(&state, 90 * MINUTE), None, "it was told");
    // The timeline has it once, however often it is found.
    let event = Event::Diagnosed { diagnosis, seen };
    let (told, effects) = step(
        installed(Phase::Installed, 30 * MINUTE),
        event.clone(),
        51 * MINUTE,
    );
    let lines = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Timeline(_)));
    assert_eq!(lines.count(), 1, "{effects:?}");
    let (_, effects) = step(told, event, 52 * MINUTE);
    assert!(effects.is_empty(), "{effects:?}");
    state.figures.installed = Some(100 * MINUTE);
    assert!(
        silent_system(&state, 121 * MINUTE).is_some(),
        "installed again"
    );
    for phase in [Phase::Running, Phase::Booting, Phase::Agent] {
        let state = installed(phase, MINUTE);
        assert_eq!(
            silent_system(&state, 90 * MINUTE),
            None,
            "{:?}",
            state.phase
        );
    }
}

#[test]
fn a_shared_uuid_is_told_of_both() {
    let machine = |uuid: &str, macs: &[&str]| {
        let mut state = MachineState::default();
        state.identity.uuid = Some(uuid.to_owned());
        state.identity.macs = macs.iter().map(|mac| mac.parse().unwrap()).collect();
        state
    };
    const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4a4231";
    let states = [
        (
            "node1",
            machine(UUID, &["52:54:00:00:00:01", "52:54:00:00:01:01"]),
        ),
        (
            "node2",
            machine(&UUID.to_uppercase(), &["52:54:00:00:00:02"]),
        ),
        // The same machine, which was not declared before.
        ("52-54-00-00-01-01", machine(UUID, &["52:54:00:00:01:01"])),
        (
            "zeros",
            machine(
                "00000000-0000-0000-0000-000000000000",
                &["52:54:00:00:00:03"],
            ),
        ),
        (
            "zeros too",
            machine(
                "00000000-0000-0000-0000-000000000000",
                &["52:54:00:00:00:04"],
            ),
        ),
    ];
    let machines = states.iter().map(|(name, state)| (*name, state));
    let told: Vec<(String, String)> = duplicate_uuids(machines)
        .into_iter()
        .map(|(name, seen)| (name, seen.split(':').next().unwrap().to_owned()))
        .collect();
    let words = |names: &str| format!("its SMBIOS UUID {UUID} is also that of {names}");
    let expected = [
        ("node1", words("node2")),
        ("node2", words("node1 and 1 more")),
        ("52-54-00-00-01-01", words("node2")),
    ];
    assert_eq!(told, expected.map(|(name, words)| (name.to_owned(), words)));
}

#[test]
fn two_machines_under_one_name_are_noticed() {
    let mut boot = Boot::new();
    let hello = |boot: &mut Boot, mac: &str, disk: char| {
        let mut inventory = fixture::inventory(vec![fixture::disk(disk, 8, Content::Blank)]);
        inventory.nics[0].mac = mac.parse().unwrap();
        inventory.system.uuid = Some("4c4c4544-0042-3510-8052-b4c04f4a4231".to_owned());
        boot.happens(Event::Dhcp {
            mac: mac.parse().unwrap(),
            summary: String::new(),
            address: None,
            asker: Asker::Ipxe,
            boot_file: None,
        });
        boot.says_hello(inventory);
        boot.now += 1000;
        findings(boot)
            .iter()
            .filter(|line| line.contains("duplicate-uuid"))
            .count()
    };
    assert_eq!(hello(&mut boot, "52:54:00:00:00:01", 'a'), 0);
    assert_eq!(hello(&mut boot, "52:54:00:00:00:02", 'a'), 0, "another NIC");
    assert_eq!(
        hello(&mut boot, "52:54:00:00:00:02", 'b'),
        0,
        "another disk"
    );
    assert_eq!(
        hello(&mut boot, "52:54:00:00:00:01", 'a'),
        1,
        "another machine"
    );
    assert_eq!(hello(&mut boot, "52:54:00:00:00:02", 'b'), 1, "once a day");
}

#[test]
fn every_diagnosis_is_documented() {
    let text = include_str!("../../../docs/troubleshooting.md");
    for diagnosis in Diagnosis::ALL {
        let heading = format!("\n### `{}`\n", diagnosis.name());
        assert_eq!(text.matches(&heading).count(), 1, "{heading}");
        let name = serde_json::to_string(&diagnosis).unwrap();
        assert_eq!(name, format!("\"{}\"", diagnosis.name()));
    }
    assert_eq!(text.matches("\n### `").count(), Diagnosis::ALL.len());
}
