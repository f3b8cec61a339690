//! How the agent fetches: timeouts, proxies, certificate authorities.

use super::{Circumstances, Plan};
use crate::config::{Config, Ignition};
use crate::operation::Fetching;
use crate::report::Problem;

pub(super) fn convert(
    config: &Config,
    circumstances: &Circumstances<'_>,
    plan: &mut Plan,
) -> Fetching {
    let ignition = &config.ignition;
    refuse_references(config, plan);
    let named = &ignition.security.tls.certificate_authorities;
    if !named.is_empty() && circumstances.authorities.is_empty() && circumstances.hardware.is_some()
    {
        let path = "$.ignition.security.tls.certificateAuthorities";
        plan.refuse(path, "the certificate authorities have not been fetched");
    }
    settings(
        ignition,
        circumstances.authorities.clone(),
        &mut plan.problems,
    )
}

/// What a config says of fetching; its authorities are fetched already.
pub(crate) fn settings(
    ignition: &Ignition,
    authorities: Vec<String>,
    problems: &mut Vec<Problem>,
) -> Fetching {
    let usual = Fetching::default();
    let mut seconds = |given: Option<i64>, key: &str, usual: u32| match given.map(u32::try_from) {
        None => usual,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => {
            let path = format!("$.ignition.timeouts.{key}");
            let message = "a number of seconds is expected; 0 is no limit";
            problems.push(Problem::error(path, message));
            usual
        }
    };
    let timeouts = &ignition.timeouts;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Fetching {
        response_headers: seconds(
            timeouts.http_response_headers,
            "httpResponseHeaders",
            usual.response_headers,
        ),
        total: seconds(timeouts.http_total, "httpTotal", usual.total),
        authorities,
        http_proxy: given(&ignition.proxy.http_proxy),
        https_proxy: given(&ignition.proxy.https_proxy),
        no_proxy: ignition.proxy.no_proxy.clone(),
    }
}

/// Other configs are merged in before a config comes here.
fn refuse_references(config: &Config, plan: &mut Plan) {
    let references = &config.ignition.config;
    if !references.merge.is_empty() {
        let path = "$.ignition.config.merge";
        plan.refuse(path, "these configs have not been merged in");
    }
    let replacement = references.replace.source.as_deref().unwrap_or_default();
    if !replacement.is_empty() {
        let path = "$.ignition.config.replace";
        plan.refuse(
            path,
            "this config has not been put in place of the one that names it",
        );
    }
}
