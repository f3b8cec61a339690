//! Speaks to an appliance.

use std::time::Duration;

use anyhow::Context as _;
use hardway_model::messages::ErrorBody;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read: an export of a large fleet.
const ANSWER: u64 = 1 << 30;

/// Which appliance, and by what right.
#[derive(Debug, Clone, clap::Args)]
pub struct Appliance {
    /// The appliance's address
    #[arg(
        long,
        env = "HARDWAY_URL",
        default_value = "http://127.0.0.1",
        global = true
    )]
    url: String,
    /// The operator's token, needed for writes; the appliance's console shows it
    #[arg(long, env = "HARDWAY_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// Print the API's JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
}

impl Appliance {
    /// Reads something.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let text = self.text(self.asked(path), path)?;
        serde_json::from_str(&text).with_context(|| format!("reading the answer to {path}"))
    }

    /// Reads something that is no text.
    pub fn get_bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.bytes(self.asked(path), path)
    }

    fn asked(&self, path: &str) -> Result<Response<ureq::Body>, ureq::Error> {
        let request = agent().get(self.address(path));
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        };
        request.call()
    }

    /// Asks for something to be done; the answer's text may be empty.
    pub fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<String> {
        let token = self.token.as_ref();
        let token = token.context("this needs the operator's token: --token or HARDWAY_TOKEN")?;
        let body = serde_json::to_vec(body).context("encoding the request")?;
        let request = agent()
            .post(self.address(path))
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json");
        self.text(request.send(&body[..]), path)
    }

    fn address(&self, path: &str) -> String {
        let url = self.url.trim_end_matches('/');
        // A bare address is what the appliance's console shows.
        let scheme = if url.contains("://") { "" } else { "http://" };
        format!("{scheme}{url}{path}")
    }

    fn text(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
        path: &str,
    ) -> anyhow::Result<String> {
        String::from_utf8(self.bytes(answer, path)?).context("reading the answer")
    }

    fn bytes(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
        path: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let mut response = answer.with_context(|| {
            let asked = self.address(path);
            format!("asking {asked} (--url or HARDWAY_URL says where the appliance is)")
        })?;
        let body = response.body_mut().with_config().limit(ANSWER);
        let bytes = body.read_to_vec().context("reading the answer")?;
        if response.status().is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => anyhow::bail!("{}", body.error),
            Err(_) => anyhow::bail!("{} answered {}", self.address(path), response.status()),
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_is_an_appliance() {
        for url in [
            "10.77.0.1:80",
            "http://10.77.0.1:80",
            "http://10.77.0.1:80/",
        ] {
            let appliance = Appliance {
                url: url.into(),
                token: None,
                json: false,
            };
            assert_eq!(appliance.address("/x"), "http://10.77.0.1:80/x", "{url}");
        }
    }
}
