//! Content by reference → where the agent gets it from.

use super::Plan;
use crate::config::{self, Header};
use crate::data_url;
use crate::operation::{Compression, Resource, Source, Verification};
use crate::url::Url;

/// `None` when there is nothing to fetch, or when it was refused.
pub(super) fn convert(resource: &config::Resource, at: &str, plan: &mut Plan) -> Option<Resource> {
    let source = convert_source(resource, at, plan)?;
    let compression = match resource.compression.as_deref() {
        Some("gzip") => Compression::Gzip,
        _ => Compression::None,
    };
    let verification = match resource
        .verification
        .hash
        .as_deref()
        .map(|hash| hash.split_once('-'))
    {
        Some(Some(("sha256", digits))) => Some(Verification::Sha256(digits.to_ascii_lowercase())),
        Some(Some(("sha512", digits))) => Some(Verification::Sha512(digits.to_ascii_lowercase())),
        _ => None,
    };
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(Verification::Sha256(digits) | Verification::Sha512(digits)) = &verification
        && !is_hexadecimal(digits)
    {
        plan.refuse(
            format!("{at}.verification.hash"),
            "the hash is not hexadecimal",
        );
    }
    Some(Resource {
        source,
        compression,
        verification,
    })
}

fn convert_source(resource: &config::Resource, at: &str, plan: &mut Plan) -> Option<Source> {
    let text = resource.source.as_deref()?;
    if text.is_empty() {
        return Some(Source::Inline(Vec::new()));
    }
    let at = format!("{at}.source");
    match Url::parse(text).map(|url| url.scheme).as_deref() {
        Some("data") => match data_url::decode(text) {
            Ok(bytes) => Some(Source::Inline(bytes)),
            Err(error) => {
                plan.refuse(at, error.to_string());
                None
            }
        },
        Some("http") => {
            let with_value = |Header { name, value }: &Header| Some((name.clone(), value.clone()?));
            let headers = resource
                .http_headers
                .iter()
                .filter_map(with_value)
                .collect();
            Some(Source::Url {
                url: text.to_owned(),
                headers,
            })
        }
        Some(scheme) => {
            plan.refuse(
                at,
                format!("the agent does not fetch from {scheme} sources: data and http are"),
            );
            None
        }
        None => {
            plan.refuse(at, "not a URL");
            None
        }
    }
}
