//! What each program on each machine is answered.

use super::*;
use crate::fixture::{blank, cluster, installed, mac};

fn check(program: Program, number: u8, state: &MachineState, policy: UnknownPolicy) -> Answer {
    let mut cluster = cluster();
    cluster.unknown = policy;
    let identity = Identity {
        macs: vec![mac(number)],
        ..Identity::default()
    };
    let machine = cluster.identify(&identity).map(|machine| (machine, state));
    answer(&Client { identity, program }, &cluster, machine)
}

const PROGRAMS: [Program; 6] = [
    Program::Pxe(Architecture::BIOS),
    Program::Pxe(Architecture::UEFI_X64),
    Program::HttpBoot(Architecture::UEFI_X64_HTTP),
    Program::Ipxe(Architecture::BIOS),
    Program::IpxeScript {
        firmware: Firmware::Bios,
        choice: None,
    },
    Program::IpxeScript {
        firmware: Firmware::Uefi,
        choice: None,
    },
];

#[test]
fn a_declared_machine_is_installed_and_then_sent_to_its_disk() {
    let answers = |state: &MachineState| {
        PROGRAMS.map(|program| check(program, 1, state, UnknownPolicy::Ignore))
    };
    assert_eq!(
        answers(&blank()),
        [
            Answer::BootFile("undionly.kpxe".into()),
            Answer::BootFile("snponly.efi".into()),
            Answer::HttpBootFile("agent.efi".into()),
            Answer::ScriptUrl,
            Answer::Script(Script::Agent),
            Answer::Script(Script::Agent),
        ]
    );
    assert_eq!(
        answers(&installed()),
        [
            Answer::BootFile("undionly.kpxe".into()),
            Answer::BootFile("local-disk.efi".into()),
            Answer::HttpBootFile("local-disk.efi".into()),
            Answer::ScriptUrl,
            Answer::Script(Script::LocalDisk(Firmware::Bios)),
            Answer::Script(Script::LocalDisk(Firmware::Uefi)),
        ]
    );
    let reinstalled = MachineState {
        generation: 2,
        ..installed()
    };
    assert_eq!(answers(&reinstalled), answers(&blank()));
}

#[test]
fn an_undeclared_machine_follows_the_policy() {
    let script = |policy, choice| {
        let program = Program::IpxeScript {
            firmware: Firmware::Bios,
            choice,
        };
        check(program, 9, &blank(), policy)
    };
    let disk = Answer::Script(Script::LocalDisk(Firmware::Bios));
    assert_eq!(
        script(UnknownPolicy::Discover, None),
        Answer::Script(Script::Agent)
    );
    assert_eq!(script(UnknownPolicy::LocalDisk, None), disk);
    assert_eq!(
        script(UnknownPolicy::Menu, None),
        Answer::Script(Script::Menu)
    );
    assert_eq!(
        script(UnknownPolicy::Menu, Some(Choice::Discover)),
        Answer::Script(Script::Agent)
    );
    assert_eq!(script(UnknownPolicy::Menu, Some(Choice::LocalDisk)), disk);
    assert_eq!(
        script(UnknownPolicy::Ignore, None),
        Answer::Silence(Reason::UnknownIgnored)
    );
    // What was picked in a menu says nothing where there is no menu.
    assert_eq!(
        script(UnknownPolicy::LocalDisk, Some(Choice::Discover)),
        disk
    );
}

#[test]
fn firmware_without_a_boot_file_is_told_why() {
    for number in [6, 10, 15, 25] {
        let architecture = Architecture(number);
        assert_eq!(
            check(
                Program::Pxe(architecture),
                1,
                &blank(),
                UnknownPolicy::Discover
            ),
            Answer::AddressOnly(Reason::NoBootFile(architecture))
        );
    }
}

#[test]
fn secure_boot_begins_with_the_signed_shim_whatever_the_course() {
    let mut cluster = cluster();
    cluster.profiles[0].secure_boot = true;
    let identity = Identity {
        macs: vec![mac(1)],
        ..Identity::default()
    };
    let check = |program, state: &MachineState| {
        let identity = identity.clone();
        let machine = cluster.identify(&identity).map(|machine| (machine, state));
        answer(&Client { identity, program }, &cluster, machine)
    };
    for state in [blank(), installed()] {
        assert_eq!(
            check(Program::Pxe(Architecture::UEFI_X64), &state),
            Answer::BootFile("shimx64.efi".into())
        );
        assert_eq!(
            check(Program::HttpBoot(Architecture::UEFI_X64_HTTP), &state),
            Answer::AddressOnly(Reason::SecureBootNeedsPxe)
        );
        assert_eq!(
            check(Program::Pxe(Architecture::BIOS), &state),
            Answer::BootFile("undionly.kpxe".into())
        );
    }
}

#[test]
fn the_file_that_failed_least_often_is_offered() {
    let failed = |files: &[(&str, u32)]| {
        let mut state = blank();
        for (file, failed) in files {
            let record = hardway_model::boot::BootFileRecord {
                failed: *failed,
                worked: None,
            };
            state.boot.files.insert((*file).to_owned(), record);
        }
        check(
            Program::Pxe(Architecture::UEFI_X64),
            1,
            &state,
            UnknownPolicy::Ignore,
        )
    };
    assert_eq!(failed(&[]), Answer::BootFile("snponly.efi".into()));
    assert_eq!(
        failed(&[("snponly.efi", 1)]),
        Answer::BootFile("ipxe.efi".into())
    );
    assert_eq!(
        failed(&[("snponly.efi", 1), ("ipxe.efi", 1)]),
        Answer::BootFile("snponly.efi".into())
    );
}

#[test]
fn an_operating_system_gets_an_address_whatever_the_policy() {
    for number in [1, 9] {
        assert_eq!(
            check(
                Program::OperatingSystem,
                number,
                &blank(),
                UnknownPolicy::Ignore
            ),
            Answer::AddressOnly(Reason::NotBooting)
        );
    }
}

#[test]
fn an_undeclared_machine_is_offered_the_next_file_too() {
    use hardway_model::boot::{BootFileRecord, BootHistory};
    let mut history = BootHistory::default();
    let failed = BootFileRecord {
        failed: 1,
        worked: None,
    };
    history.files.insert("snponly.efi".to_owned(), failed);
    let identity = Identity {
        macs: vec![mac(9)],
        ..Identity::default()
    };
    let client = Client {
        identity,
        program: Program::Pxe(Architecture::UEFI_X64),
    };
    let offered = |history| answer_with(&client, &cluster(), None, history);
    assert_eq!(offered(None), Answer::BootFile("snponly.efi".into()));
    assert_eq!(offered(Some(&history)), Answer::BootFile("ipxe.efi".into()));
}
