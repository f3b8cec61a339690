//! From firmware to the agent: which file is offered, and what is remembered of it.

mod booting;
mod fixture;

use booting::{Boot, findings};
use hardway_model::boot::{
    AGENT_IMAGE, Asker, BootHistory, FirmwareClass, LOCAL_DISK, SHIM, TransferEnd,
};
use hardway_model::lifecycle::{Effect, Event, step};

use FirmwareClass::{Bios, UefiX64, UefiX64Http};

#[track_caller]
fn check(boot: &Boot, expected: &str) {
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let told: Vec<&str> = boot.text.lines().map(str::trim).collect();
    assert_eq!(told, expected, "\n{}", boot.text);
}

#[test]
fn the_way_that_works_is_told_once() {
    let mut boot = Boot::new();
    for _ in 0..3 {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .passes(3)
            .ipxe()
            .script(Some("a"));
        boot.fetches("vmlinuz")
            .fetches("agent.initramfs")
            .passes(5)
            .hello();
        boot.passes(300);
    }
    assert_eq!(
        findings(&boot),
        [
            "3 s  snponly.efi works on this machine",
            "8 s  ! held: it is not declared. Declare it.",
            "316 s  ! held: it is not declared. Declare it.",
            "624 s  ! held: it is not declared. Declare it.",
        ]
    );
    assert_eq!(boot.state.boot.working(), Some("snponly.efi"));
    assert_eq!(boot.state.boot.trying, None);
}

#[test]
fn a_file_that_does_not_run_makes_way_for_the_next() {
    let mut boot = Boot::new();
    boot.firmware(Bios).fetches_its_file().passes(20);
    boot.firmware(Bios).fetches_its_file().passes(3).ipxe();
    check(
        &boot,
        "0 s  offered undionly.kpxe
         0 s  took undionly.kpxe
         0 s  broke off undionly.kpxe after 0 of 260000 bytes by TFTP: User aborted the transfer
         0 s  fetched undionly.kpxe, 260000 bytes by TFTP
         20 s  offered ipxe.pxe
         20 s  ! boot-file-did-not-run: undionly.kpxe was fetched whole and did not run; offering ipxe.pxe next
         20 s  took ipxe.pxe
         20 s  broke off ipxe.pxe after 0 of 260000 bytes by TFTP: User aborted the transfer
         20 s  fetched ipxe.pxe, 260000 bytes by TFTP
         23 s  offered an address
         23 s  ipxe.pxe works on this machine
         23 s  took an address",
    );
    assert_eq!(
        (boot.failed("undionly.kpxe"), boot.failed("ipxe.pxe")),
        (1, 0)
    );
    assert_eq!(boot.choice(Bios), "ipxe.pxe");
    // The journal keeps it.
    let kept = serde_json::to_string(&boot.state).unwrap();
    boot.state = serde_json::from_str(&kept).unwrap();
    assert_eq!(boot.choice(Bios), "ipxe.pxe");
}

#[test]
fn what_was_learned_is_durable() {
    let mut boot = Boot::new();
    boot.firmware(Bios).fetches_its_file().passes(20);
    let again = Event::Dhcp {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        summary: String::new(),
        address: None,
        asker: Asker::Firmware { class: Some(Bios) },
        boot_file: Some("ipxe.pxe".into()),
    };
    let (state, effects) = step(boot.state.clone(), again.clone(), boot.now);
    assert!(effects.contains(&Effect::Persist));
    let (_, effects) = step(state, again, boot.now + 4000);
    assert!(
        !effects.contains(&Effect::Persist),
        "a repeated packet costs no write"
    );
}

#[test]
fn when_all_files_failed_each_has_its_turn() {
    let mut boot = Boot::new();
    let mut offered = Vec::new();
    for _ in 0..6 {
        offered.push(boot.choice(UefiX64Http));
        boot.firmware(UefiX64Http).fetches_its_file().passes(20);
    }
    let turn = [AGENT_IMAGE, "snponly.efi", "ipxe.efi"].map(str::to_owned);
    assert_eq!(offered, [turn.clone(), turn].concat());
}

#[test]
fn a_forced_file_stays() {
    let mut boot = Boot::new();
    boot.boot_files.0.insert(UefiX64, vec!["ipxe.efi".into()]);
    for _ in 0..2 {
        boot.firmware(UefiX64).fetches_its_file().passes(20);
    }
    assert_eq!(boot.choice(UefiX64), "ipxe.efi");
    assert_eq!(
        findings(&boot),
        [
            "20 s  ! unsigned-under-secure-boot: ipxe.efi was fetched whole and did not run; ipxe.efi is offered again"
        ]
    );
}

