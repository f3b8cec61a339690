//! The firmware's boot entries and their order → what is written so that the installed system has its
//! place among them. Where it has, nothing is: flash memory wears.

use std::collections::BTreeMap;

use super::BootEntries;
use crate::boot_variables::{MOST_BYTES, Variable};
use crate::desired::{BootOrder, DesiredMachine};
use crate::inventory::{Disk, Firmware, Inventory};
use crate::layout::PartitionTable;
use crate::load_option::{self, HardDrive, LoadOption};

/// What firmware looks for on a disk by itself, and so what every bootable image has.
const FILE: &str = "\\EFI\\BOOT\\BOOTX64.EFI";
/// How the descriptions of our entries begin.
const OURS: &str = "Hardway: ";
/// The type of an EFI system partition, upper case.
const SYSTEM_PARTITION: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

/// The EFI system partition of a disk that holds an installation.
pub(super) fn system_partition(disk: &Disk) -> Option<HardDrive> {
    match &disk.layout.as_ref()?.table {
        PartitionTable::Gpt { partitions, .. } => {
            only_system_partition(partitions.iter().map(|p| {
                let place = (p.number, p.start, p.sectors);
                (p.type_guid.as_str(), p.guid.as_str(), place)
            }))
        }
        PartitionTable::None | PartitionTable::Mbr | PartitionTable::Damaged => None,
    }
}

/// The only EFI system partition of some partitions: their type and own GUID, number, first sector and
/// length in sectors. Of several nobody says which is started.
pub fn only_system_partition<'a>(
    partitions: impl Iterator<Item = (&'a str, &'a str, (u32, u64, u64))>,
) -> Option<HardDrive> {
    let mut found = partitions.filter(|(kind, ..)| kind.eq_ignore_ascii_case(SYSTEM_PARTITION));
    match (found.next(), found.next()) {
        (Some((_, guid, (number, start, sectors))), None) => Some(HardDrive {
            number,
            start,
            sectors,
            guid: load_option::guid(guid)?,
        }),
        _ => None,
    }
}

/// What is written on a machine whose installed system has this EFI system partition. `None`: nothing.
pub(super) fn of_machine(
    desired: &DesiredMachine,
    inventory: &Inventory,
    partition: HardDrive,
) -> Option<BootEntries> {
    let variables = inventory.boot_variables.as_deref()?;
    let bytes: usize = variables.iter().map(|one| one.value.len()).sum();
    if bytes > MOST_BYTES {
        return None;
    }
    let is_wanted = inventory.firmware == Firmware::Uefi && desired.boot_order != BootOrder::Keep;
    let decide = || decide(variables, &partition, &desired.machine, desired.boot_order);
    is_wanted.then(decide).flatten()
}

/// What is written so that `partition` is started in its place.
fn decide(
    variables: &[Variable],
    partition: &HardDrive,
    machine: &str,
    policy: BootOrder,
) -> Option<BootEntries> {
    let firmware = Entries::read(variables);
    let description = format!("{OURS}{machine}");
    let (number, is_right) = firmware.own(partition, &description)?;
    let stale: Vec<u16> = firmware
        .entries
        .iter()
        .filter(|(other, entry)| **other != number && is_ours(entry))
        .map(|(other, _)| *other)
        .collect();
    let order = firmware.order_with(number, &stale, policy);
    let mut changes = BootEntries::default();
    // The order never names what is not there, wherever the power is cut.
    if !is_right {
        let value = load_option::of_file(&description, partition, FILE);
        let on = partition.number;
        let line = format!("Boot{number:04X} `{description}` starts {FILE} of partition {on}");
        changes.add(name(number), value, line);
    }
    if order != firmware.order {
        let shown: Vec<String> = order
            .iter()
            .map(
                |entry| match firmware.entries.get(entry).and_then(Option::as_ref) {
                    _ if *entry == number => format!("{entry:04X} {description}"),
                    Some(found) => format!("{entry:04X} {}", found.description),
                    None => format!("{entry:04X}"),
                },
            )
            .collect();
        let value = order.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let line = format!("the boot order is {}", shown.join(", "));
        changes.add("BootOrder".to_owned(), value, line);
    }
    for entry in stale {
        let line = format!("Boot{entry:04X}, an earlier entry of ours, is removed");
        changes.add(name(entry), Vec::new(), line);
    }
    (!changes.variables.is_empty()).then_some(changes)
}

impl BootEntries {
    fn add(&mut self, name: String, value: Vec<u8>, line: String) {
        self.variables.push(Variable { name, value });
        self.summary.push(line);
    }
}

fn name(number: u16) -> String {
    format!("Boot{number:04X}")
}

fn is_ours(entry: &Option<LoadOption>) -> bool {
    matches!(entry, Some(entry) if entry.description.starts_with(OURS))
}

