//! The scripts of iPXE.

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use hardway_model::lifecycle::Event;
use hardway_netboot::answer::{Answer, Script, answer};
use hardway_netboot::ipxe::{self, ScriptRequest};

use super::ApiError;
use crate::context::Context;
use crate::token;

/// `GET /boot.ipxe`: the same for every machine, even while nobody is served.
pub async fn first_script(State(context): State<Context>) -> Result<impl IntoResponse, ApiError> {
    let url = context.url().ok_or_else(ApiError::no_cluster)?;
    Ok(plain(ipxe::boot_script(&url)))
}

/// `GET /ipxe?…`: what this machine is to do.
pub async fn machine_script(
    State(context): State<Context>,
    Query(request): Query<ScriptRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let refuse =
        |error: ipxe::ScriptError| ApiError::new(StatusCode::BAD_REQUEST, error.to_string());
    let client = request.client().map_err(refuse)?;
    let snapshot = context.fleet.snapshot();
    let cluster = snapshot.cluster.as_ref().ok_or_else(ApiError::no_cluster)?;
    let url = ipxe::appliance_url(cluster, context.options.http_port);
    let found = snapshot.find(&client.identity);
    let (script, summary, token) = match answer(&client, cluster, found) {
        Answer::Script(Script::Agent) => {
            let token = token::random()?;
            let script = ipxe::agent_script(&url, &token, &[]).map_err(refuse)?;
            (script, "iPXE was given the agent", Some(token))
        }
        Answer::Script(Script::LocalDisk(firmware)) => (
            ipxe::local_disk_script(&url, firmware),
            "iPXE was sent to the disk",
            None,
        ),
        Answer::Script(Script::Menu) => (ipxe::menu_script(&url), "iPXE was given the menu", None),
        Answer::Silence(reason) | Answer::AddressOnly(reason) => {
            return Err(ApiError::new(StatusCode::NOT_FOUND, reason.to_string()));
        }
        other => {
            let message = format!("no script answers this request: {other:?}");
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
    };
    // The request parsed, so it names a hardware address, and with it a name.
    let name = snapshot
        .name_of(&client.identity)
        .ok_or_else(ApiError::no_cluster)?;
    let summary = summary.to_owned();
    context
        .fleet
        .record(&name, Event::Script { summary, token })
        .await?;
    Ok(plain(script))
}

fn plain(script: String) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        script,
    )
}