#[test]
fn what_is_no_evidence_fails_no_file() {
    let check = |what: &str, story: &dyn Fn(&mut Boot)| {
        let mut boot = Boot::new();
        story(&mut boot);
        boot.firmware(UefiX64);
        assert_eq!(boot.failed("snponly.efi"), 0, "{what}:\n{}", boot.text);
        assert_eq!(boot.choice(UefiX64), "snponly.efi", "{what}");
    };
    check("switched off before it fetched", &|boot| {
        boot.firmware(UefiX64).passes(5);
    });
    check("switched off in the middle of the file", &|boot| {
        boot.firmware(UefiX64)
            .transfer("snponly.efi", 9_000, 260_000, TransferEnd::Silence)
            .passes(5);
    });
    check("switched off once iPXE ran", &|boot| {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .passes(3)
            .ipxe()
            .passes(5);
    });
    check("switched off while it fetched the kernel", &|boot| {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .passes(3)
            .ipxe()
            .script(Some("a"));
        boot.transfer("vmlinuz", 9_000, 260_000, TransferEnd::Silence)
            .passes(20);
    });
    check("iPXE was heard of by its script alone", &|boot| {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .passes(3)
            .script(None)
            .passes(20);
    });
    check("a loader of another kind, which fetches more", &|boot| {
        boot.firmware(UefiX64)
            .fetches_its_file()
            .fetches("loader.cfg")
            .passes(20);
    });
    check("only its size was asked for", &|boot| {
        let enough = TransferEnd::Aborted {
            code: Some(0),
            message: String::new(),
        };
        boot.firmware(UefiX64)
            .transfer("snponly.efi", 0, 260_000, enough)
            .passes(20);
    });
}

#[test]
fn a_packet_that_was_overtaken_is_no_new_boot() {
    let mut boot = Boot::new();
    boot.firmware(UefiX64).fetches_its_file();
    boot.dhcp(
        Asker::Firmware {
            class: Some(UefiX64),
        },
        Some("snponly.efi"),
        true,
    );
    boot.passes(3).ipxe();
    assert_eq!(findings(&boot), ["3 s  snponly.efi works on this machine"]);
}

#[test]
fn an_appliance_that_was_away_blames_nobody() {
    let mut boot = Boot::new();
    boot.firmware(UefiX64).fetches_its_file();
    boot.now += 3600 * 1000;
    boot.passes(5).firmware(UefiX64);
    assert_eq!(boot.failed("snponly.efi"), 0);
    assert_eq!(boot.choice(UefiX64), "snponly.efi");
}

#[test]
fn the_unified_image_works_when_the_agent_speaks() {
    let mut boot = Boot::new();
    boot.firmware(UefiX64Http)
        .script(Some("a"))
        .fetches(AGENT_IMAGE)
        .passes(30);
    boot.dhcp(Asker::System, None, true).passes(5);
    assert_eq!(boot.state.boot.working(), None);
    boot.hello();
    assert_eq!(boot.state.boot.working(), Some(AGENT_IMAGE));

    // It never came to its agent: iPXE is tried.
    let mut boot = Boot::new();
    boot.firmware(UefiX64Http)
        .script(Some("a"))
        .fetches(AGENT_IMAGE)
        .passes(30);
    assert_eq!(boot.choice(UefiX64Http), "snponly.efi");

    // Its kernel ran, and so its file did.
    let mut boot = Boot::new();
    boot.firmware(UefiX64Http)
        .script(Some("a"))
        .fetches(AGENT_IMAGE)
        .passes(30);
    boot.dhcp(Asker::System, None, true).passes(300);
    assert_eq!(boot.choice(UefiX64Http), AGENT_IMAGE);
    assert!(
        findings(&boot)[0].starts_with("150 s  ! agent-silent: "),
        "{}",
        boot.text
    );
}

#[test]
fn the_signed_way_works_when_grub_asks() {
    let mut boot = Boot::new();
    boot.secure_boot = true;
    boot.firmware(UefiX64)
        .fetches(SHIM)
        .passes(1)
        .fetches("grubx64.efi")
        .script(Some("a"));
    boot.fetches("vmlinuz")
        .fetches("agent.initramfs")
        .passes(10)
        .hello();
    assert_eq!(findings(&boot)[0], "1 s  shimx64.efi works on this machine");
}

#[test]
fn the_disk_is_no_boot_file_to_be_judged() {
    let mut boot = Boot::new();
    for _ in 0..3 {
        boot.dhcp(
            Asker::Firmware {
                class: Some(UefiX64),
            },
            Some(LOCAL_DISK),
            true,
        );
        boot.fetches(LOCAL_DISK).passes(60);
    }
    assert_eq!(findings(&boot), Vec::<&str>::new());
    assert_eq!(boot.state.boot, BootHistory::default());
}
