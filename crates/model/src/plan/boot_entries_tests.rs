//! Firmware as plain variables, and what is written to it.

use proptest::prelude::*;

use super::*;

const NODE: &str = "node1";

fn partition() -> HardDrive {
    HardDrive {
        number: 2,
        start: 2048,
        sectors: 131_072,
        guid: [7; 16],
    }
}

fn variable(name: &str, value: Vec<u8>) -> Variable {
    Variable {
        name: name.to_owned(),
        value,
    }
}

fn order(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// An active entry whose device path has one node and its end.
fn entry(description: &str, (kind, subtype): (u8, u8)) -> Vec<u8> {
    let units = description.encode_utf16().chain([0]);
    let description: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let path = [kind, subtype, 4, 0, 0x7f, 0xff, 4, 0];
    [&[1, 0, 0, 0, 8, 0][..], &description, &path].concat()
}

fn network(description: &str) -> Vec<u8> {
    entry(description, (3, 11))
}

fn disk(description: &str) -> Vec<u8> {
    entry(description, (3, 18))
}

fn ours(description: &str, guid: u8) -> Vec<u8> {
    let partition = HardDrive {
        guid: [guid; 16],
        ..partition()
    };
    load_option::of_file(description, &partition, FILE)
}

/// A setup program that firmware lists among its entries, but never tries.
fn tool(description: &str) -> Vec<u8> {
    let mut bytes = entry(description, (4, 6));
    bytes[1] = 1;
    bytes
}

fn firmware(entries: &[(u16, Vec<u8>)], numbers: &[u16], current: u16) -> Vec<Variable> {
    let mut variables: Vec<Variable> = entries
        .iter()
        .map(|(number, bytes)| variable(&name(*number), bytes.clone()))
        .collect();
    variables.push(variable("BootOrder", order(numbers)));
    variables.push(variable("BootCurrent", order(&[current])));
    variables
}

fn write(variables: &mut Vec<Variable>, changes: &BootEntries) {
    for change in &changes.variables {
        variables.retain(|variable| variable.name != change.name);
        if !change.value.is_empty() {
            variables.push(change.clone());
        }
    }
}

/// What is written, as people see it; and that nothing is written after that.
fn check(mut variables: Vec<Variable>, policy: BootOrder, expected: &[&str]) {
    let changes = decide(&variables, &partition(), NODE, policy).unwrap_or_default();
    assert_eq!(changes.summary, expected);
    write(&mut variables, &changes);
    assert_eq!(decide(&variables, &partition(), NODE, policy), None);
}

const NETWORK: BootOrder = BootOrder::NetworkFirst;
const MADE: &str = "Boot0003 `Hardway: node1` starts \\EFI\\BOOT\\BOOTX64.EFI of partition 2";

fn fresh() -> Vec<(u16, Vec<u8>)> {
    vec![
        (0, tool("Setup")),
        (1, network("PXE 4")),
        (2, network("PXE 6")),
        (4, disk("Disk")),
    ]
}

#[test]
fn a_fresh_machine() {
    let order = [0, 4, 2, 1];
    check(
        firmware(&fresh(), &order, 1),
        NETWORK,
        &[
            MADE,
            "the boot order is 0001 PXE 4, 0003 Hardway: node1, 0000 Setup, 0004 Disk, 0002 PXE 6",
        ],
    );
    check(
        firmware(&fresh(), &order, 1),
        BootOrder::DiskFirst,
        &[
            MADE,
            "the boot order is 0003 Hardway: node1, 0000 Setup, 0004 Disk, 0002 PXE 6, 0001 PXE 4",
        ],
    );
    // Started by something else: the first entry of the network counts.
    check(
        firmware(&fresh(), &order, 4),
        NETWORK,
        &[
            MADE,
            "the boot order is 0002 PXE 6, 0003 Hardway: node1, 0000 Setup, 0004 Disk, 0001 PXE 4",
        ],
    );
}

#[test]
fn nothing_is_written_where_nothing_differs() {
    let entries = [fresh(), vec![(3, ours("Hardway: node1", 7))]].concat();
    // As written, and as firmware may sort it: all of the network card, then the disks.
    for order in [&[1, 3, 0, 4, 2][..], &[0, 2, 1, 3, 4]] {
        check(firmware(&entries, order, 1), NETWORK, &[]);
    }
    check(firmware(&entries, &[0, 3, 1], 1), BootOrder::DiskFirst, &[]);
}

#[test]
fn firmware_without_entries_of_the_network() {
    let entries = [(5, disk("Disk"))];
    check(
        firmware(&entries, &[5, 9], 5),
        NETWORK,
        &[
            "Boot0000 `Hardway: node1` starts \\EFI\\BOOT\\BOOTX64.EFI of partition 2",
            "the boot order is 0005 Disk, 0009, 0000 Hardway: node1",
        ],
    );
}

#[test]
fn firmware_that_reverts() {
    let right = ours("Hardway: node1", 7);
    let entries = [fresh(), vec![(3, right.clone())]].concat();
    let back =
        "the boot order is 0001 PXE 4, 0003 Hardway: node1, 0000 Setup, 0004 Disk, 0002 PXE 6";
    // Another disk ahead of the network, or of ours; ours left out; ours twice.
    for order in [&[0, 4, 1, 3, 2][..], &[0, 1, 4, 3, 2], &[0, 1, 4, 2]] {
        let found = firmware(&entries, order, 1);
        let changes = decide(&found, &partition(), NODE, NETWORK).unwrap();
        assert_eq!(changes.summary.len(), 1, "{order:?}");
        check(found, NETWORK, &[changes.summary[0].as_str()]);
    }
    check(firmware(&entries, &[0, 4, 1, 3, 2], 1), NETWORK, &[back]);
    check(
        firmware(&entries, &[1, 3, 3, 0], 1),
        NETWORK,
        &["the boot order is 0001 PXE 4, 0003 Hardway: node1, 0000 Setup"],
    );
    // Switched off, or turned into something else.
    let mut inactive = right.clone();
    inactive[0] = 0;
    let entries = [fresh(), vec![(3, inactive)]].concat();
    check(firmware(&entries, &[1, 3, 4], 1), NETWORK, &[MADE]);
    // Copied under another number.
    let entries = [fresh(), vec![(3, right.clone()), (6, right)]].concat();
    check(
        firmware(&entries, &[1, 6, 3, 4], 1),
        NETWORK,
        &[
            "the boot order is 0001 PXE 4, 0003 Hardway: node1, 0004 Disk",
            "Boot0006, an earlier entry of ours, is removed",
        ],
    );
}

#[test]
fn entries_of_earlier_installations_and_of_others() {
    // Another name and another partition: the same number, with what is right now.
    let entries = [
        fresh(),
        vec![(3, ours("Hardway: old", 9)), (7, ours("Hardway: node1", 8))],
    ];
    check(
        firmware(&entries.concat(), &[1, 7, 3], 1),
        NETWORK,
        &[
            MADE,
            "the boot order is 0001 PXE 4, 0003 Hardway: node1",
            "Boot0007, an earlier entry of ours, is removed",
        ],
    );
    // Made by the firmware for the same file: it serves, and is not touched.
    let entries = [fresh(), vec![(8, ours("UEFI OS", 7))]].concat();
    check(
        firmware(&entries, &[8, 1, 4], 1),
        NETWORK,
        &["the boot order is 0001 PXE 4, 0008 Hardway: node1, 0004 Disk"],
    );
    // For another partition: it is somebody else's.
    let entries = [fresh(), vec![(3, ours("UEFI OS", 8)), (5, vec![1, 2, 3])]].concat();
    check(
        firmware(&entries, &[1, 3, 5], 1),
        NETWORK,
        &[
            "Boot0006 `Hardway: node1` starts \\EFI\\BOOT\\BOOTX64.EFI of partition 2",
            "the boot order is 0001 PXE 4, 0006 Hardway: node1, 0003 UEFI OS, 0005",
        ],
    );
}

#[test]
fn the_only_system_partition() {
    const GUID: &str = "00112233-4455-6677-8899-AABBCCDDEEFF";
    let other = ("0FC63DAF-8483-4772-8E79-3D69D8477DE4", GUID, (3, 9, 9));
    let system = (SYSTEM_PARTITION, GUID, (2, 2048, 100));
    let found = only_system_partition([other, system].into_iter()).unwrap();
    assert_eq!((found.number, found.start, found.sectors), (2, 2048, 100));
    assert_eq!(found.guid[..6], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44]);
    assert_eq!(only_system_partition([system, system].into_iter()), None);
    assert_eq!(only_system_partition([other].into_iter()), None);
    let nameless = (SYSTEM_PARTITION, "0011", (2, 2048, 100));
    assert_eq!(only_system_partition([nameless].into_iter()), None);
}

