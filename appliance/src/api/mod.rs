//! The route table, and what every route shares.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::context::Context;
use crate::ui;

mod agent;
pub mod boot;
mod error;
mod events;
pub mod files;
mod metrics;
mod network;
pub mod operator;
mod request;
#[cfg(test)]
mod tests;
pub mod views;

pub use error::ApiError;

/// The largest body that is read.
const BODY_LIMIT: usize = 1 << 20;
/// The largest hello, whose inventory is remembered of every stranger: one with hundreds of disks is
/// below.
const HELLO_LIMIT: usize = 1 << 19;

/// Everything that is served by HTTP.
pub fn router(context: Context) -> Router {
    Router::new()
        // Pages.
        .route("/", get(ui::rack))
        .route("/machines/{name}", get(ui::machine))
        .route("/machines/{name}/plan", get(ui::plan))
        .route("/assets/{name}", get(ui::asset))
        .route("/favicon.ico", get(ui::icon))
        // iPXE.
        .route("/boot.ipxe", get(boot::first_script))
        .route("/ipxe", get(boot::machine_script))
        // Files, with ranges.
        .route("/boot/{*path}", any(files::serve))
        .route("/modules/{*path}", any(files::serve))
        .route("/images/{*path}", any(files::serve))
        .route("/toolbox/{*path}", any(files::serve))
        .route("/uki/{*path}", any(files::serve))
        // The agent and the installed system.
        .route("/agent/v1/time", get(agent::time))
        .route(
            "/agent/v1/hello",
            post(agent::hello).layer(DefaultBodyLimit::max(HELLO_LIMIT)),
        )
        .route("/agent/v1/config", post(agent::config))
        .route("/agent/v1/report", post(agent::report))
        .route("/agent/v1/running", post(agent::running))
        // The operator. Writes and the export need the token.
        .route("/api/v1/status", get(operator::status))
        .route("/api/v1/machines", get(operator::machines))
        .route("/api/v1/machines/{name}", get(operator::machine))
        .route("/api/v1/machines/{name}/plan", get(operator::plan))
        .route("/api/v1/machines/{name}/grants", post(operator::grant))
        .route("/api/v1/machines/{name}/arm", post(operator::arm))
        .route(
            "/api/v1/machines/{name}/reinstall",
            post(operator::reinstall),
        )
        .route("/api/v1/machines/{name}/boot.pcap", get(network::recording))
        .route("/api/v1/leases", get(network::leases))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/export", get(operator::export))
        .route("/api/v1/appliance/reboot", post(operator::reboot))
        .route("/api/v1/appliance/poweroff", post(operator::power_off))
        // Monitoring.
        .route("/metrics", get(metrics::page))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(harden))
        .with_state(context)
}

/// What browsers are told about every answer: only our own scripts and styles, in no frame.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                  img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}
