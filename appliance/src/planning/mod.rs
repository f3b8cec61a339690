//! One machine's hardware and configuration → what happens to its disks.
//!
//! Gathers what the planner needs and leaves every decision to it:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`image`] | reads the partition table that an image brings |
//! | [`hardware`] | the inventory in the terms of `hardway_ignition` |
//! | [`disks`] | what the configuration's operations do with disks, for `plan()` to judge |
//! | [`intents`] | what image and configuration do with each disk, to be shown beforehand |
//! | [`store`] | what the image store has for a machine |
//! | [`own_ignition`] | what is added for images that bring Ignition along |
//! | [`documents`] | the documents that plans were made with, until they are fetched |

use hardway_ignition::{Circumstances, Operations, Report, operations};
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::desired::{ConfigApplier, DesiredMachine};
use hardway_model::identity::Sha256;
use hardway_model::inventory::{self, Inventory};
use hardway_model::lifecycle::MachineState;
use hardway_model::plan::{
    self, Arming, BootEntries, Decision, Preparation, Refusal, RefusalReason,
};
use hardway_model::preview::{self, Preview};

use crate::context::Context;
use crate::imported::Imported;
use crate::render::{self, Rendered};
use crate::{clock, seal};

mod disks;
mod documents;
pub mod hardware;
pub mod image;
mod intents;
mod own_ignition;
mod store;
#[cfg(test)]
mod tests;

pub use documents::Documents;
pub use own_ignition::{Confirmation, data_url};
pub use store::check_image;

use image::ImageTable;
use store::{image_table, present};

/// Whose plan is made, and of what.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The cluster's file.
    pub cluster: &'a Cluster,
    /// The machine as it is declared.
    pub machine: &'a Machine,
    /// What is remembered of it.
    pub state: &'a MachineState,
    /// Its hardware.
    pub inventory: &'a Inventory,
    /// Version of the agent that asks.
    pub agent: &'a str,
    /// What its system will confirm with.
    pub confirmation_key: &'a str,
    /// What it is armed for; to show a plan beforehand, what it could be armed for.
    pub armed: Armed<'a>,
}

/// Whether a machine whose profile says `install: when-armed` may be installed.
#[derive(Clone, Copy)]
pub enum Armed<'a> {
    /// For this, if for anything.
    For(Option<&'a Arming>),
    /// It is asked what would happen if it were.
    Supposed,
}

/// What the planner says of a declared machine, and what it rests on.
pub struct Judgement {
    /// What is to happen.
    pub decision: Decision,
    /// The document that an installation fetches.
    pub document: Option<Rendered>,
    /// The configuration's operations, where the agent carries them out.
    work: Option<Operations>,
}

impl From<Decision> for Judgement {
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            document: None,
            work: None,
        }
    }
}

/// What the planner says of a declared machine.
pub fn decide(context: &Context, subject: Subject<'_>) -> Judgement {
    let hardware = believable(context, subject);
    let believed = Subject {
        inventory: &hardware,
        ..subject
    };
    let judgement = decide_by(context, believed);
    let decision = plan::bound_to(judgement.decision, subject.inventory);
    Judgement {
        decision: match context.sealer.sign(decision) {
            Ok(signed) => signed,
            Err(error) => configuration(format!("{error:#}")),
        },
        ..judgement
    }
}

/// The hardware without what its receipts only claim.
fn believable(context: &Context, subject: Subject<'_>) -> Inventory {
    let state = subject.state;
    plan::believable(subject.inventory, state.installed.as_ref(), |receipt| {
        context.sealer.judge(receipt)
    })
}

