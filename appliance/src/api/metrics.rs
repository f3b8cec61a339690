//! `GET /metrics`.

use std::sync::PoisonError;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::ApiError;
use crate::clock;
use crate::context::Context;

/// As OpenMetrics 1.0 names its text format.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`: counters and gauges, no secrets and no names of machines.
pub async fn page(State(context): State<Context>) -> Result<impl IntoResponse, ApiError> {
    let leases = context.fleet.leases().await?;
    let recorder = context.recorder.lock();
    let recorded = recorder.unwrap_or_else(PoisonError::into_inner).size();
    let snapshot = context.fleet.snapshot();
    let page = context
        .metrics
        .encode(&snapshot, &leases, recorded, clock::now());
    let page = page.map_err(anyhow::Error::from)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page))
}
