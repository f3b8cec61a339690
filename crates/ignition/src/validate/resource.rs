//! Content by reference: its source, headers, compression and hash.

use super::{Problems, is_given};
use crate::config::{Header, Resource};
use crate::data_url;
use crate::url::Url;

/// A resource that has to name a source.
pub(super) fn check_required(resource: &Resource, path: &str, problems: &mut Problems) {
    if !is_given(&resource.source) {
        problems.error(path, "a source is required");
    }
    check(resource, path, problems);
}

pub(super) fn check(resource: &Resource, path: &str, problems: &mut Problems) {
    let compression = resource.compression.as_deref().unwrap_or_default();
    if !matches!(compression, "" | "gzip") {
        let message = format!("unknown compression `{compression}`: `gzip` is known");
        problems.error(format!("{path}.compression"), message);
    }
    check_hash(resource, &format!("{path}.verification.hash"), problems);
    check_source(resource, &format!("{path}.source"), problems);
    check_headers(resource, path, problems);
}

fn check_hash(resource: &Resource, path: &str, problems: &mut Problems) {
    let Some(hash) = &resource.verification.hash else {
        return;
    };
    if resource.source.is_none() {
        problems.error(path, "a hash needs a source");
    }
    let Some((function, digits)) = hash.split_once('-').filter(|(_, rest)| !rest.contains('-'))
    else {
        problems.error(
            path,
            format!("hash `{hash}` is not of the form `sha512-DIGITS`"),
        );
        return;
    };
    let length = match function {
        "sha512" => 128,
        "sha256" if problems.minor >= 1 => 64,
        _ => {
            problems.error(path, format!("unknown hash function `{function}`"));
            return;
        }
    };
    if digits.len() != length {
        let message = format!("a {function} has {length} digits, not {}", digits.len());
        problems.error(path, message);
    }
}

fn check_source(resource: &Resource, path: &str, problems: &mut Problems) {
    let Some(source) = resource
        .source
        .as_deref()
        .filter(|source| !source.is_empty())
    else {
        return;
    };
    let Some(url) = Url::parse(source) else {
        problems.error(path, format!("`{source}` is not a URL"));
        return;
    };
    match url.scheme.as_str() {
        "http" | "https" | "tftp" => {}
        "gs" if problems.minor >= 2 => {}
        "s3" => check_version_id(&url, path, problems),
        "arn" if problems.minor >= 4 => check_arn(source, &url, path, problems),
        "data" => {
            if let Err(error) = data_url::decode(source) {
                problems.error(path, error.to_string());
            }
        }
        scheme => problems.error(path, format!("scheme `{scheme}` cannot be fetched from")),
    }
}

fn check_version_id(url: &Url, path: &str, problems: &mut Problems) {
    if url
        .query_value("versionId")
        .is_some_and(|version| version.is_empty())
    {
        problems.error(path, "`versionId` of the S3 object is empty");
    }
}

/// `arn:PARTITION:s3:REGION:ACCOUNT:RESOURCE`: a bucket with a key, or an access point with an object.
fn check_arn(source: &str, url: &Url, path: &str, problems: &mut Problems) {
    let plain = source.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = plain.splitn(6, ':').collect();
    let valid = match parts.as_slice() {
        ["arn", _, "s3", _, _, resource] => match resource.strip_prefix("accesspoint/") {
            Some(rest) => has_two_parts(rest),
            None => has_two_parts(resource),
        },
        _ => false,
    };
    if !valid {
        problems.error(path, "not an ARN of an S3 object");
    }
    check_version_id(url, path, problems);
}

/// A bucket or access point, a slash, and a key.
fn has_two_parts(resource: &str) -> bool {
    resource
        .split_once('/')
        .is_some_and(|(place, key)| !place.is_empty() && !key.is_empty())
}

fn check_headers(resource: &Resource, path: &str, problems: &mut Problems) {
    for (index, Header { name, .. }) in resource.http_headers.iter().enumerate() {
        if name.is_empty() {
            problems.error(
                format!("{path}.httpHeaders.{index}.name"),
                "a header needs a name",
            );
        }
    }
    if resource.http_headers.is_empty() {
        return;
    }
    let scheme = resource
        .source
        .as_deref()
        .and_then(Url::parse)
        .map(|url| url.scheme);
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        problems.error(
            format!("{path}.httpHeaders"),
            "headers go with http and https sources only",
        );
    }
}
