//! A client of the appliance's API, for the lab.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hardway_model::messages::Time;
use hardway_model::view::{GrantRequest, MachineDetail, MachineView, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::interrupt;

const POLL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(15);

/// The API at one address.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Api {
    /// `base` is `http://HOST:PORT`; `token` is the operator's.
    pub fn new(base: String, token: String) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self { agent, base, token }
    }

    /// The address that it asks.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The appliance itself.
    pub fn status(&self) -> Result<Status> {
        self.get_json("/api/v1/status")
    }

    /// The rack table.
    pub fn machines(&self) -> Result<Vec<MachineView>> {
        self.get_json("/api/v1/machines")
    }

    /// One machine with its timeline.
    pub fn machine(&self, name: &str) -> Result<MachineDetail> {
        self.get_json(&format!("/api/v1/machines/{name}"))
    }

    /// The appliance's clock, in milliseconds since 1970-01-01 UTC.
    pub fn time(&self) -> Result<u64> {
        let time: Time = self.get_json("/agent/v1/time")?;
        Ok(time.unix_milliseconds)
    }

    /// Allows a machine's disk to be written once.
    pub fn grant_wipe(&self, name: &str) -> Result<()> {
        let path = format!("/api/v1/machines/{name}/grants");
        self.post(&path, &GrantRequest::default())
    }

    /// The same for one disk, by its id.
    pub fn grant_wipe_of(&self, name: &str, disk: &str) -> Result<()> {
        let path = format!("/api/v1/machines/{name}/grants");
        let disk = Some(disk.to_owned());
        self.post(&path, &GrantRequest { disk })
    }

    /// Has a machine installed again when it starts next.
    pub fn reinstall(&self, name: &str) -> Result<()> {
        self.post_for_text(&format!("/api/v1/machines/{name}/reinstall"), "")
            .map(|_| ())
    }

    /// What was said on the wire while a machine booted: a pcap file.
    pub fn recording(&self, name: &str) -> Result<Vec<u8>> {
        let path = format!("/api/v1/machines/{name}/boot.pcap");
        self.get(&path)
    }

    /// A page as a browser gets it.
    pub fn page(&self, path: &str) -> Result<String> {
        let body = self.get(path)?;
        String::from_utf8(body).with_context(|| format!("reading {}{path}", self.base))
    }

    /// Posts JSON and gives the answer's body; for services of installed machines.
    pub fn post_for_text(&self, path: &str, body: &str) -> Result<String> {
        let url = format!("{}{path}", self.base);
        let mut answer = self
            .agent
            .post(&url)
            .header("Content-Type", "application/json")
            .header("Authorization", format!("Bearer {}", self.token))
            .send(body)
            .with_context(|| format!("posting to {url}"))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("reading the answer of {url}"))?;
        ensure!(
            answer.status().is_success(),
            "{url} answers {}: {text}",
            answer.status()
        );
        Ok(text)
    }

    /// Asks one machine's details again and again until `holds`, and gives them. Errors of the
    /// connection are survived: the appliance may be starting, or be off for a while.
    pub fn wait_for(
        &self,
        name: &str,
        what: &str,
        patience: Duration,
        holds: impl Fn(&MachineDetail) -> bool,
    ) -> Result<MachineDetail> {
        let deadline = Instant::now() + patience;
        loop {
            interrupt::check()?;
            let answer = self.machine(name);
            let last = match answer {
                Ok(detail) if holds(&detail) => return Ok(detail),
                Ok(detail) => format!("it is {:?}", detail.machine.phase),
                Err(error) => format!("the API says: {error:#}"),
            };
            if Instant::now() > deadline {
                bail!(
                    "{name} is not {what} after {} s; {last}",
                    patience.as_secs()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// As an operator: recordings are shown to nobody else.
    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        let mut answer = self
            .agent
            .get(&url)
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .with_context(|| format!("fetching {url}"))?;
        let body = answer
            .body_mut()
            .read_to_vec()
            .with_context(|| format!("reading {url}"))?;
        ensure!(
            answer.status().is_success(),
            "{url} answers {}: {}",
            answer.status(),
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let body = self.page(path)?;
        serde_json::from_str(&body).with_context(|| format!("reading the answer of {path}: {body}"))
    }

    fn post(&self, path: &str, body: &impl Serialize) -> Result<()> {
        let body = serde_json::to_string(body).with_context(|| format!("encoding for {path}"))?;
        self.post_for_text(path, &body).map(|_| ())
    }
}