/// Any kind of entry, ours among them.
fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(network("PXE")),
        Just(disk("Disk")),
        Just(tool("Setup")),
        (6u8..9).prop_map(|guid| ours("Hardway: node1", guid)),
        Just(ours("Hardway: old", 7)),
        Just(ours("UEFI OS", 7)),
        prop::collection::vec(any::<u8>(), 1..40),
    ]
}

fn any_firmware() -> impl Strategy<Value = Vec<Variable>> {
    let entries = prop::collection::btree_map(0u16..12, any_entry(), 0..8);
    let order = prop::collection::vec(0u16..14, 0..10);
    (entries, order, 0u16..14).prop_map(|(entries, order, current)| {
        let entries: Vec<_> = entries.into_iter().collect();
        firmware(&entries, &order, current)
    })
}

fn is_foreign(entries: &Entries, number: u16) -> bool {
    !matches!(entries.entries.get(&number), Some(entry) if is_ours(entry))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_firmware_makes_of_it(
        mut variables in any_firmware(),
        shuffled in prop::collection::vec(0u16..14, 0..12),
        policy in prop_oneof![Just(BootOrder::NetworkFirst), Just(BootOrder::DiskFirst)],
    ) {
        // As it is found, and once more after firmware has put its entries in any order.
        for round in 0..2 {
            let before = Entries::read(&variables);
            let changes = decide(&variables, &partition(), NODE, policy).unwrap_or_default();
            write(&mut variables, &changes);
            prop_assert_eq!(decide(&variables, &partition(), NODE, policy), None);

            let after = Entries::read(&variables);
            let named = after.entries.values().filter(|entry| is_ours(entry)).count();
            prop_assert!(named <= 1);
            let (own, is_right) = after.own(&partition(), "Hardway: node1").unwrap();
            prop_assert!(is_right && after.order.iter().filter(|one| **one == own).count() == 1);

            // Foreign entries are what they were; all but the one that became first keep their order.
            for (number, entry) in &before.entries {
                if is_foreign(&before, *number) {
                    prop_assert_eq!(after.entries.get(number), Some(entry));
                }
            }
            let first = after.network(&after.order);
            let foreign = |entries: &Entries| {
                let mut kept: Vec<u16> = Vec::new();
                for number in &entries.order {
                    let counts = is_foreign(&before, *number)
                        && *number != own
                        && Some(*number) != first
                        && !kept.contains(number);
                    if counts {
                        kept.push(*number);
                    }
                }
                kept
            };
            prop_assert_eq!(foreign(&before), foreign(&after));

            if round == 0 {
                variables.retain(|variable| variable.name != "BootOrder");
                variables.push(variable("BootOrder", order(&shuffled)));
            }
        }
    }

    /// Any bytes under any names.
    #[test]
    fn hostile_variables(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
        order in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let names = ["Boot0000", "Boot00é", "BootFFFF", "Boot", "BootOrder", "Boot+001"];
        let mut variables: Vec<Variable> = names
            .iter()
            .zip(values)
            .map(|(name, value)| variable(name, value))
            .collect();
        variables.push(variable("BootCurrent", order));
        let changes = decide(&variables, &partition(), NODE, NETWORK);
        prop_assert!(changes.is_some());
    }
}
