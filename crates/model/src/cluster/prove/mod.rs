//! Mirror → proven cluster. What is wrong becomes a problem, and the proof goes on with the rest, so
//! that every problem is found.

mod addresses;
mod boot_files;
mod links;
mod machines;
mod network;
mod profiles;

use super::diagnostics::Problems;
use super::raw::RawCluster;
use super::raw::read::Located;
use super::{Check, Cluster, Machine, template};

/// The version of the file's form that this program reads.
const VERSION: u64 = 1;

pub(super) fn cluster(raw: &Located<RawCluster>, problems: &mut Problems<'_>) -> Option<Cluster> {
    version(raw, problems);
    let file = &raw.value;
    let names = names(raw, problems);
    let network = file
        .network
        .required("network", "{address: 10.77.0.1/24}", raw, problems)
        .and_then(|network| network::network(network, problems));
    let images = profiles::images(file, problems);
    let profiles = profiles::profiles(file, network.as_ref(), problems);
    let machines = machines::machines(file, network.as_ref(), &profiles, problems);
    let checks = checks(file, problems);
    let (name, domain) = names?;
    let cluster = Cluster {
        name,
        domain,
        network: network?,
        images,
        profiles,
        machines,
        unknown: file.unknown.value().copied().unwrap_or_default(),
        checks,
    };
    try_check_templates(file, &cluster, problems);
    Some(cluster)
}

fn version(raw: &Located<RawCluster>, problems: &mut Problems<'_>) {
    let version = raw.value.version.required("version", "1", raw, problems);
    if let Some(version) = version.filter(|version| version.value != VERSION) {
        let message = format!("version {} is not known to this program", version.value);
        let help = format!("it reads version {VERSION}; a newer `hardway` may read more");
        version.complain(problems, message, help);
    }
}

fn names(raw: &Located<RawCluster>, problems: &mut Problems<'_>) -> Option<(String, String)> {
    let names = raw
        .value
        .cluster
        .required("cluster", "{name: lab}", raw, problems)?;
    let name = names.value.name.required("name", "lab", names, problems);
    let name = name.filter(|name| is_host_name(name, problems));
    let domain = names.value.domain.given();
    if let Some(domain) = domain
        && !is_domain(&domain.value)
    {
        let message = format!("`{}` is not a domain name", domain.value);
        let help =
            "lower-case letters, digits and hyphens, parts with dots between, as lab.internal";
        domain.complain(problems, message, help);
    }
    let name = name?.value.clone();
    let domain = match domain {
        Some(domain) => domain.value.clone(),
        None => format!("{name}.internal"),
    };
    Some((name, domain))
}

/// Whether it is one label of a host name (RFC 1123, 2.1), lower case.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_host_name(name: &Located<String>, problems: &mut Problems<'_>) -> bool {
    let good = is_label(&name.value);
    if !good {
        let message = format!("`{}` is not a host name", name.value);
        let help = "at most 63 lower-case letters, digits and hyphens, no hyphen at either end";
        name.complain(problems, message, help);
    }
    good
}

fn checks(file: &RawCluster, problems: &mut Problems<'_>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for raw in file.checks.value().into_iter().flatten() {
        let check = &raw.value;
        let name = check.name.required("name", "etcd", raw, problems);
        let profile = check.profile.required("profile", "etcd", raw, problems);
        let profile = profile.filter(|profile| profiles::is_profile(profile, file, problems));
        let example = "http://{{ machine.address }}:2379/health";
        let http = check.http.required("http", example, raw, problems);
        if let Some(name) = name
            && let Some(profile) = profile
            && let Some(http) = http
        {
            let is_repeated =
                |other: &Check| other.name == name.value && other.profile == profile.value;
            if checks.iter().any(is_repeated) {
                let message = format!("check `{}` is declared twice", name.value);
                name.complain(problems, message, "give it another name");
            }
            checks.push(Check {
                name: name.value.clone(),
                profile: profile.value.clone(),
                http: http.value.clone(),
                contains: check.contains.value().cloned(),
            });
        }
    }
    checks
}

/// Renders every check for every machine that it asks: a mistake shows here, not in the rack.
fn try_check_templates(file: &RawCluster, cluster: &Cluster, problems: &mut Problems<'_>) {
    for raw in file.checks.value().into_iter().flatten() {
        let Some(http) = raw.value.http.given() else {
            continue;
        };
        let profile = raw.value.profile.value();
        let asked = |machine: &&Machine| Some(&machine.profile) == profile;
        let rendered = cluster
            .machines
            .iter()
            .filter(asked)
            .map(|machine| template::render(&http.value, "http", cluster, machine))
            .find(|rendered| !matches!(rendered, Ok(url) if url.starts_with("http://")));
        match rendered {
            None => {}
            Some(Ok(url)) => {
                let message = format!("`{url}` is no URL that can be asked");
                http.complain(problems, message, "it has to begin with http://");
            }
            Some(Err(error)) => {
                let help = "a template sees `cluster`, `network`, `machine`, `peers` and `vars`";
                http.complain(problems, error.message, help);
            }
        }
    }
}
