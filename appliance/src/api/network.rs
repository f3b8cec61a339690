//! What the appliance knows of the network: who holds which address, and what machines said.

use std::sync::PoisonError;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use hardway_model::identity::Identity;
use hardway_model::view::LeaseView;
use hardway_netboot::dhcp::Lease;

use super::ApiError;
use super::request::Operator;
use super::views;
use crate::clock;
use crate::context::Context;
use crate::fleet::Snapshot;

/// `GET /api/v1/leases`: every address that is lent now, by address.
pub async fn leases(State(context): State<Context>) -> Result<Json<Vec<LeaseView>>, ApiError> {
    let leases = context.fleet.leases().await?;
    let snapshot = context.fleet.snapshot();
    let now = clock::now();
    let lent = leases.into_iter().filter(|lease| lease.expires > now);
    let mut views: Vec<LeaseView> = lent.map(|lease| view(lease, &snapshot)).collect();
    views.sort_by_key(|lease| lease.address);
    Ok(Json(views))
}

fn view(lease: Lease, snapshot: &Snapshot) -> LeaseView {
    let heard_of = || {
        let identity = Identity {
            macs: lease.mac.into_iter().collect(),
            ..Identity::default()
        };
        let name = snapshot.name_of(&identity)?;
        snapshot.machines.contains_key(&name).then_some(name)
    };
    LeaseView {
        machine: lease.machine.clone().or_else(heard_of),
        address: lease.address,
        mac: lease.mac,
        host_name: lease.host_name,
        expires: lease.expires,
    }
}

/// `GET /api/v1/machines/NAME/boot.pcap`: what was said on the wire while the machine booted. It may
/// hold boot tokens, which is why it is for the operator alone.
pub async fn recording(
    _: Operator,
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let snapshot = context.fleet.snapshot();
    let machine = views::view(&context, &snapshot, &name);
    let macs = machine.ok_or_else(|| ApiError::no_machine(&name))?.macs;
    let recording = {
        let recorder = context.recorder.lock();
        let recorder = recorder.unwrap_or_else(PoisonError::into_inner);
        let is_there = macs.iter().any(|mac| recorder.frames(*mac) > 0);
        is_there.then(|| recorder.pcap(&macs))
    };
    let recording = recording.ok_or_else(|| {
        let message = format!(
            "no packet of {name} is recorded: the recording is kept in memory, and begins anew with the \
             appliance"
        );
        ApiError::new(StatusCode::NOT_FOUND, message)
    })?;
    // A name of a machine has letters, digits and hyphens alone.
    let file = format!("attachment; filename=\"{name}.pcap\"");
    let headers = [
        (
            header::CONTENT_TYPE,
            "application/vnd.tcpdump.pcap".to_owned(),
        ),
        (header::CONTENT_DISPOSITION, file),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, recording))
}