fn decide_by(context: &Context, subject: Subject<'_>) -> Judgement {
    let Subject {
        cluster, machine, ..
    } = subject;
    let Some(desired) = cluster.desired(machine, Sha256([0; 32])) else {
        return configuration(format!("{} is not of this cluster", machine.name)).into();
    };
    let imported = Imported::find(&context.options.images, desired.image.sha256);
    let known = imported.as_ref().ok().and_then(Option::as_ref);
    let desired = with_import(desired, known);
    // A mistake in the configuration or a damaged image keeps nobody from starting what is installed
    // already.
    let unprepared = judge(&desired, subject, None);
    if matches!(unprepared, Decision::AlreadyInstalled { .. }) {
        return unprepared.into();
    }
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => return configuration(format!("{error:#}")).into(),
    };
    let here = match imported {
        Some(_) => Ok(()),
        None => present(context, cluster, machine),
    };
    let prepared = here.and_then(|()| match plan::system_disk(&desired, subject.inventory) {
        Ok(system) => {
            let table = || image_table(context, cluster, machine, imported.as_ref(), system);
            if imported.is_some() {
                // Before anything is written: a table for other sectors is none to this disk.
                table()?;
            }
            let mut prepared = prepare(context, subject, &desired, system, table)?;
            if subject.inventory.boot_variables.is_some() {
                let preparation = &mut prepared.preparation;
                preparation.system_partition = match table() {
                    Ok(table) => disks::system_partition(preparation, system, table.as_ref()),
                    // Without a table there is nothing that an entry could name.
                    Err(_) => None,
                };
            }
            Ok(Some(prepared))
        }
        Err(_) => Ok(None),
    });
    match prepared {
        Ok(Some(prepared)) => {
            let desired = DesiredMachine {
                config: prepared.document.digest,
                ..desired
            };
            Judgement {
                decision: judge(&desired, subject, Some(&prepared.preparation)),
                document: Some(prepared.document),
                work: prepared.work,
            }
        }
        // It is the planner that says why no disk fits.
        Ok(None) => unprepared.into(),
        Err(cause) => configuration(cause).into(),
    }
}

/// What would happen to a declared machine, disk by disk.
///
/// # Errors
///
/// The machine is not of this cluster.
pub fn preview(context: &Context, subject: Subject<'_>) -> Result<Preview, String> {
    let Subject {
        cluster, machine, ..
    } = subject;
    let inventory = &believable(context, subject);
    let desired = cluster.desired(machine, Sha256([0; 32]));
    let desired = desired.ok_or_else(|| format!("{} is not of this cluster", machine.name))?;
    let Judgement { decision, work, .. } = decide(context, subject);
    let imported = Imported::find(&context.options.images, desired.image.sha256).ok();
    let imported = imported.flatten();
    // What keeps the table from being read refused the installation, if it matters to it.
    let table = plan::system_disk(&desired, inventory)
        .ok()
        .and_then(|system| {
            image_table(context, cluster, machine, imported.as_ref(), system).unwrap_or_default()
        });
    let (intents, further) = intents::intents(&decision, inventory, table.as_ref(), work.as_ref());
    Ok(preview::preview(
        &desired, inventory, decision, &intents, further,
    ))
}

/// Whatever the URL or file in cluster.yaml: what was imported has the same content.
fn with_import(desired: DesiredMachine, imported: Option<&Imported>) -> DesiredMachine {
    let mut desired = desired;
    desired.image.imported = imported.map(Imported::desired);
    desired
}

/// The document alone, for a machine whose plan was made before.
pub fn document(context: &Context, subject: Subject<'_>) -> Result<Rendered, String> {
    let judgement = decide(context, subject);
    match (judgement.document, judgement.decision) {
        (Some(document), _) => Ok(document),
        (None, Decision::Refuse { refusal }) => Err(refusal.cause),
        (None, _) => Err("there is nothing to install".to_owned()),
    }
}

fn judge(
    desired: &DesiredMachine,
    subject: Subject<'_>,
    preparation: Option<&Preparation>,
) -> Decision {
    let supposed = plan::system_disk(desired, subject.inventory).ok();
    let supposed = supposed.map(|disk| Arming {
        generation: subject.state.generation,
        disk: disk.id(),
    });
    let circumstances = plan::Circumstances {
        generation: subject.state.generation,
        grants: &subject.state.grants,
        armed: match subject.armed {
            Armed::For(arming) => arming,
            Armed::Supposed => supposed.as_ref(),
        },
        preparation,
        now: clock::now() / 1000,
        agent: subject.agent,
        appliance: env!("CARGO_PKG_VERSION"),
        confirmation: Some(seal::of_key(subject.confirmation_key)),
    };
    plan::plan(desired, subject.inventory, circumstances)
}

