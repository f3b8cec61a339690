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
mod enablement;
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
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hardway_model::desired::ConfigApplier;
use hardway_model::inventory::Disk;
use hardway_model::messages::AgentEvent;
use hardway_model::plan::{DiskBinding, Plan, Step};
use hardway_model::receipt::Receipt;
use hardway_userspace::mounts::Flags;

pub use config::FetchedConfig;
use disk::{BlockDevice, TargetDisk};
use filesystem::Mounted;

use crate::drivers::Drivers;
use crate::http::Appliance;
use crate::inventory;
use crate::reports::Reports;

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

/// What the steps so far have come to.
#[derive(Default)]
struct Installation {
    disk: Option<TargetDisk<BlockDevice>>,
    /// By the label that it was looked for; the system itself by none.
    mounted: Option<(Option<&'static str>, Mounted)>,
}

/// Runs the plan. It ends in another kernel, or in a failure; what was mounted is unmounted then.
pub fn execute(plan: &Plan, mut execution: Execution<'_>) -> Result<Infallible, Failure> {
    let mut installation = Installation::default();
    let mut last = "start";
    for step in &plan.steps {
        last = step.name();
        execution.reports.event(AgentEvent::StepStarted {
            step: last.to_owned(),
        });
        execution.reports.show(&format!("{last} …"));
        match run(step, plan, &mut execution, &mut installation) {
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
            must_be_heard(execution.reports)?;
            installation.claim(disk, receipt)
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
            image::write(&source, installation.disk()?, execution)
        }
        Step::GrowPartitionTable => grow_table(installation.disk()?),
        Step::GrowFilesystem => installation.system(execution)?.grow(),
        Step::ApplyConfig {
            applier,
            sha256,
            kernel_arguments,
        } => {
            let config = config::fetch(execution, *sha256)?;
            let system = installation.filesystem_for(*applier, execution)?;
            config::apply(&config, *applier, kernel_arguments, system, execution)
        }
        Step::InstallConfirmation => {
            let root = installation.system(execution)?.root()?;
            confirmation::install(
                &root,
                execution.appliance.base(),
                plan,
                execution.confirmation_key,
            )
        }
        Step::CommitDisk { receipt } => {
            let summary = installation.commit(receipt)?;
            let receipt = receipt.clone();
            execution.reports.event(AgentEvent::Installed { receipt });
            Ok(summary)
        }
        Step::HandOver { disk, how } => {
            drop(installation.disk.take());
            let Err(error) = hand_over::run(disk, *how, execution);
            Err(error)
        }
    }
}

impl Installation {
    fn claim(&mut self, binding: &DiskBinding, receipt: &Receipt) -> Result<String> {
        let path = &binding.path;
        // Opened before it is looked at: what is checked is then what is written, or nothing is.
        let device = BlockDevice::open(path)?;
        check_binding(binding)?;
        filesystem::forget(device.file(), path)?;
        let claimed = TargetDisk::claim(device, receipt);
        self.disk = Some(claimed.with_context(|| format!("claiming {path}"))?);
        let generation = receipt.generation;
        Ok(format!(
            "{path} ({}) is claimed for generation {generation}",
            binding.id
        ))
    }

    fn commit(&mut self, receipt: &Receipt) -> Result<String> {
        self.unmount()?;
        let disk = self.disk()?;
        disk.sync()?;
        disk.commit(receipt)?;
        Ok("the disk boots".to_owned())
    }

    fn disk(&mut self) -> Result<&mut TargetDisk<BlockDevice>> {
        self.disk
            .as_mut()
            .context("the plan claims no disk before this step")
    }

    /// The installed system, mounted.
    fn system(&mut self, execution: &mut Execution<'_>) -> Result<&Mounted> {
        self.filesystem_for(ConfigApplier::Agent, execution)
    }

    /// Where a configuration goes, mounted: the system itself, or where its own Ignition looks.
    fn filesystem_for(
        &mut self,
        applier: ConfigApplier,
        execution: &mut Execution<'_>,
    ) -> Result<&Mounted> {
        let label = match applier {
            ConfigApplier::Agent => None,
            ConfigApplier::Flatcar => Some("OEM"),
            ConfigApplier::FedoraCoreos => Some("boot"),
        };
        if self
            .mounted
            .as_ref()
            .is_some_and(|(mounted, _)| *mounted != label)
        {
            self.unmount()?;
        }
        let mounted = match self.mounted.take() {
            Some((_, mounted)) => mounted,
            None => self.mount(label, execution)?,
        };
        Ok(&self.mounted.insert((label, mounted)).1)
    }

    fn mount(&mut self, label: Option<&str>, execution: &mut Execution<'_>) -> Result<Mounted> {
        let disk = self.disk()?;
        // The partitions are read through device nodes of their own, past this one's page cache.
        disk.sync()?;
        let table = table::read(disk)?;
        let device = disk.device();
        filesystem::announce(device.file(), device.path(), &table)?;
        match label {
            None => Mounted::system(device.path(), &table, Flags::empty(), execution),
            Some(label) => Mounted::labelled(device.path(), &table, label, execution),
        }
    }

    fn unmount(&mut self) -> Result<()> {
        match self.mounted.take() {
            Some((_, mounted)) => mounted.unmount(),
            None => Ok(()),
        }
    }
}

/// The appliance spends the grant when it hears that this step begins.
fn must_be_heard(reports: &Reports) -> Result<()> {
    if !reports.flush(FIRST_WRITE) {
        bail!("the appliance does not hear that the installation begins; nothing was written");
    }
    Ok(())
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
        bail!(
            "{path} is {} now, and the plan is for {}",
            found.id(),
            binding.id
        );
    }
    if found.size != binding.size {
        bail!(
            "{path} has {} bytes now, and the plan is for {}",
            found.size,
            binding.size
        );
    }
    if found.content != binding.content {
        bail!("{path} holds something else than when the plan was made; nothing was written");
    }
    Ok(())
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

    #[test]
    fn a_disk_that_is_not_the_planned_one_is_refused() {
        let planned = Disk {
            path: "/dev/vda".into(),
            size: 4 << 30,
            sector_size: 512,
            model: None,
            serial: Some("disk-1".into()),
            wwn: None,
            rotational: false,
            removable: false,
            read_only: false,
            transport: None,
            content: Content::Blank,
        };
        let binding = DiskBinding {
            path: planned.path.clone(),
            id: planned.id(),
            size: planned.size,
            content: planned.content.clone(),
        };
        compare(&binding, &planned).unwrap();
        let swapped = Disk {
            serial: Some("disk-2".into()),
            ..planned.clone()
        };
        let smaller = Disk {
            size: 2 << 30,
            ..planned.clone()
        };
        let content = Content::Foreign {
            signatures: vec!["swap at 0".into()],
        };
        let filled = Disk { content, ..planned };
        for (found, message) in [
            (
                swapped,
                "/dev/vda is disk-2 now, and the plan is for disk-1",
            ),
            (
                smaller,
                "/dev/vda has 2147483648 bytes now, and the plan is for 4294967296",
            ),
            (
                filled,
                "/dev/vda holds something else than when the plan was made; nothing was written",
            ),
        ] {
            assert_eq!(compare(&binding, &found).unwrap_err().to_string(), message);
        }
    }
}
