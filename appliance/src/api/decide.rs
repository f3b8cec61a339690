//! One machine's hardware → what happens to its disk. Gathers what the planner needs and leaves
//! every decision to it.

use hardway_model::cluster::{Cluster, ImageSource, Machine};
use hardway_model::identity::Sha256;
use hardway_model::inventory::Inventory;
use hardway_model::lifecycle::MachineState;
use hardway_model::plan::{Circumstances, Decision, Refusal, RefusalReason, plan};

use crate::context::Context;
use crate::{clock, images, render};

/// What the planner says of a declared machine with this hardware.
pub fn decide(
    context: &Context,
    cluster: &Cluster,
    machine: &Machine,
    state: &MachineState,
    inventory: &Inventory,
    agent: &str,
) -> Decision {
    let circumstances = Circumstances {
        generation: state.generation,
        grant: state.grant.as_ref(),
        now: clock::now() / 1000,
        agent,
    };
    let planned = |digest: Sha256| {
        let desired = cluster.desired(machine, digest)?;
        Some(plan(&desired, inventory, circumstances))
    };
    let prepared = present(context, cluster, machine)
        .and_then(|()| render::render(&context.options.config, cluster, machine));
    let refusal = match prepared {
        Ok(rendered) => match planned(rendered.digest) {
            Some(decision) => return decision,
            None => format!("{} is not of this cluster", machine.name),
        },
        Err(cause) => cause,
    };
    // A mistake in the configuration keeps nobody from starting what is installed already.
    match planned(Sha256([0; 32])) {
        Some(decision @ Decision::AlreadyInstalled { .. }) => decision,
        _ => Decision::Refuse {
            refusal: Refusal {
                reason: RefusalReason::Configuration,
                cause: refusal,
                remedy: "mend it; the machine asks again by itself. `hardway check` judges the \
                         whole configuration beforehand"
                    .into(),
            },
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
        },
    }
}

fn present(context: &Context, cluster: &Cluster, machine: &Machine) -> Result<(), String> {
    let profile = cluster.profile(&machine.profile);
    let image = profile.and_then(|profile| cluster.image(&profile.image));
    let Some(ImageSource::File(file)) = image.map(|image| &image.source) else {
        return Ok(());
    };
    match images::is_present(&context.options.images, file) {
        true => Ok(()),
        false => Err(format!(
            "the image store lacks {file}, which {} needs",
            machine.name
        )),
    }
}
