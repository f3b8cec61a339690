//! What is answered when something is refused or fails: always [`ErrorBody`].

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hardway_model::messages::ErrorBody;

/// A status and what went wrong.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// A refusal that names the way to mend it.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// How it is answered.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// While cluster.yaml is broken nobody is served; machines ask again.
    pub fn no_cluster() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "cluster.yaml is broken or missing: nobody is served until it is mended",
        )
    }

    /// No machine of this name is known.
    pub fn no_machine(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("no machine `{name}` is declared or was heard of"),
        )
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!("answering a request: {error:#}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.message,
        };
        (self.status, Json(body)).into_response()
    }
}
