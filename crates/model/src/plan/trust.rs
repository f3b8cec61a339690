//! Which receipts are believed.
//!
//! Whoever can speak for a machine, or write its disk, can show any receipt. One that this appliance did
//! not sign is evidence only where it knows nothing better: so an appliance that lost its state adopts
//! its rack. Where an installation is on record, it has to be that one to the letter: so nobody raises a
//! generation or opens a data disk by an altered record.

use super::{Decision, DiskBinding, Plan, Step};
use crate::inventory::{Content, Disk, Inventory};
use crate::receipt::{Receipt, Seal, Stage};

/// Generations above this are nobody's: a machine is not installed a million times.
const HIGHEST_GENERATION: u32 = 1_000_000;

/// The machine's hardware with each receipt that is not believed as something foreign. `known` is the
/// installation that is on record.
pub fn believable(
    inventory: &Inventory,
    known: Option<&Receipt>,
    seal: impl Fn(&Receipt) -> Seal,
) -> Inventory {
    let disks = inventory.disks.iter().map(|disk| match &disk.content {
        Content::Ours { receipt } => match doubt(receipt, seal(receipt), known) {
            None => disk.clone(),
            Some(doubt) => Disk {
                content: Content::Foreign {
                    signatures: vec![doubt],
                },
                ..disk.clone()
            },
        },
        _ => disk.clone(),
    });
    Inventory {
        disks: disks.collect(),
        ..inventory.clone()
    }
}

/// Why a receipt is not believed.
fn doubt(receipt: &Receipt, seal: Seal, known: Option<&Receipt>) -> Option<String> {
    let describe = |stage| {
        super::describe_content(&Content::Ours {
            receipt: Box::new(Receipt {
                stage,
                ..receipt.clone()
            }),
        })
    };
    let mut words = describe(receipt.stage);
    let why = match (seal, known) {
        (_, Some(known)) if was_complete(receipt, known) => {
            words = describe(Stage::Complete);
            "of an installation that is on record as complete; its partition table is gone"
                .to_owned()
        }
        (Seal::Own, _) => return None,
        (Seal::Broken, _) => "whose signature is wrong".to_owned(),
        (Seal::Other | Seal::None, Some(known)) if !says_the_same(receipt, known) => format!(
            "that this appliance did not sign, and generation {} is on record otherwise",
            known.generation
        ),
        (Seal::Other | Seal::None, None) if receipt.generation > HIGHEST_GENERATION => {
            "of an impossible generation".to_owned()
        }
        (Seal::Other | Seal::None, _) => return None,
    };
    Some(format!("{words}, by a receipt {why}"))
}

/// Whether a receipt on a disk without a table is that of an installation that was told to be complete: then
/// no power cut in the middle of it took the table, but somebody, or a disk that did not keep what it had
/// flushed. Its data disks are as full as before.
fn was_complete(receipt: &Receipt, known: &Receipt) -> bool {
    let completed = Receipt {
        stage: Stage::Complete,
        ..receipt.clone()
    };
    receipt.stage == Stage::Writing && says_the_same(&completed, known)
}

/// Whether two receipts were planned alike, whoever signed them.
fn says_the_same(left: &Receipt, right: &Receipt) -> bool {
    left.planned() == right.planned()
}

/// The hardware as it is by now, where the machine was last looked at before its installation: for whoever
/// asks beforehand what would happen. The agent looks again in any case.
pub fn remembered(inventory: &Inventory, installed: &Receipt) -> Inventory {
    let is_known = |content: &Content| match content {
        Content::Ours { receipt } => {
            receipt.generation == installed.generation && receipt.stage == Stage::Complete
        }
        _ => false,
    };
    let disks = inventory.disks.iter().map(|disk| {
        let content = match disk.id() {
            id if id == installed.disk && is_known(&disk.content) => return disk.clone(),
            id if id == installed.disk => Content::Ours {
                receipt: Box::new(installed.clone()),
            },
            id if installed.data_disks.contains(&id) => Content::Foreign {
                signatures: vec![format!(
                    "what generation {} made of it",
                    installed.generation
                )],
            },
            _ => return disk.clone(),
        };
        Disk {
            content,
            layout: None,
            ..disk.clone()
        }
    });
    Inventory {
        disks: disks.collect(),
        ..inventory.clone()
    }
}

/// A decision about [`believable`] hardware, bound to the hardware itself: the agent compares its disks
/// with what it finds, which is what it showed.
pub fn bound_to(decision: Decision, inventory: &Inventory) -> Decision {
    match decision {
        Decision::Install { plan, spends } => Decision::Install {
            plan: rebound(plan, inventory),
            spends,
        },
        Decision::AlreadyInstalled { plan, receipt } => Decision::AlreadyInstalled {
            plan: rebound(plan, inventory),
            receipt,
        },
        refused @ Decision::Refuse { .. } => refused,
    }
}

fn rebound(mut plan: Plan, inventory: &Inventory) -> Plan {
    let rebind = |binding: &mut DiskBinding| {
        let found = inventory
            .disks
            .iter()
            .find(|disk| disk.path == binding.path);
        if let Some(found) = found {
            binding.content = found.content.clone();
        }
    };
    for step in &mut plan.steps {
        match step {
            Step::ClaimDisk { disk, .. } | Step::HandOver { disk, .. } => rebind(disk),
            Step::PrepareDisks { disks, .. } => disks.iter_mut().for_each(rebind),
            _ => {}
        }
    }
    plan
}
