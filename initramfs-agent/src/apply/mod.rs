//! Carries out the steps of a plan. It decides nothing; the first failure ends it.
//!
//! | module | steps |
//! | --- | --- |
//! | [`disk`] | claim-disk, commit-disk, and the withheld ends in between |
//! | [`image`] | write-image |
//! | [`table`] | grow-partition-table |
//! | [`filesystem`] | mounts the system on the disk; grow-filesystem |
//! | [`config`] | apply-config, by [`root`], [`files`], [`accounts`], [`units`], [`kernel_arguments`] |
//! | [`confirmation`] | install-confirmation |
//! | [`hand_over`] | hand-over |

mod account_files;
mod accounts;
mod boot_entries;
mod config;
mod confirmation;
pub mod disk;
mod files;
mod filesystem;
mod hand_over;
mod image;
mod kernel_arguments;
mod root;
pub mod table;
mod units;

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hardway_model::inventory::Disk;
use hardway_model::messages::AgentEvent;
use hardway_model::plan::{DiskBinding, Plan, Step};

pub use config::FetchedConfig;
use disk::{BlockDevice, TargetDisk};
use filesystem::Mounted;

use crate::drivers::Drivers;
use crate::http::Appliance;
use crate::inventory;
use crate::reports::Reports;

/// What the steps work with.
pub struct Execution<'a> {
    /// Where images and configuration come from.
    pub appliance: &'a Appliance,
    /// Where progress goes.
    pub reports: &'a Reports,
    /// For filesystems.
    pub drivers: &'a mut Drivers,
    /// The configuration, when an earlier try has fetched it.
    pub config: &'a mut Option<FetchedConfig>,
    /// For the installed system.
    pub confirmation_key: &'a str,
}

/// Which step failed, and why.
#[derive(Debug)]
pub struct Failure {
    /// [`Step::name`].
    pub step: &'static str,
    /// The cause.
    pub error: anyhow::Error,
}

/// What the steps so far have come to.
#[derive(Default)]
struct Installation {
    disk: Option<TargetDisk<BlockDevice>>,
    system: Option<Mounted>,
}

/// Runs the plan. It ends in another kernel, or in a failure; what was mounted is unmounted then.
pub fn execute(plan: &Plan, mut execution: Execution<'_>) -> Result<Infallible, Failure> {
    let mut installation = Installation::default();
    let mut last = "start";
    for step in &plan.steps {
        last = step.name();
        execution.reports.event(AgentEvent::StepStarted { step: last.to_owned() });
        execution.reports.show(&format!("{last} …"));
        match run(step, plan, &mut execution, &mut installation) {
            Ok(summary) => {
                execution.reports.show(&format!("{last}: {summary}"));
                execution.reports.event(AgentEvent::StepFinished { step: last.to_owned(), summary });
            }
            Err(error) => return Err(Failure { step: last, error }),
        }
    }
    Err(Failure {
        step: last,
        error: anyhow::anyhow!("the plan ends without a hand-over"),
    })
}

/// Carries out one step, and says what it did.
fn run(
    step: &Step,
    plan: &Plan,
    execution: &mut Execution<'_>,
    installation: &mut Installation,
) -> Result<String> {
    match step {
        Step::ClaimDisk { disk, receipt } => {
            check_binding(disk)?;
            let device = BlockDevice::open(&disk.path)?;
            installation.disk =
                Some(TargetDisk::claim(device, receipt).with_context(|| format!("claiming {}", disk.path))?);
            Ok(format!("{} ({}) is claimed for generation {}", disk.path, disk.id, plan.generation))
        }
        Step::WriteImage { url, compression, sha256 } => {
            let source = image::Source { url, compression: *compression, sha256: *sha256 };
            image::write(&source, installation.disk()?, execution)
        }
        Step::GrowPartitionTable => grow_table(installation.disk()?),
        Step::GrowFilesystem => {
            let disk = installation.disk()?;
            let system = installation.system(execution)?;
            system.grow(disk_path(disk))
        }
        Step::ApplyConfig { applier, sha256, kernel_arguments } => {
            let config = config::fetch(execution, *sha256)?;
            let system = installation.system(execution)?;
            config::apply(&config, *applier, kernel_arguments, system, execution)
        }
        Step::InstallConfirmation => {
            let (url, key) = (execution.appliance.base().to_owned(), execution.confirmation_key.to_owned());
            let system = installation.system(execution)?;
            confirmation::install(&system.root()?, &url, plan, &key)
        }
        Step::CommitDisk { receipt } => {
            if let Some(system) = installation.system.take() {
                system.unmount()?;
            }
            let disk = installation.disk()?;
            disk.sync()?;
            disk.commit(receipt)?;
            execution.reports.event(AgentEvent::Installed { receipt: receipt.clone() });
            Ok("the disk boots".to_owned())
        }
        Step::HandOver { disk, how } => {
            drop(installation.disk.take());
            let Err(error) = hand_over::run(disk, *how, execution);
            Err(error)
        }
    }
}

impl Installation {
    fn disk(&mut self) -> Result<&mut TargetDisk<BlockDevice>> {
        self.disk.as_mut().context("the plan names no disk before this step")
    }
}

fn grow_table(disk: &mut TargetDisk<BlockDevice>) -> Result<String> {
    Ok(match table::grow(disk)? {
        Some(won) => format!("the last partition is {} MiB larger", won >> 20),
        None => "an MBR is left as it is".to_owned(),
    })
}

/// Compares the disk with what the plan was made for, on the spot.
fn check_binding(binding: &DiskBinding) -> Result<()> {
    let found = inventory::read_disk(Path::new("/"), &binding.path)
        .with_context(|| format!("{} is not there any more", binding.path))?;
    compare(binding, &found)
}

fn compare(binding: &DiskBinding, found: &Disk) -> Result<()> {
    let path = &binding.path;
    if found.id() != binding.id {
        bail!("{path} is {} now, and the plan is for {}", found.id(), binding.id);
    }
    if found.size != binding.size {
        bail!("{path} has {} bytes now, and the plan is for {}", found.size, binding.size);
    }
    if found.content != binding.content {
        bail!("{path} holds something else than when the plan was made; nothing was written");
    }
    Ok(())
}