/// What is written to the firmware's boot variables of a machine whose installed system runs, as the
/// planner says.
pub fn boot_entries_of_running(
    cluster: &Cluster,
    machine: &Machine,
    inventory: &Inventory,
) -> Option<BootEntries> {
    let desired = cluster.desired(machine, Sha256([0; 32]))?;
    plan::boot_entries_of_running(&desired, inventory)
}

/// What the agent fetches, and what that does with the disks.
struct Prepared {
    document: Rendered,
    preparation: Preparation,
    work: Option<Operations>,
}

fn prepare(
    context: &Context,
    subject: Subject<'_>,
    desired: &DesiredMachine,
    system: &inventory::Disk,
    table: impl Fn() -> Result<Option<ImageTable>, String>,
) -> Result<Prepared, String> {
    let Subject {
        cluster,
        machine,
        inventory,
        ..
    } = subject;
    let config = &context.options.config;
    if desired.image.config != ConfigApplier::Agent {
        if let Some(table) = table()? {
            own_ignition::check_layout(&desired.image, &table)?;
        }
        let url = context.url().unwrap_or_default();
        let confirmation = Confirmation {
            url: &url,
            generation: subject.state.generation,
            key: subject.confirmation_key,
        };
        let part = own_ignition::part(desired, confirmation);
        let compiled = render::compiled(config, cluster, machine, Some(part))?;
        let preparation = Preparation {
            disks: own_ignition::data_disks(&compiled.config, inventory, system)?,
            ..Preparation::default()
        };
        return Ok(Prepared {
            document: Rendered::new(compiled.json.into_bytes()),
            preparation,
            work: None,
        });
    }
    let compiled = render::compiled(config, cluster, machine, None)?;
    let table = match disks::concerns(&compiled.config) {
        true => table()?,
        false => None,
    };
    let hardware = hardware::hardware(desired, inventory, system, table.as_ref());
    let circumstances = Circumstances {
        hardware: Some(&hardware),
        ..render::circumstances(&compiled)
    };
    let work = operations(&compiled.config, &circumstances).map_err(|problems| {
        let problems = Report::from(problems).to_string();
        match (disks::concerns(&compiled.config), &table) {
            (true, None) => format!(
                "{problems}\nthe image comes from a URL, so that its partition table is not known \
                 when the plan is made: a configuration that names the system disk or its \
                 partitions needs an image from the image store"
            ),
            _ => problems,
        }
    })?;
    let facts = disks::Facts {
        desired,
        inventory,
        system,
        hardware: &hardware,
        table: table.as_ref(),
    };
    let preparation =
        disks::preparation(&compiled.config, &work, facts, &context.options.toolbox())?;
    Ok(Prepared {
        document: Rendered::of(&work)?,
        preparation,
        work: Some(work),
    })
}

fn configuration(cause: String) -> Decision {
    Decision::Refuse {
        refusal: Refusal {
            reason: RefusalReason::Configuration,
            cause,
            remedy: "mend it; the machine asks again by itself. `hardway check` judges the whole \
                     configuration beforehand"
                .into(),
            grantable: Vec::new(),
        },
    }
}

/// A machine that nothing in cluster.yaml matches.
pub fn undeclared(inventory: &Inventory, mac: &str) -> Decision {
    let system = &inventory.system;
    let words = [&system.manufacturer, &system.product, &system.serial];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|word| word.as_deref())
        .collect();
    let hardware = match words.is_empty() {
        true => String::new(),
        false => format!(" ({})", words.join(" ")),
    };
    Decision::Refuse {
        refusal: Refusal {
            reason: RefusalReason::NotDeclared,
            cause: format!("no machine in cluster.yaml matches {mac}{hardware}"),
            remedy: format!(
                "add it to `machines:` in cluster.yaml:\n  - name: NAME\n    match: {{mac: \
                 \"{mac}\"}}\n    profile: PROFILE\n    address: ADDRESS"
            ),
            grantable: Vec::new(),
        },
    }
}
