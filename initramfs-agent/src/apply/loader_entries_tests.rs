//! Filesystems with loaders and entries, and what would be started of them.

use super::*;
use crate::apply::root::tests::own;
use crate::apply::unified_kernel::tests::program;

/// The unsigned loader as systemd builds it.
const LOADER_PROGRAM: &[(&str, &str)] = &[(".sdmagic", "#### LoaderInfo: systemd-boot 257 ####")];
/// No loader that is known.
const SHIM: &[(&str, &str)] = &[(".sbat", "shim,4")];

/// A file of a filesystem: text, or an EFI program's sections.
enum Is<'a> {
    Text(&'a str),
    Program(&'a [(&'a str, &'a str)]),
}
use Is::{Program as Efi, Text};

/// What is started of these filesystems: `INDEX KERNEL ARGUMENTS`.
fn started(filesystems: &[&[(&str, Is<'_>)]]) -> Result<String, String> {
    let found = filesystems.iter().map(|files| {
        let folder = tempfile::tempdir().unwrap();
        let root = TargetRoot::open(folder.path()).unwrap();
        for (path, content) in *files {
            let bytes = match content {
                Text(text) => text.as_bytes().to_vec(),
                Efi(sections) => program(sections),
            };
            root.replace(path, &bytes, &own(0o644)).unwrap();
        }
        look(&root).unwrap()
    });
    match choose(found.collect(), None) {
        Ok(Some((at, entry))) => Ok(format!("{at} {} {}", entry.kernel, entry.arguments)),
        Ok(None) => Ok("not ours to say".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// Entries of type 1 under systemd-boot: file names with further lines. Each starts a kernel that is
/// called like its file.
fn check(loader: &str, entries: &[(&str, &str)], expected: &str) {
    let texts: Vec<(String, String)> = entries
        .iter()
        .map(|(name, more)| {
            let path = format!("/loader/entries/{name}");
            (path, format!("title X\nlinux /{name}\n{more}"))
        })
        .collect();
    let mut files = vec![("/EFI/BOOT/BOOTX64.EFI", Efi(LOADER_PROGRAM))];
    files.push(("/loader/loader.conf", Text(loader)));
    files.extend(texts.iter().map(|(path, text)| (path.as_str(), Text(text))));
    let started = started(&[&files]);
    let started = started.map(|text| text.trim().trim_start_matches("0 /").to_owned());
    assert_eq!(started.unwrap_or_else(|error| error), expected, "{loader}");
}

#[test]
fn the_newest_entry_is_the_default() {
    check("", &[], "systemd-boot has no entries");
    check(
        "timeout 3",
        &[("d-6.12.9.conf", ""), ("d-6.12.10.conf", "")],
        "d-6.12.10.conf",
    );
    // By `version` under one sort key, whatever the files are called.
    check(
        "",
        &[
            ("z.conf", "sort-key d\nversion 6.2"),
            ("a.conf", "sort-key d\nversion 6.12"),
        ],
        "a.conf",
    );
    check(
        "",
        &[("z.conf", "sort-key fedora"), ("a.conf", "sort-key debian")],
        "a.conf",
    );
    check(
        "",
        &[
            ("z.conf", "sort-key d\nmachine-id 2"),
            ("a.conf", "sort-key d\nmachine-id 1"),
        ],
        "a.conf",
    );
    // Those with a sort key come before those without.
    check(
        "",
        &[("z-9.conf", ""), ("a-1.conf", "sort-key x")],
        "a-1.conf",
    );
    check(
        "",
        &[
            ("z.conf", "architecture aa64"),
            ("a.conf", "architecture X64"),
        ],
        "a.conf",
    );
}

#[test]
fn counters_of_tries() {
    let two = [("d-2+0-3.conf", ""), ("d-1.conf", "")];
    check("", &two, "d-1.conf");
    check(
        "",
        &[("d-2+1-2.conf", ""), ("d-1.conf", "")],
        "d-2+1-2.conf",
    );
    check("", &[("d+1.conf", ""), ("d+2-1.conf", "")], "d+2-1.conf");
    check("", &[("d+2-1.conf", ""), ("d+2.conf", "")], "d+2.conf");
    check("default d-2.conf", &two, "d-2+0-3.conf");
    assert_eq!(without_tries("A+b.conf"), ("a+b.conf".to_owned(), None));
    assert_eq!(
        without_tries("A+12-1.efi"),
        ("a.efi".to_owned(), Some((12, 1)))
    );
}

#[test]
fn defaults_are_patterns() {
    let entries = [
        ("arch-1.conf", ""),
        ("debian-1.conf", ""),
        ("debian-2.conf", ""),
    ];
    check("default arch-*", &entries, "arch-1.conf");
    check(
        "# default arch-*\ndefault\tDebian-?.conf",
        &entries,
        "debian-2.conf",
    );
    check("default *-1.conf", &entries, "debian-1.conf");
    check("default gone.conf", &entries, "debian-2.conf");
    for (line, shown) in [
        ("default @saved", "default @saved"),
        ("default arch-[12].conf", "default arch-[12].conf"),
        ("timeout menu-force", "timeout menu-force"),
        ("preferred arch-*", "preferred arch-*"),
    ] {
        check(
            line,
            &entries,
            &format!("/loader/loader.conf says `{shown}`"),
        );
    }
}

#[test]
fn what_firmware_was_told_is_left_to_firmware() {
    let found = |kind| Found {
        program: Some(kind),
        ..Found::default()
    };
    let told = Some("LoaderEntryOneShot");
    assert_eq!(
        choose(vec![found(Kind::SystemdBoot)], told)
            .unwrap_err()
            .to_string(),
        "the firmware's variable LoaderEntryOneShot tells systemd-boot what to start"
    );
    assert_eq!(choose(vec![found(Kind::Other)], told).unwrap(), None);
}

#[test]
fn an_entry_that_is_more_than_a_kernel_is_unclear() {
    for line in ["efi /EFI/Linux/a.efi", "devicetree /x.dtb", "uki /a.efi"] {
        check("", &[("a.conf", line)], &format!("a.conf says `{line}`"));
    }
    // Only if it is the one.
    check(
        "",
        &[("a-1.conf", "efi /x.efi"), ("a-2.conf", "")],
        "a-2.conf",
    );
    check(
        "",
        &[("a.conf", "options $x")],
        "the boot entry depends on a boot loader's variable: $x",
    );
}

#[test]
fn entries_of_both_partitions_and_of_both_types() {
    let esp: &[(&str, Is<'_>)] = &[
        ("/EFI/BOOT/BOOTX64.EFI", Efi(SHIM)),
        ("/EFI/BOOT/grubx64.efi", Efi(LOADER_PROGRAM)),
        (
            "/loader/entries/debian-1.conf",
            Text("linux /k\nsort-key debian\nversion 1"),
        ),
    ];
    let newer: &[(&str, &str)] = &[
        (".osrel", "ID=debian\nVERSION_ID=\"2\"\n"),
        (".cmdline", "root=x quiet\n"),
        (".linux", "K"),
    ];
    let boot: &[(&str, Is<'_>)] = &[("/EFI/Linux/d.efi", Efi(newer))];
    assert_eq!(
        started(&[esp, boot]).unwrap(),
        "1 /EFI/Linux/d.efi root=x quiet"
    );
    let older: &[(&str, &str)] = &[(".osrel", "ID=debian\nBUILD_ID=0"), (".linux", "K")];
    let boot: &[(&str, Is<'_>)] = &[("/EFI/Linux/d.efi", Efi(older))];
    assert_eq!(started(&[boot, esp]).unwrap(), "1 /k ");
    assert_eq!(
        started(&[esp, esp]).unwrap_err(),
        "two partitions have /EFI/BOOT/BOOTX64.EFI"
    );
}

#[test]
fn firmware_starts_a_unified_kernel_image_by_itself() {
    let with = |more: &[(&str, &str)], beside: &[(&str, Is<'_>)]| {
        let sections = [&[(".cmdline", "a b"), (".linux", "K")], more].concat();
        let mut files = vec![("/EFI/BOOT/BOOTX64.EFI", Efi(&sections))];
        files.extend(beside.iter().map(|(path, content)| {
            let Text(text) = content else { unreachable!() };
            (*path, Text(text))
        }));
        started(&[&files])
    };
    let path = "/EFI/BOOT/BOOTX64.EFI";
    assert_eq!(
        with(&[(".initrd", "I")], &[]).unwrap(),
        format!("0 {path} a b")
    );
    for (section, what) in [
        (".profile", "has several profiles"),
        (".pcrsig", "is measured into the TPM"),
        (".dtb", "brings a device tree"),
    ] {
        assert_eq!(
            with(&[(section, "x")], &[]).unwrap_err(),
            format!("{path} {what}")
        );
    }
    for added in [
        "/loader/addons/a.efi",
        "/EFI/BOOT/BOOTX64.EFI.extra.d/a.cred",
    ] {
        let folder = added.rsplit_once('/').unwrap().0;
        assert_eq!(
            with(&[], &[(added, Text(""))]).unwrap_err(),
            format!("{folder} adds to {path}")
        );
    }
}

#[test]
fn another_loader_has_its_own_configuration() {
    for files in [
        &[
            ("/EFI/BOOT/BOOTX64.EFI", Efi(SHIM)),
            ("/loader/entries/a.conf", Text("linux /k")),
        ][..],
        &[("/loader/entries/a.conf", Text("linux /k"))],
    ] {
        assert_eq!(started(&[files]).unwrap(), "not ours to say");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = TargetRoot::open(folder.path()).unwrap();
    root.replace(PROGRAMS[0], b"MZ", &own(0o644)).unwrap();
    assert!(look(&root).is_err());
}
