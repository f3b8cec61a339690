//! What the agent and the installed system ask. See `hardway_model::messages`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hardway_model::cluster::Cluster;
use hardway_model::identity::Sha256;
use hardway_model::lifecycle::{Event, MachineState, Phase, Severity};
use hardway_model::messages::{AgentEvent, ConfigRequest, Hello, Orders, Report, Running, Time};
use hardway_model::plan::Decision;
use hardway_model::receipt::Seal;

use super::ApiError;
use super::request::Body;
use crate::context::Context;
use crate::fleet::same_secret;
use crate::planning::{self, Armed, Subject};
use crate::{clock, seal, token};

/// Seconds after which a held agent says hello again.
const RETRY: u32 = 10;

/// `GET /agent/v1/time`
pub async fn time() -> Json<Time> {
    Json(Time {
        unix_milliseconds: clock::now(),
    })
}

/// `POST /agent/v1/hello`
pub async fn hello(
    State(context): State<Context>,
    Body(hello): Body<Hello>,
) -> Result<Json<Orders>, ApiError> {
    let name = introduce(&context, &hello).await?;
    let confirmation_key = match key_of_the_orders(&context, &name) {
        Some(key) => key,
        None => token::random()?,
    };
    let decision = {
        let (context, hello, name) = (context.clone(), hello.clone(), name.clone());
        let key = confirmation_key.clone();
        // Rendering reads files.
        let judged = tokio::task::spawn_blocking(move || judge(&context, &hello, &name, &key));
        judged.await.map_err(anyhow::Error::from)??
    };
    let event = Event::Hello {
        inventory: Box::new(hello.inventory),
        decision: Box::new(decision.clone()),
        confirmation_key: confirmation_key.clone(),
        fetched: hello.fetched,
    };
    let stranger = stranger(&context, &name, &decision);
    context.fleet.record(&name, event).await?;
    if let Some(text) = stranger {
        let severity = Severity::Warning;
        context
            .fleet
            .record(&name, Event::Note { text, severity })
            .await?;
    }
    // A key from before, which the system on the disk has, stays good: the state says which it is.
    let snapshot = context.fleet.snapshot();
    let state = snapshot.machines.get(&name);
    let kept = state.and_then(|state| state.confirmation_key.clone());
    Ok(Json(match decision {
        Decision::Install { plan, .. } | Decision::AlreadyInstalled { plan, .. } => {
            Orders::Execute {
                plan,
                confirmation_key: kept.unwrap_or(confirmation_key),
            }
        }
        Decision::Refuse { refusal } => Orders::Hold {
            reason: format!("{}\n{}", refusal.cause, refusal.remedy),
            retry_after: RETRY,
        },
    }))
}

/// What to tell of a machine that is taken over by a receipt alone, which this appliance did not sign.
fn stranger(context: &Context, name: &str, decision: &Decision) -> Option<String> {
    let Decision::AlreadyInstalled { receipt, .. } = decision else {
        return None;
    };
    let snapshot = context.fleet.snapshot();
    if snapshot.machines.get(name)?.installed.is_some() {
        return None;
    }
    let by = match (context.sealer.judge(receipt), &receipt.signature) {
        (Seal::Own, _) => return None,
        (_, Some(signature)) => format!("by the appliance with key {}", signature.key),
        (_, None) => "by nobody".to_owned(),
    };
    Some(format!(
        "taken over as it stands: nothing else is known of it here, and its receipt is signed {by}"
    ))
}

/// The key of an installation that is ordered and not finished. It stays, because it is part of the
/// configuration of an image with Ignition of its own, which is served once a boot.
fn key_of_the_orders(context: &Context, name: &str) -> Option<String> {
    let snapshot = context.fleet.snapshot();
    let state = snapshot.machines.get(name)?;
    let planned = state.planned.as_ref()?;
    let is_current = planned.receipt.generation == state.generation;
    state.confirmation_key.clone().filter(|_| is_current)
}

