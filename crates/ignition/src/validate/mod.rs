//! What a config may say: the rules of the spec beyond the shape of the values.
//!
//! Every function here adds its problems to one list; nothing stops at the first.

mod disks;
mod duplicates;
pub(crate) mod files;
mod luks;
mod resource;
pub(crate) mod systemd;
mod unit_text;

use crate::config::{Config, Proxy};
use crate::report::Problem;
use crate::url::Url;

/// Judges a config by the rules of spec 3.`minor`.
pub(crate) fn validate(config: &Config, minor: u8) -> Vec<Problem> {
    let mut problems = Problems {
        minor,
        list: Vec::new(),
    };
    duplicates::check(config, &mut problems);
    let references = &config.ignition.config;
    for (index, reference) in references.merge.iter().enumerate() {
        resource::check_required(
            reference,
            &format!("$.ignition.config.merge.{index}"),
            &mut problems,
        );
    }
    resource::check(
        &references.replace,
        "$.ignition.config.replace",
        &mut problems,
    );
    let authorities = &config.ignition.security.tls.certificate_authorities;
    for (index, authority) in authorities.iter().enumerate() {
        let path = format!("$.ignition.security.tls.certificateAuthorities.{index}");
        resource::check_required(authority, &path, &mut problems);
    }
    check_proxy(&config.ignition.proxy, &mut problems);
    disks::check(&config.storage, &mut problems);
    luks::check(&config.storage.luks, &mut problems);
    files::check(&config.storage, &mut problems);
    systemd::check(config, &mut problems);
    problems.list
}

/// The problems so far, and the spec that is judged by.
pub(crate) struct Problems {
    /// Minor version of spec 3.
    minor: u8,
    list: Vec<Problem>,
}

impl Problems {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.list.push(Problem::error(path, message));
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.list.push(Problem::warning(path, message));
    }
}

fn check_proxy(proxy: &Proxy, problems: &mut Problems) {
    for (key, value) in [
        ("httpProxy", &proxy.http_proxy),
        ("httpsProxy", &proxy.https_proxy),
    ] {
        let Some(text) = value else { continue };
        let path = format!("$.ignition.proxy.{key}");
        match Url::parse(text) {
            None => problems.error(path, "not a URL"),
            Some(url) if url.scheme == "https" => {}
            Some(url) if url.scheme == "http" => {
                if key == "httpsProxy" {
                    problems.warning(path, "what goes over HTTPS passes this proxy in plain HTTP");
                }
            }
            Some(_) => problems.error(path, "a proxy has to be an http or https URL"),
        }
    }
}

/// An absolute path that is given.
fn check_path(path: &str, at: &str, problems: &mut Problems) {
    if path.is_empty() {
        problems.error(at, "a path is required");
    } else if !path.starts_with('/') {
        problems.error(at, format!("path `{path}` is not absolute"));
    } else if crate::paths::clean(path) != path {
        problems.error(at, format!("path `{path}` is not in its shortest form"));
    }
}

fn is_given(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}