/// The variables, read.
struct Entries {
    /// `None` for one that cannot be read: it is nobody's.
    entries: BTreeMap<u16, Option<LoadOption>>,
    order: Vec<u16>,
    /// The entry that the machine was started by.
    current: Option<u16>,
}

impl Entries {
    fn read(variables: &[Variable]) -> Self {
        let numbers = |name: &str| {
            let variable = variables.iter().find(|variable| variable.name == name);
            let bytes = variable.map_or(&[][..], |variable| &variable.value);
            let units = bytes.as_chunks().0.iter();
            units.map(|unit| u16::from_le_bytes(*unit)).collect()
        };
        let entry = |variable: &Variable| {
            let digits = variable.name.strip_prefix("Boot")?;
            let is_number = digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_hexdigit());
            let number = u16::from_str_radix(digits, 16).ok().filter(|_| is_number)?;
            Some((number, LoadOption::parse(&variable.value)))
        };
        let current: Vec<u16> = numbers("BootCurrent");
        Self {
            entries: variables.iter().filter_map(entry).collect(),
            order: numbers("BootOrder"),
            current: current.first().copied(),
        }
    }

    /// The number of the entry that is to start the partition, and whether it does already. One that
    /// firmware or the system itself has made for the same file serves as well, and stays as it is.
    /// `None` only where no number is free.
    fn own(&self, partition: &HardDrive, description: &str) -> Option<(u16, bool)> {
        let numbers = |fits: &dyn Fn(&LoadOption) -> bool| {
            let fits = |entry: &Option<LoadOption>| entry.as_ref().is_some_and(fits);
            let mut fitting = self.entries.iter().filter(|(_, entry)| fits(entry));
            fitting.next().map(|(number, _)| *number)
        };
        let starts_it = |entry: &LoadOption| {
            entry.is_tried() && entry.starts(FILE) && entry.hard_drive().as_ref() == Some(partition)
        };
        let is_named = |entry: &LoadOption| entry.description.starts_with(OURS);
        let right = numbers(&|entry| starts_it(entry) && entry.description == description);
        let wrong = || numbers(&is_named);
        let foreign = || numbers(&starts_it);
        let is_free =
            |number: &u16| !self.entries.contains_key(number) && !self.order.contains(number);
        right
            .map(|number| (number, true))
            .or_else(|| wrong().map(|number| (number, false)))
            .or_else(|| foreign().map(|number| (number, true)))
            .or_else(|| Some(((0..=u16::MAX).find(is_free)?, false)))
    }

    /// The order with ours in its place, each entry once, and the rest as it was.
    fn order_with(&self, own: u16, stale: &[u16], policy: BootOrder) -> Vec<u16> {
        let mut order: Vec<u16> = Vec::new();
        for entry in &self.order {
            if !order.contains(entry) && !stale.contains(entry) {
                order.push(*entry);
            }
        }
        if self.is_placed(&order, own, policy) {
            return order;
        }
        order.retain(|entry| *entry != own);
        match policy {
            BootOrder::DiskFirst => order.insert(0, own),
            BootOrder::NetworkFirst => match self.network(&order) {
                Some(network) => {
                    order.retain(|entry| *entry != network);
                    order.splice(0..0, [network, own]);
                }
                // Whichever of them it is: ours is not in front of it.
                None => order.push(own),
            },
            BootOrder::Keep => {}
        }
        order
    }

    /// Whether firmware comes to ours when the policy says so. Firmware that sorts the entries of one
    /// network card together, ahead of all disks, does as well.
    fn is_placed(&self, order: &[u16], own: u16, policy: BootOrder) -> bool {
        let Some(at) = order.iter().position(|entry| *entry == own) else {
            return policy == BootOrder::Keep;
        };
        let mut ahead = order[..at].iter().filter(|entry| self.is_tried(entry));
        match policy {
            BootOrder::DiskFirst => ahead.next().is_none(),
            BootOrder::NetworkFirst => match self.network(order) {
                Some(_) => {
                    let is_empty = ahead.clone().next().is_none();
                    !is_empty && ahead.all(|entry| self.is_network(entry))
                }
                None => true,
            },
            BootOrder::Keep => true,
        }
    }

    /// The entry of the network that is to come first: the one that has just worked, if it is one.
    fn network(&self, order: &[u16]) -> Option<u16> {
        let first = order.iter().copied().find(|entry| self.is_network(entry));
        self.current
            .filter(|entry| order.contains(entry) && self.is_network(entry))
            .or(first)
    }

    fn is_tried(&self, number: &u16) -> bool {
        matches!(self.entries.get(number), Some(Some(entry)) if entry.is_tried())
    }

    fn is_network(&self, number: &u16) -> bool {
        matches!(self.entries.get(number), Some(Some(entry)) if entry.is_network() && entry.is_tried())
    }
}

#[cfg(test)]
#[path = "boot_entries_tests.rs"]
mod tests;