/// The name of the machine that speaks, by its token and its hardware together.
async fn introduce(context: &Context, hello: &Hello) -> Result<String, ApiError> {
    let snapshot = context.fleet.snapshot();
    let cluster = snapshot.cluster.as_ref().ok_or_else(ApiError::no_cluster)?;
    let (issued_to, _) = snapshot.by_token(&hello.token).ok_or_else(refused_token)?;
    let mut identity = hello.inventory.identity();
    if !identity.macs.contains(&hello.boot_mac) {
        identity.macs.insert(0, hello.boot_mac);
    }
    match cluster.identify(&identity) {
        Some(machine) if machine.name != issued_to => {
            if cluster.machine(issued_to).is_some() {
                let message = format!(
                    "this boot token was issued to {issued_to}, and the hardware is {}'s",
                    machine.name
                );
                return Err(ApiError::new(StatusCode::FORBIDDEN, message));
            }
            context.fleet.adopt(issued_to, &machine.name).await?;
            Ok(machine.name.clone())
        }
        _ => Ok(issued_to.to_owned()),
    }
}

fn judge(context: &Context, hello: &Hello, name: &str, key: &str) -> Result<Decision, ApiError> {
    let snapshot = context.fleet.snapshot();
    let cluster = snapshot.cluster.as_ref().ok_or_else(ApiError::no_cluster)?;
    let state = snapshot.machines.get(name);
    let state = state.ok_or_else(|| ApiError::no_machine(name))?;
    let inventory = &hello.inventory;
    let Some(machine) = cluster.machine(name) else {
        return Ok(planning::undeclared(inventory, &hello.boot_mac.to_string()));
    };
    let subject = Subject {
        cluster,
        machine,
        state,
        inventory,
        agent: &hello.agent,
        confirmation_key: key,
        armed: Armed::For(state.armed.as_ref()),
    };
    let judgement = planning::decide(context, subject);
    if let Some(document) = judgement.document {
        context.documents.remember(name, document);
    }
    Ok(judgement.decision)
}

/// `POST /agent/v1/config`: once a token, because it holds secrets.
pub async fn config(
    State(context): State<Context>,
    Body(request): Body<ConfigRequest>,
) -> Result<impl IntoResponse, ApiError> {
    // Two requests at once must not both find that nothing was served yet.
    let _gate = context.config_gate.lock().await;
    let snapshot = context.fleet.snapshot();
    let cluster = snapshot.cluster.clone().ok_or_else(ApiError::no_cluster)?;
    let (name, state) = snapshot
        .by_token(&request.token)
        .ok_or_else(refused_token)?;
    let forbid = |message: &str| ApiError::new(StatusCode::FORBIDDEN, message);
    if state
        .token
        .as_ref()
        .is_some_and(|token| token.config_served)
    {
        return Err(forbid(
            "the configuration was served on this boot token already; boot the machine again",
        ));
    }
    let installs = matches!(
        state.phase,
        Phase::Agent | Phase::Installing { .. } | Phase::Failed { .. }
    );
    if !installs {
        return Err(forbid("this machine is not being installed"));
    }
    // Whoever names its hardware after an installed machine is not given that one's secrets.
    if !state.wants_install() {
        return Err(forbid(
            "this machine is installed already; `hardway reinstall` has it installed again",
        ));
    }
    let planned = state.planned.as_ref().map(|planned| planned.receipt.config);
    let planned =
        planned.ok_or_else(|| forbid("this machine has no orders to install anything"))?;
    let json = match context.documents.find(name, planned) {
        Some(document) => document.json,
        None => {
            let (context, name, state) = (context.clone(), name.to_owned(), state.clone());
            let again = move || render_again(&context, &cluster, &name, &state, planned);
            let rendered = tokio::task::spawn_blocking(again).await;
            rendered.map_err(anyhow::Error::from)??
        }
    };
    context.fleet.record(name, Event::ConfigServed).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}

