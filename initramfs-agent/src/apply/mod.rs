//! Carries out the steps of a plan. It decides nothing; the first failure ends it.
//!
//! | module | steps |
//! | --- | --- |
//! | [`installation`] | what the steps so far have come to; claim-disk, commit-disk |
//! | [`disk`] | the claimed disk with its withheld ends |
//! | [`image`], [`chunks`] | write-image, from a stream or from an imported image |
//! | [`read_back`] | read-back |
//! | [`table`] | grow-partition-table |
//! | [`filesystem`] | mounts the system on the disk; grow-filesystem |
//! | [`disks`] | prepare-disks, by [`programs`] and [`modules`] |
//! | [`config`] | apply-config, by [`mount`], [`root`], [`files`], [`accounts`], [`units`], [`kernel_arguments`], or by [`own_ignition`] |
//! | [`confirmation`] | install-confirmation |
//! | [`crate::boot_variables`] | set-boot-entries |
//! | [`hand_over`] | hand-over, by [`boot_entries`] (GRUB), [`loader_entries`] (systemd-boot), [`unified_kernel`] |

mod account_files;
mod accounts;
mod as_user;
mod boot_entries;
mod chunks;
pub mod command;
mod config;
mod confirmation;
mod content;
#[cfg(test)]
mod differential;
pub mod disk;
mod disks;
mod enablement;
mod files;
mod filesystem;
mod hand_over;
mod image;
mod installation;
mod kernel_arguments;
mod loader_entries;
mod modules;
mod mount;
mod order;
mod own_ignition;
mod persist;
#[cfg(test)]
mod power_cuts;
mod programs;
mod read_back;
mod relabel;
mod result;
mod root;
pub mod table;
mod unified_kernel;
mod units;
mod version_order;

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hardway_model::messages::AgentEvent;
use hardway_model::plan::{DiskBinding, Plan, Step};

pub use config::FetchedConfig;
use disk::{BlockDevice, TargetDisk};
use installation::Installation;

use crate::boot_variables;
use crate::drivers::Drivers;
use crate::http::Appliance;
use crate::reports::Reports;
use crate::toolbox;

/// How long the appliance may take to hear of the first write before it happens.
const FIRST_WRITE: Duration = Duration::from_secs(120);

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

/// Runs the plan. It ends in another kernel, or in a failure; what was mounted is unmounted then.
pub fn execute(plan: &Plan, mut execution: Execution<'_>) -> Result<Infallible, Failure> {
    let last = carry_out(plan, &mut execution)?;
    Err(Failure {
        step: last,
        error: anyhow::anyhow!("the plan ends without a hand-over"),
    })
}

