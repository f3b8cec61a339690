//! Content by reference → where the agent gets it from.

use super::Plan;
use crate::config::{self, Header};
use crate::data_url;
use crate::operation::{Compression, Resource, Source, Verification};
use crate::url::Url;

/// `None` when there is nothing to fetch, or when it was refused.
pub(super) fn convert(resource: &config::Resource, at: &str, plan: &mut Plan) -> Option<Resource> {
    if resource.source.as_deref() == Some("") {
        // Nothing: it is neither unpacked nor checked.
        return Some(Resource {
            source: Source::Inline(Vec::new()),
            compression: Compression::None,
            verification: None,
        });
    }
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
    let at = format!("{at}.source");
    match Url::parse(text).map(|url| url.scheme).as_deref() {
        Some("data") => match data_url::decode(text) {
            Ok(bytes) => Some(Source::Inline(bytes)),
            Err(error) => {
                plan.refuse(at, error.to_string());
                None
            }
        },
        Some("http" | "https" | "tftp") => Some(Source::Url {
            url: text.to_owned(),
            headers: headers(resource),
        }),
        Some(scheme) => {
            plan.refuse(at, refusal(scheme));
            None
        }
        None => {
            plan.refuse(at, "not a URL");
            None
        }
    }
}

/// The headers that a request has; one without a value is none.
pub(crate) fn headers(resource: &config::Resource) -> Vec<(String, String)> {
    let with_value = |Header { name, value }: &Header| Some((name.clone(), value.clone()?));
    let headers = resource.http_headers.iter();
    headers.filter_map(with_value).collect()
}

/// Why nothing is fetched from a scheme, and what to do instead.
pub(crate) fn refusal(scheme: &str) -> String {
    match scheme {
        "s3" | "gs" | "arn" => format!(
            "{scheme} sources are not fetched, for lack of a cloud's credentials: name an http or \
             https URL of the same object, or put the content into the config"
        ),
        scheme => format!("scheme `{scheme}` is not fetched from: data, http, https and tftp are"),
    }
}