/// What the plan was made with, after a restart of the appliance.
fn render_again(
    context: &Context,
    cluster: &Cluster,
    name: &str,
    state: &MachineState,
    planned: Sha256,
) -> Result<Vec<u8>, ApiError> {
    let conflict = |message: String| ApiError::new(StatusCode::CONFLICT, message);
    let machine = cluster.machine(name);
    let machine = machine.ok_or_else(|| conflict(format!("{name} is not declared any more")))?;
    let inventory = state.inventory.as_ref();
    let subject = Subject {
        cluster,
        machine,
        state,
        inventory: inventory.ok_or_else(|| conflict(format!("{name} showed no hardware")))?,
        agent: "",
        confirmation_key: state.confirmation_key.as_deref().unwrap_or_default(),
        armed: Armed::For(state.armed.as_ref()),
    };
    let document = planning::document(context, subject).map_err(conflict)?;
    if document.digest != planned {
        let message = "the configuration is not what the plan was made with any more";
        return Err(conflict(message.to_owned()));
    }
    Ok(document.json)
}

/// `POST /agent/v1/report`
pub async fn report(
    State(context): State<Context>,
    Body(report): Body<Report>,
) -> Result<StatusCode, ApiError> {
    let snapshot = context.fleet.snapshot();
    let (name, _) = snapshot.by_token(&report.token).ok_or_else(refused_token)?;
    let Report {
        sequence, event, ..
    } = report;
    if let AgentEvent::Log { lines } = &event {
        for line in lines {
            tracing::info!("{name}: {}", printable(line));
        }
    }
    context
        .fleet
        .record(name, Event::Report { sequence, event })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /agent/v1/running`
pub async fn running(
    State(context): State<Context>,
    Body(running): Body<Running>,
) -> Result<Response, ApiError> {
    let snapshot = context.fleet.snapshot();
    let state = snapshot.machines.get(&running.machine);
    let is_right = state.is_some_and(|state| {
        let key = state.confirmation_key.as_deref();
        key.is_some_and(|key| same_secret(key, &running.key))
            // A digest of 128 random bits tells nothing by the time it takes to compare.
            || state.adopted_confirmation == Some(seal::of_key(&running.key))
    });
    if !is_right {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "this confirmation key is not the machine's",
        ));
    }
    let event = Event::Running {
        generation: running.generation,
        boot_id: running.boot_id,
    };
    context.fleet.record(&running.machine, event).await?;
    let cluster = snapshot.cluster.as_ref();
    let machine = cluster.and_then(|cluster| cluster.machine(&running.machine));
    let entries = match (cluster, machine, &running.inventory) {
        (Some(cluster), Some(machine), Some(inventory)) => {
            planning::boot_entries_of_running(cluster, machine, inventory)
        }
        _ => None,
    };
    let wanted = entries.as_ref().map(|entries| entries.summary.join("; "));
    if let Some(note) = boot_entries_note(wanted.as_deref(), running.written.as_deref()) {
        context.fleet.record(&running.machine, note).await?;
    }
    Ok(match entries.filter(|_| running.written.is_none()) {
        Some(entries) => Json(entries.variables).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// What the timeline says of the firmware's boot entries: what is wanted of them, and what came of it
/// when it was wanted before.
fn boot_entries_note(wanted: Option<&str>, written: Option<&str>) -> Option<Event> {
    let (text, severity) = match (wanted, written) {
        (Some(wanted), None) => (format!("boot entries are set: {wanted}"), Severity::Info),
        (Some(wanted), Some("")) => (
            format!("the firmware does not keep its boot entries: {wanted}"),
            Severity::Warning,
        ),
        (_, Some(error)) if !error.is_empty() => (
            format!("boot entries are not set: {error}"),
            Severity::Warning,
        ),
        _ => return None,
    };
    Some(Event::Note { text, severity })
}

/// A machine's text cannot move the cursor of whoever reads the log.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn refused_token() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "this boot token is not live; boot the machine again",
    )
}
