//! Which receipts are believed.
//!
//! Whoever can speak for a machine can show any receipt. One that this appliance did not sign is
//! evidence only where it knows nothing better: so an appliance that lost its state adopts its rack,
//! and nobody raises a generation or opens a data disk by an altered record.

use super::{Decision, DiskBinding, Plan, Step};
use crate::inventory::{Content, Disk, Inventory};
use crate::receipt::{Receipt, Seal};

/// The machine's hardware with each receipt that is not believed as something foreign. `known` is the
/// generation wanted of a machine of which an installation is on record.
pub fn believable(
    inventory: &Inventory,
    known: Option<u32>,
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
fn doubt(receipt: &Receipt, seal: Seal, known: Option<u32>) -> Option<String> {
    let words = super::describe_content(&Content::Ours {
        receipt: Box::new(receipt.clone()),
    });
    let wanted = known.filter(|wanted| receipt.generation > *wanted);
    match seal {
        Seal::Own => None,
        Seal::Broken => Some(format!("{words}, by a receipt whose signature is wrong")),
        Seal::Other | Seal::None => wanted.map(|wanted| {
            format!(
                "{words}, by a receipt that this appliance did not sign, where generation {wanted} is wanted"
            )
        }),
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
