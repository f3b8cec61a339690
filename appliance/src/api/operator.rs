//! What the operator asks. See `hardway_model::view`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::desired::InstallPolicy;
use hardway_model::inventory::Inventory;
use hardway_model::lifecycle::{Event, MachineState, Phase};
use hardway_model::plan::{self, Arming, Decision, Grant, Refusal, RefusalReason, Step};
use hardway_model::preview::Preview;
use hardway_model::view::{GrantRequest, MachineDetail, MachineView};
use hardway_netboot::dhcp::Lease;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::ApiError;
use super::request::{Body, Operator};
use super::views::{self, StatusWithWarnings};
use crate::clock;
use crate::context::Context;
use crate::init::Ending;
use crate::journal::Contents;
use crate::planning::{self, Armed, Subject};

/// Plans that are worked out at once for whoever asks. Each takes a thread, and seconds where its
/// configuration names others; the agents' own are not kept waiting by it.
pub(super) static ASKED: Semaphore = Semaphore::const_new(4);

/// `GET /api/v1/status`
pub async fn status(State(context): State<Context>) -> Json<StatusWithWarnings> {
    Json(views::status(&context))
}

/// `GET /api/v1/machines`
pub async fn machines(State(context): State<Context>) -> Json<Vec<MachineView>> {
    Json(views::rows(&context))
}

/// `GET /api/v1/machines/NAME`
pub async fn machine(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<MachineDetail>, ApiError> {
    views::detail(&context, &name).await.map(Json)
}

/// `GET /api/v1/machines/NAME/plan`: what would happen now, by the last inventory.
pub async fn plan(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Preview>, ApiError> {
    preview(context, name).await.map(Json)
}

/// The plan as it stands, in turn with everybody else who asks.
pub async fn preview(context: Context, name: String) -> Result<Preview, ApiError> {
    let turn = ASKED.acquire().await.map_err(anyhow::Error::from)?;
    let planned = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, even when nobody waits for it any more.
        let _turn = turn;
        let known = Known::of(&context, &name)?;
        let conflict = |message| ApiError::new(StatusCode::CONFLICT, message);
        planning::preview(&context, known.subject(Armed::Supposed)).map_err(conflict)
    });
    planned.await.map_err(anyhow::Error::from)?
}

/// `POST /api/v1/machines/NAME/grants`
pub async fn grant(
    _: Operator,
    State(context): State<Context>,
    Path(name): Path<String>,
    Body(request): Body<GrantRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let judged = {
        let (context, name) = (context.clone(), name.clone());
        tokio::task::spawn_blocking(move || disk_to_grant(&context, &name, request.disk))
    };
    let grant = Grant {
        disk: judged.await.map_err(anyhow::Error::from)??,
        time: clock::now() / 1000,
    };
    let event = Event::GrantWipe {
        grant: grant.clone(),
    };
    context.fleet.record(&name, event).await?;
    Ok((StatusCode::CREATED, Json(grant)))
}

/// `POST /api/v1/machines/NAME/arm`
pub async fn arm(
    _: Operator,
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let judged = {
        let (context, name) = (context.clone(), name.clone());
        tokio::task::spawn_blocking(move || what_to_arm(&context, &name))
    };
    let arming = judged.await.map_err(anyhow::Error::from)??;
    let event = Event::Arm {
        arming: arming.clone(),
    };
    context.fleet.record(&name, event).await?;
    Ok((StatusCode::CREATED, Json(arming)))
}