/// Runs the steps in their order, and gives the name of the last.
pub fn carry_out(plan: &Plan, execution: &mut Execution<'_>) -> Result<&'static str, Failure> {
    let mut installation = Installation::default();
    let mut last = "start";
    for step in &plan.steps {
        last = step.name();
        execution.reports.event(AgentEvent::StepStarted {
            step: last.to_owned(),
        });
        execution.reports.show(&format!("{last} …"));
        match run(step, plan, execution, &mut installation) {
            Ok(summary) => {
                execution.reports.show(&format!("{last}: {summary}"));
                execution.reports.event(AgentEvent::StepFinished {
                    step: last.to_owned(),
                    summary,
                });
            }
            Err(error) => return Err(Failure { step: last, error }),
        }
    }
    Ok(last)
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
            must_be_heard(execution.reports)?;
            installation.claim(disk, data_disks(plan), receipt)
        }
        Step::WriteImage {
            url,
            compression,
            sha256,
        } => {
            let source = image::Source {
                url,
                compression: *compression,
                sha256: *sha256,
            };
            let (written, summary) = image::write(&source, installation.disk()?, execution)?;
            installation.written(written);
            Ok(summary)
        }
        Step::WriteChunks {
            index,
            sha256,
            data,
            compare,
        } => {
            let source = chunks::Source {
                index,
                sha256: *sha256,
                data,
                compare: *compare,
            };
            let Execution {
                appliance, reports, ..
            } = execution;
            let disk = installation.disk()?;
            let (written, summary) = chunks::write(&source, disk, appliance, reports)?;
            installation.written(written);
            Ok(summary)
        }
        Step::ReadBack => installation.read_back(),
        Step::FetchToolbox { segments } => toolbox::fetch(segments, execution),
        Step::PrepareDisks {
            disks,
            erase,
            sha256,
            ..
        } => {
            let config = config::fetch(execution, *sha256)?;
            installation.prepare(disks, erase, &config, execution)
        }
        Step::GrowPartitionTable { partition } => grow_table(installation.disk()?, *partition),
        Step::GrowFilesystem => installation.system(execution)?.grow(),
        Step::ApplyConfig {
            applier,
            sha256,
            kernel_arguments,
        } => {
            let config = config::fetch(execution, *sha256)?;
            let edits = config.kernel_arguments(*applier, kernel_arguments)?;
            if !edits.is_empty() {
                let edited = installation.edit_kernel_arguments(&edits, execution);
                edited.context("setting kernel arguments")?;
            }
            let system = installation.filesystem_for(*applier, execution)?;
            config::apply(&config, *applier, system, execution)
        }
        Step::InstallConfirmation { sets_boot_entries } => {
            let root = installation.system(execution)?.root()?;
            confirmation::install(
                &root,
                execution.appliance.base(),
                plan,
                execution.confirmation_key,
                *sets_boot_entries,
            )
        }
        Step::CommitDisk { receipt } => {
            let receipt = Box::new(installation.commit(receipt, partitions_stay(plan))?);
            execution.reports.event(AgentEvent::Installed { receipt });
            Ok("the disk boots".to_owned())
        }
        Step::SetBootEntries { variables, summary } => Ok(
            match boot_variables::write(Path::new(boot_variables::FOLDER), variables) {
                Ok(()) => summary.join("; "),
                Err(error) => warn(&error, execution.reports),
            },
        ),
        Step::HandOver { disk, how } => {
            installation.release();
            let Err(error) = hand_over::run(disk, *how, execution);
            Err(error)
        }
    }
}

/// The machine starts without its boot entries, too.
fn warn(error: &anyhow::Error, reports: &Reports) -> String {
    let text = format!("boot entries are not set: {error:#}");
    reports.event(AgentEvent::Warning { text });
    "the firmware's boot entries are left as they are".to_owned()
}

/// Whether the system leaves the table as it is: the image's own Ignition may make another one at the first
/// start.
fn partitions_stay(plan: &Plan) -> bool {
    !plan.steps.iter().any(|step| match step {
        Step::ApplyConfig { applier, .. } => own_ignition::Place::of(*applier).is_some(),
        _ => false,
    })
}

/// What the plan writes beside the system disk.
fn data_disks(plan: &Plan) -> &[DiskBinding] {
    let prepared = plan.steps.iter().find_map(|step| match step {
        Step::PrepareDisks { disks, .. } => Some(disks.as_slice()),
        _ => None,
    });
    prepared.unwrap_or_default()
}

/// The appliance spends the grant when it hears that this step begins.
fn must_be_heard(reports: &Reports) -> Result<()> {
    if !reports.flush(FIRST_WRITE) {
        bail!("the appliance does not hear that the installation begins; nothing was written");
    }
    Ok(())
}

fn grow_table(disk: &mut TargetDisk<BlockDevice>, partition: Option<u32>) -> Result<String> {
    Ok(match table::grow(disk, partition)? {
        Some(won) => format!("the partition is {} MiB larger", won >> 20),
        None => "an MBR is left as it is".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use hardway_model::inventory::Content;
    use hardway_model::receipt::Stage;

    use super::*;

    #[test]
    fn nothing_is_written_unheard() {
        let reports = Reports::unheard();
        let execution = Execution {
            appliance: &Appliance::new("http://127.0.0.1:1", "t"),
            reports: &reports,
            drivers: &mut Drivers::none(&reports),
            config: &mut None,
            confirmation_key: "key",
        };
        let plan = Plan {
            machine: "node1".into(),
            generation: 3,
            steps: vec![Step::ClaimDisk {
                disk: DiskBinding {
                    path: "/dev/null".into(),
                    id: "disk-1".into(),
                    size: 4 << 30,
                    content: Content::Blank,
                },
                receipt: disk::tests::receipt(Stage::Writing),
            }],
        };
        let Err(failure) = execute(&plan, execution);
        assert_eq!(
            failure.error.to_string(),
            "the appliance does not hear that the installation begins; nothing was written"
        );
    }
}
