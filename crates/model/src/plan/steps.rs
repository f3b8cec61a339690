//! The steps of a decision that was made.

use super::{Circumstances, DiskBinding, Plan, Step};
use crate::desired::{AfterInstall, DesiredMachine};
use crate::inventory::Disk;
use crate::receipt::{Receipt, Stage};

/// Everything from the first write to the hand-over.
pub(super) fn install(
    desired: &DesiredMachine,
    disk: &Disk,
    circumstances: Circumstances<'_>,
) -> Plan {
    let receipt = |stage| Receipt {
        stage,
        cluster: desired.cluster.clone(),
        machine: desired.machine.clone(),
        generation: circumstances.generation,
        image: desired.image.sha256,
        config: desired.config,
        disk: disk.id(),
        time: circumstances.now,
        agent: circumstances.agent.to_owned(),
    };
    Plan {
        machine: desired.machine.clone(),
        generation: circumstances.generation,
        steps: vec![
            Step::ClaimDisk {
                disk: bind(disk),
                receipt: receipt(Stage::Writing),
            },
            Step::WriteImage {
                url: desired.image.url.clone(),
                compression: desired.image.compression,
                sha256: desired.image.sha256,
            },
            Step::GrowPartitionTable,
            Step::GrowFilesystem,
            Step::ApplyConfig {
                applier: desired.image.config,
                sha256: desired.config,
                kernel_arguments: desired.kernel_arguments.clone(),
            },
            Step::InstallConfirmation,
            Step::CommitDisk {
                receipt: receipt(Stage::Complete),
            },
            Step::HandOver {
                disk: bind(disk),
                how: desired.after_install,
            },
        ],
    }
}

/// For a disk that holds the wanted generation. A machine that was switched off after its
/// installation and is on again is meant to run: it is not switched off a second time.
pub(super) fn hand_over_only(desired: &DesiredMachine, disk: &Disk, generation: u32) -> Plan {
    let how = match desired.after_install {
        AfterInstall::Kexec => AfterInstall::Kexec,
        AfterInstall::Reboot | AfterInstall::Poweroff => AfterInstall::Reboot,
    };
    Plan {
        machine: desired.machine.clone(),
        generation,
        steps: vec![Step::HandOver {
            disk: bind(disk),
            how,
        }],
    }
}

fn bind(disk: &Disk) -> DiskBinding {
    DiskBinding {
        path: disk.path.clone(),
        id: disk.id(),
        size: disk.size,
        content: disk.content.clone(),
    }
}
