//! The appliance over HTTP: JSON there and back, files, and streams that start anywhere.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hardway_model::messages::ErrorBody;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long to wait for a connection, and for the first and each further piece of an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// No JSON or module is larger.
const LARGEST: u64 = 256 << 20;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// 403: the token is spent or unknown.
    #[error("the appliance refuses this boot's token: {0}")]
    Refused(String),
    /// Any other status but 2xx.
    #[error("{url} answers {status}: {cause}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The appliance's own words.
        cause: String,
    },
    /// The connection failed or broke.
    #[error("requesting {url}")]
    Transport {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// Another part of a resource than was asked for.
    #[error("{url} gives {found} bytes where {expected} were asked for")]
    Length {
        /// What was asked for.
        url: String,
        /// Bytes that were asked for.
        expected: u64,
        /// Bytes that came.
        found: usize,
    },
    /// It was not asked: what it was for has failed already.
    #[error("it is not wanted any more")]
    GivenUp,
    /// The answer is not what was agreed.
    #[error("reading the answer of {url}")]
    Decode {
        /// What was asked for.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl HttpError {
    /// Whether the same request may do better later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Length { .. } => true,
            Self::Refused(_) | Self::GivenUp | Self::Decode { .. } => false,
        }
    }
}

/// A body that arrives.
pub struct Stream {
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
    /// Where in the resource the first of them stands.
    pub offset: u64,
    /// The resource's whole length, when the server says so.
    pub total: Option<u64>,
}

/// One appliance, and the token of this boot.
#[derive(Clone)]
pub struct Appliance {
    messages: ureq::Agent,
    /// With connections of its own: the appliance serves files best on one that never carried a
    /// message.
    files: ureq::Agent,
    base: String,
    token: String,
    fetched: Arc<AtomicU64>,
}

impl Appliance {
    /// For the appliance at `base`, as `http://10.77.0.1`.
    pub fn new(base: &str, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_per_write(Some(PATIENCE))
            .user_agent(concat!("hardway-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            messages: config.new_agent(),
            files: config.new_agent(),
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            fetched: Arc::default(),
        }
    }

    /// This boot's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The appliance's address, as `http://10.77.0.1`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Bytes of all bodies fetched so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Fetches and decodes JSON from a path on the appliance.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        let bytes = self.get(path, &[])?;
        decode(&self.absolute(path), &bytes)
    }

    /// Fetches a whole body from a path on the appliance or an absolute URL.
    pub fn get(&self, url: &str, headers: &[(String, String)]) -> Result<Vec<u8>, HttpError> {
        let url = self.absolute(url);
        let request = headers
            .iter()
            .fold(self.files.get(&url), |request, (name, value)| {
                request.header(name, value)
            });
        self.body(&url, request.call())
    }

    /// Sends JSON to a path on the appliance, and gives back the answer's body.
    pub fn post<T: Serialize>(&self, path: &str, message: &T) -> Result<Vec<u8>, HttpError> {
        let url = self.absolute(path);
        let json = serde_json::to_vec(message).map_err(|source| HttpError::Decode {
            url: url.clone(),
            source,
        })?;
        let request = self
            .messages
            .post(&url)
            .header("content-type", "application/json");
        self.body(&url, request.send(&json[..]))
    }

    /// Sends JSON and decodes JSON.
    pub fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        message: &Q,
    ) -> Result<A, HttpError> {
        let bytes = self.post(path, message)?;
        decode(&self.absolute(path), &bytes)
    }

    /// Fetches a part of a resource on the appliance, in bytes.
    pub fn part(&self, path: &str, part: Range<u64>) -> Result<Vec<u8>, HttpError> {
        let url = self.absolute(path);
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let expected = part.end - part.start;
        let response = self.files.get(&url).header("range", range).call();
        // Whoever does not know ranges would send all of it.
        let bytes = self.body_of(&url, response, expected + 1)?;
        let found = bytes.len();
        match found as u64 == expected {
            true => Ok(bytes),
            false => Err(HttpError::Length {
                url,
                expected,
                found,
            }),
        }
    }

    /// Opens a resource at `offset`. The server may start earlier: see [`Stream::offset`].
    pub fn stream(&self, url: &str, offset: u64) -> Result<Stream, HttpError> {
        let url = self.absolute(url);
        let mut request = self.files.get(&url);
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        let response = checked(&url, request.call())?;
        let length = response.body().content_length();
        let offset = if response.status() == 206 { offset } else { 0 };
        Ok(Stream {
            reader: Box::new(response.into_body().into_reader()),
            offset,
            total: length.map(|length| offset + length),
        })
    }

    fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') {
            return format!("{}{url}", self.base);
        }
        url.to_owned()
    }

    fn body(&self, url: &str, response: Reply) -> Result<Vec<u8>, HttpError> {
        self.body_of(url, response, LARGEST)
    }

    fn body_of(&self, url: &str, response: Reply, most: u64) -> Result<Vec<u8>, HttpError> {
        let mut response = checked(url, response)?;
        let bytes = response
            .body_mut()
            .with_config()
            .limit(most)
            .read_to_vec()
            .map_err(|error| transport(url, error))?;
        self.fetched
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

type Reply = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn checked(url: &str, response: Reply) -> Result<ureq::http::Response<ureq::Body>, HttpError> {
    let mut response = response.map_err(|error| transport(url, error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let cause = serde_json::from_str::<ErrorBody>(&text).map_or(text, |body| body.error);
    Err(match status.as_u16() {
        403 => HttpError::Refused(cause),
        status => HttpError::Status {
            url: url.to_owned(),
            status,
            cause,
        },
    })
}

fn decode<T: DeserializeOwned>(url: &str, bytes: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(bytes).map_err(|source| HttpError::Decode {
        url: url.to_owned(),
        source,
    })
}

fn transport(url: &str, error: ureq::Error) -> HttpError {
    HttpError::Transport {
        url: url.to_owned(),
        source: Box::new(error),
    }
}