/// `POST /api/v1/machines/NAME/reinstall`
pub async fn reinstall(
    _: Operator,
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    if context.fleet.snapshot().declared(&name).is_none() {
        return Err(ApiError::no_machine(&name));
    }
    context.fleet.record(&name, Event::Reinstall).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `GET /api/v1/export`: the whole durable state.
pub async fn export(_: Operator, State(context): State<Context>) -> Result<Json<Value>, ApiError> {
    let journal = context.fleet.journal().clone();
    let read = tokio::task::spawn_blocking(move || journal.read());
    let contents = read.await.map_err(anyhow::Error::from)??;
    let leases = context.fleet.leases().await?;
    Ok(Json(exported(&contents, &leases)))
}

/// `POST /api/v1/appliance/reboot`
pub async fn reboot(_: Operator, State(context): State<Context>) -> Result<StatusCode, ApiError> {
    end(&context, Ending::Reboot)
}

/// `POST /api/v1/appliance/poweroff`
pub async fn power_off(
    _: Operator,
    State(context): State<Context>,
) -> Result<StatusCode, ApiError> {
    end(&context, Ending::PowerOff)
}

fn end(context: &Context, ending: Ending) -> Result<StatusCode, ApiError> {
    let daemon = || {
        let message = "this is `hardway serve` as a daemon: its machine is not the appliance's";
        ApiError::new(StatusCode::CONFLICT, message)
    };
    let endings = context.ending.as_ref().ok_or_else(daemon)?;
    // Full means that it was asked for already.
    let _ = endings.try_send(ending);
    Ok(StatusCode::ACCEPTED)
}

/// What the plan of a machine rests on.
struct Known {
    cluster: std::sync::Arc<Cluster>,
    machine: Machine,
    state: MachineState,
    inventory: Inventory,
}

impl Known {
    fn of(context: &Context, name: &str) -> Result<Self, ApiError> {
        let snapshot = context.fleet.snapshot();
        let cluster = snapshot.cluster.clone().ok_or_else(ApiError::no_cluster)?;
        let machine = snapshot.declared(name).cloned();
        let machine = machine.ok_or_else(|| ApiError::no_machine(name))?;
        let state = snapshot.machines.get(name);
        let state = state.ok_or_else(|| ApiError::no_machine(name))?;
        let inventory = state.inventory.clone().ok_or_else(|| {
            let message = format!("{name} has not shown its hardware yet; power it on");
            ApiError::new(StatusCode::CONFLICT, message)
        })?;
        // What stands on its disks by now is not what it showed before it was installed.
        let is_there = matches!(
            state.phase,
            Phase::Agent | Phase::Held { .. } | Phase::Installing { .. } | Phase::Failed { .. }
        );
        let inventory = match &state.installed {
            Some(installed) if !is_there => plan::remembered(&inventory, installed),
            _ => inventory,
        };
        Ok(Self {
            cluster,
            machine,
            state: MachineState::clone(state),
            inventory,
        })
    }

    fn subject<'a>(&'a self, armed: Armed<'a>) -> Subject<'a> {
        Subject {
            cluster: &self.cluster,
            machine: &self.machine,
            state: &self.state,
            inventory: &self.inventory,
            agent: env!("CARGO_PKG_VERSION"),
            confirmation_key: self.state.confirmation_key.as_deref().unwrap_or_default(),
            armed,
        }
    }
}

/// The generation and the disk of the plan as it stands.
fn what_to_arm(context: &Context, name: &str) -> Result<Arming, ApiError> {
    let conflict = |message: String| Err(ApiError::new(StatusCode::CONFLICT, message));
    let known = Known::of(context, name)?;
    let profile = known.cluster.profile(&known.machine.profile);
    if profile.is_none_or(|profile| profile.install == InstallPolicy::Automatic) {
        return conflict(format!(
            "{name} needs no arming: its profile `{}` does not say `install: when-armed`",
            known.machine.profile
        ));
    }
    let waits = |refusal: &Refusal| refusal.reason == RefusalReason::NotArmed;
    match planning::decide(context, known.subject(Armed::Supposed)).decision {
        Decision::Install { .. } if !matches!(&known.state.phase, Phase::Held { refusal } if waits(refusal)) => {
            conflict(format!(
                "{name} has to be on and waiting, so that its disks are seen as they are: boot it from the \
                 network, and it will be held until it is armed"
            ))
        }
        Decision::Install { plan, .. } => {
            let disk = plan.steps.iter().find_map(|step| match step {
                Step::ClaimDisk { disk, .. } => Some(disk.id.clone()),
                _ => None,
            });
            Ok(Arming {
                generation: plan.generation,
                disk: disk.unwrap_or_default(),
            })
        }
        Decision::AlreadyInstalled { receipt, .. } => conflict(format!(
            "generation {} stands on disk {} already; `hardway reinstall {name}` wants another",
            receipt.generation, receipt.disk
        )),
        Decision::Refuse { refusal } => conflict(format!("{}. {}", refusal.cause, refusal.remedy)),
    }
}

/// The disk that is meant: the named one, if the machine has it; else the only one that waits for a
/// grant.
fn disk_to_grant(context: &Context, name: &str, disk: Option<String>) -> Result<String, ApiError> {
    let conflict = |message: String| Err(ApiError::new(StatusCode::CONFLICT, message));
    let known = Known::of(context, name)?;
    let disks: Vec<String> = known.inventory.disks.iter().map(|disk| disk.id()).collect();
    if let Some(disk) = disk {
        return match disks.contains(&disk) {
            true => Ok(disk),
            false => conflict(format!(
                "{name} has no disk {disk}; it has {}",
                disks.join(", ")
            )),
        };
    }
    let waiting = match planning::decide(context, known.subject(Armed::Supposed)).decision {
        Decision::Refuse { refusal } => refusal.grantable,
        Decision::Install { .. } | Decision::AlreadyInstalled { .. } => Vec::new(),
    };
    match waiting.as_slice() {
        [disk] => Ok(disk.clone()),
        [] => conflict(format!(
            "no disk of {name} waits for a grant; it has {}",
            disks.join(", ")
        )),
        several => {
            let commands: Vec<String> = several
                .iter()
                .map(|disk| format!("`hardway grant wipe {name} --disk {disk}`"))
                .collect();
            conflict(format!(
                "several disks wait for one: {}",
                commands.join(", ")
            ))
        }
    }
}

fn exported(contents: &Contents, leases: &[Lease]) -> Value {
    let value = |bytes: &Vec<u8>| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let table = |rows: &std::collections::BTreeMap<String, Vec<u8>>| -> Value {
        rows.iter()
            .map(|(key, bytes)| (key.clone(), value(bytes)))
            .collect()
    };
    let timelines: Value = contents
        .timelines
        .iter()
        .map(|(name, lines)| (name.clone(), lines.values().map(value).collect::<Value>()))
        .collect();
    let leases: Value = leases
        .iter()
        .map(|lease| (lease.address.to_string(), json!(lease)))
        .collect();
    json!({
        "version": 1,
        "machines": table(&contents.machines),
        "timelines": timelines,
        "leases": leases,
        "meta": table(&contents.meta),
    })
}
