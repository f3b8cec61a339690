//! What requests bring: JSON bodies and the operator's token.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::ApiError;
use crate::context::Context;
use crate::fleet::same_secret;

/// How long a client has for the whole body. The largest is a megabyte.
const PATIENCE: Duration = Duration::from_secs(30);

/// A JSON body, whatever its content type.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let bytes = timeout(PATIENCE, Bytes::from_request(request, context)).await;
        let bytes = bytes.map_err(|_| {
            let patience = PATIENCE.as_secs();
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {patience} s"),
            )
        })?;
        let bytes = bytes.map_err(|rejection| {
            ApiError::new(rejection.status(), format!("reading the body: {rejection}"))
        })?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not what this request takes: {error}"),
            )),
        }
    }
}

/// Proof that the request carries the operator's token.
pub struct Operator;

impl FromRequestParts<Context> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        let value = parts.headers.get(header::AUTHORIZATION);
        let token = value
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) if same_secret(token.trim(), &context.admin_token) => Ok(Self),
            Some(_) => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "this token is not the operator's",
            )),
            None => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "this needs the operator's token: Authorization: Bearer TOKEN; the appliance's \
                 console shows it",
            )),
        }
    }
}
