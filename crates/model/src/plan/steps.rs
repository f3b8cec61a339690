//! The steps of a decision that was made.

use super::{Circumstances, DiskBinding, Growth, Plan, Step, boot_entries};
use crate::desired::{AfterInstall, BootOrder, ConfigApplier, DesiredMachine};
use crate::inventory::{Content, Disk, Firmware, Inventory};
use crate::load_option::HardDrive;
use crate::receipt::{Receipt, Stage};

/// The disks that an installation writes.
pub(super) struct Disks<'a> {
    /// The one that gets the system.
    pub(super) system: &'a Disk,
    /// Data disks that are planned as blank ones.
    pub(super) blank: Vec<&'a Disk>,
    /// Data disks on which the configuration finds what stands there.
    pub(super) kept: Vec<&'a Disk>,
}

impl<'a> Disks<'a> {
    fn data(&self) -> impl Iterator<Item = &'a Disk> {
        self.blank.iter().chain(&self.kept).copied()
    }
}

/// Everything from the first write to the hand-over.
pub(super) fn install(
    desired: &DesiredMachine,
    inventory: &Inventory,
    disks: &Disks<'_>,
    circumstances: Circumstances<'_>,
) -> Plan {
    let mut steps = Vec::new();
    let toolbox = circumstances.preparation.map(|wanted| &wanted.toolbox);
    if let Some(segments) = toolbox.filter(|segments| !segments.is_empty()) {
        let segments = segments.clone();
        steps.push(Step::FetchToolbox { segments });
    }
    steps.push(Step::ClaimDisk {
        disk: bind(disks.system),
        receipt: receipt(desired, disks, circumstances, Stage::Writing),
    });
    steps.push(write_image(desired, disks.system));
    if desired.read_back {
        steps.push(Step::ReadBack);
    }
    match desired.image.config {
        ConfigApplier::Agent => {
            complete_system(&mut steps, desired, disks, circumstances);
            steps.push(Step::InstallConfirmation {
                sets_boot_entries: inventory.firmware == Firmware::Uefi
                    && desired.boot_order == BootOrder::NetworkFirst,
            });
        }
        // Its disk GUID, table and filesystems are what its own first boot works on, and its
        // configuration brings the confirmation along.
        ConfigApplier::Flatcar | ConfigApplier::FedoraCoreos => {
            steps.push(apply_config(desired, Vec::new()));
        }
    }
    steps.push(Step::CommitDisk {
        receipt: receipt(desired, disks, circumstances, Stage::Complete),
    });
    let partition = circumstances.preparation;
    let partition = partition.and_then(|wanted| wanted.system_partition.clone());
    steps.extend(set_boot_entries(desired, inventory, partition));
    steps.push(Step::HandOver {
        disk: bind(disks.system),
        how: match desired.after_install {
            AfterInstall::Kexec => start(desired),
            AfterInstall::Reboot => AfterInstall::Reboot,
            AfterInstall::Poweroff => AfterInstall::Poweroff,
        },
    });
    Plan {
        machine: desired.machine.clone(),
        generation: circumstances.generation,
        steps,
    }
}

/// From its chunks, where the image was imported.
fn write_image(desired: &DesiredMachine, system: &Disk) -> Step {
    let image = &desired.image;
    match &image.imported {
        Some(imported) => Step::WriteChunks {
            index: imported.index.clone(),
            sha256: imported.sha256,
            data: imported.data.clone(),
            compare: matches!(system.content, Content::Ours { .. }),
        },
        None => Step::WriteImage {
            url: image.url.clone(),
            compression: image.compression,
            sha256: image.sha256,
        },
    }
}

/// What makes an image without Ignition of its own this machine's system.
fn complete_system(
    steps: &mut Vec<Step>,
    desired: &DesiredMachine,
    disks: &Disks<'_>,
    circumstances: Circumstances<'_>,
) {
    if let Some(preparation) = circumstances.preparation.filter(|wanted| wanted.is_staged) {
        let erased = disks.blank.iter();
        let erased = erased.filter(|disk| disk.content != Content::Blank);
        steps.push(Step::PrepareDisks {
            disks: disks.data().map(bind).collect(),
            erase: erased.map(|disk| disk.path.clone()).collect(),
            sha256: desired.config,
            summary: preparation.summary.clone(),
        });
    }
    match circumstances
        .preparation
        .map_or(Growth::Fill, |wanted| wanted.growth)
    {
        Growth::Fill => steps.push(Step::GrowPartitionTable { partition: None }),
        Growth::UpToNext(number) => steps.push(Step::GrowPartitionTable {
            partition: Some(number),
        }),
        Growth::Configured => {}
    }
    steps.push(Step::GrowFilesystem);
    steps.push(apply_config(desired, desired.kernel_arguments.clone()));
}

fn apply_config(desired: &DesiredMachine, kernel_arguments: Vec<String>) -> Step {
    Step::ApplyConfig {
        applier: desired.image.config,
        sha256: desired.config,
        kernel_arguments,
    }
}

fn receipt(
    desired: &DesiredMachine,
    disks: &Disks<'_>,
    circumstances: Circumstances<'_>,
    stage: Stage,
) -> Receipt {
    Receipt {
        stage,
        cluster: desired.cluster.clone(),
        machine: desired.machine.clone(),
        generation: circumstances.generation,
        image: desired.image.sha256,
        config: desired.config,
        disk: disks.system.id(),
        time: circumstances.now,
        agent: circumstances.agent.to_owned(),
        data_disks: disks.data().map(Disk::id).collect(),
        blank_data_disks: disks.blank.iter().map(|disk| disk.id()).collect(),
        appliance: Some(circumstances.appliance.to_owned()),
        confirmation: circumstances.confirmation,
        partitions: Vec::new(),
        signature: None,
    }
}

fn set_boot_entries(
    desired: &DesiredMachine,
    inventory: &Inventory,
    partition: Option<HardDrive>,
) -> Option<Step> {
    let entries = boot_entries::of_machine(desired, inventory, partition?)?;
    Some(Step::SetBootEntries {
        variables: entries.variables,
        summary: entries.summary,
    })
}

/// For a disk that holds the wanted generation. A machine that was switched off after its
/// installation and is on again is meant to run: it is not switched off a second time.
pub(super) fn hand_over_only(
    desired: &DesiredMachine,
    inventory: &Inventory,
    disk: &Disk,
    generation: u32,
) -> Plan {
    let how = match desired.after_install {
        AfterInstall::Kexec => start(desired),
        AfterInstall::Reboot | AfterInstall::Poweroff => AfterInstall::Reboot,
    };
    let mut steps = Vec::new();
    let partition = boot_entries::system_partition(disk);
    steps.extend(set_boot_entries(desired, inventory, partition));
    steps.push(Step::HandOver {
        disk: bind(disk),
        how,
    });
    Plan {
        machine: desired.machine.clone(),
        generation,
        steps,
    }
}

/// A kexec, where it starts what the boot loader would. An image with Ignition of its own has its
/// boot loader tell the first boot by a stamp file.
fn start(desired: &DesiredMachine) -> AfterInstall {
    match desired.image.config {
        ConfigApplier::Agent => AfterInstall::Kexec,
        ConfigApplier::Flatcar | ConfigApplier::FedoraCoreos => AfterInstall::Reboot,
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
