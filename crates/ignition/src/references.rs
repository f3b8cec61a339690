//! `ignition.config.merge` and `.replace`: other configs, fetched and put in their places; and the
//! certificate authorities that fetching needs.
//!
//! As Ignition's fetch stage does it:
//!
//! - A replacement takes the place of the whole config that names it, and is resolved itself.
//! - Configs to merge are taken in order, each resolved (depth first) and then merged in.
//! - A config's timeouts, proxies and authorities are in force from the moment that it is read: a
//!   replacement's own, or those that merging has come to. A config without authorities leaves those
//!   in force that are; the authorities themselves are fetched under the ones before them.
//! - Hashes are of the unpacked bytes. A fetched config may be of any version that is accepted.
//!
//! Other than there, a fetched config that is empty is a refusal (Ignition drops the whole config
//! silently), and configs that name each other without an end are noticed.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256, Sha512};

use crate::config::{Config, Ignition, References, Resource};
use crate::data_url;
use crate::merge::merge;
use crate::operation::Fetching;
use crate::operations::{fetching, resource};
use crate::parse::parse;
use crate::report::{Problem, Report};
use crate::url::Url;

/// How deep configs may name each other.
const DEEPEST: usize = 16;
/// Configs that one machine's config may be made of.
const MOST: usize = 256;
/// Bytes of an unpacked config or of authorities.
const LARGEST: u64 = 64 << 20;

/// Fetches for [`compile`](crate::compile()).
pub trait Fetch {
    /// Fetches the bytes of a URL whose scheme is `http`, `https` or `tftp`.
    ///
    /// # Errors
    ///
    /// In words, for people: why the bytes are not there.
    fn fetch(&mut self, request: &Request<'_>) -> Result<Vec<u8>, String>;
}

/// What is to be fetched, and how.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Absolute.
    pub url: &'a str,
    /// Request headers, in order.
    pub headers: &'a [(String, String)],
    /// The timeouts, proxies and authorities in force.
    pub fetching: &'a Fetching,
    /// What it is for.
    pub purpose: Purpose,
}

/// What something is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A config to merge or to be replaced by.
    Config,
    /// Certificate authorities, PEM.
    Authorities,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// From where.
    pub url: String,
    /// What for.
    pub purpose: Purpose,
    /// SHA-256 of the unpacked bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// Where nothing may be fetched: refuses every URL.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFetch;

impl Fetch for NoFetch {
    fn fetch(&mut self, _request: &Request<'_>) -> Result<Vec<u8>, String> {
        Err("nothing is fetched here: only `data:` URLs are read".to_owned())
    }
}

/// Resolves the references of one machine's config, part by part.
pub(crate) struct Resolver<'a> {
    fetcher: &'a mut dyn Fetch,
    /// What is in force.
    settings: Fetching,
    /// Authorities by their source.
    authorities: BTreeMap<String, String>,
    pub(crate) fetched: Vec<Fetched>,
    /// Minor version of the newest spec that a fetched config is written in.
    pub(crate) newest_minor: u8,
    /// Of fetched configs.
    pub(crate) warnings: Vec<Problem>,
    configs: usize,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(fetcher: &'a mut dyn Fetch) -> Self {
        Self {
            fetcher,
            settings: Fetching::default(),
            authorities: BTreeMap::new(),
            fetched: Vec::new(),
            newest_minor: 0,
            warnings: Vec::new(),
            configs: 0,
        }
    }

    /// Puts a config's timeouts, proxies and authorities in force.
    pub(crate) fn adopt(&mut self, ignition: &Ignition) -> Result<(), Report> {
        let mut problems = Vec::new();
        let before = self.settings.authorities.clone();
        self.settings = fetching::settings(ignition, before, &mut problems);
        if !problems.is_empty() {
            return Err(problems.into());
        }
        let named = &ignition.security.tls.certificate_authorities;
        let mut fetched = Vec::new();
        for (index, authority) in named.iter().enumerate() {
            let at = format!("$.ignition.security.tls.certificateAuthorities.{index}");
            fetched.push(self.authority(authority, &at)?);
        }
        if !fetched.is_empty() {
            self.settings.authorities = fetched;
        }
        Ok(())
    }

    /// The config without references: what it names is merged in, or has taken its place.
    pub(crate) fn resolve(&mut self, config: Config, depth: usize) -> Result<Config, Report> {
        let References {
            merge: children,
            replace,
        } = config.ignition.config.clone();
        if replace.source.is_some() {
            let at = "$.ignition.config.replace";
            let replacement = self.config(&replace, at, depth)?;
            let name = name(&replace);
            let in_file = |report: Report| report.in_file(&name);
            self.adopt(&replacement.ignition).map_err(in_file)?;
            return self.resolve(replacement, depth + 1).map_err(in_file);
        }
        let mut merged = config;
        for (index, reference) in children.iter().enumerate() {
            let at = format!("$.ignition.config.merge.{index}");
            let child = self.config(reference, &at, depth)?;
            let name = name(reference);
            let in_file = |report: Report| report.in_file(&name);
            self.adopt(&merge(&merged, &child).ignition)
                .map_err(in_file)?;
            let child = self.resolve(child, depth + 1).map_err(in_file)?;
            merged = merge(&merged, &child);
        }
        merged.ignition.config = References::default();
        Ok(merged)
    }

    /// Puts the authorities' own text in the place of their URLs, as Ignition keeps them, and gives
    /// them back.
    pub(crate) fn keep_authorities(&mut self, config: &mut Config) -> Result<Vec<String>, Report> {
        self.adopt(&config.ignition)?;
        let named = &mut config.ignition.security.tls.certificate_authorities;
        if named.is_empty() {
            return Ok(Vec::new());
        }
        for authority in named {
            let source = authority.source.as_deref().unwrap_or_default();
            if let Some(text) = self.authorities.get(source) {
                authority.source = Some(data_url::encode(text.as_bytes()));
                authority.http_headers.clear();
                authority.compression = None;
            }
        }
        Ok(self.settings.authorities.clone())
    }

    fn config(&mut self, reference: &Resource, at: &str, depth: usize) -> Result<Config, Report> {
        let refuse = |message: String| Report::from(Problem::error(at, message));
        self.configs += 1;
        if depth >= DEEPEST || self.configs > MOST {
            let name = name(reference);
            return Err(refuse(format!(
                "configs name each other without an end, at last {name}: at most {DEEPEST} deep and \
                 {MOST} in all are read"
            )));
        }
        let bytes = self
            .bytes(reference, Purpose::Config)
            .map_err(|cause| refuse(format!("reading {}: {cause}", name(reference))))?;
        let parsed = parse(&bytes).map_err(|report| report.in_file(&name(reference)))?;
        self.newest_minor = self.newest_minor.max(parsed.minor);
        let warnings = Report::from(parsed.warnings).in_file(&name(reference));
        self.warnings.extend(warnings.problems);
        Ok(parsed.config)
    }

    fn authority(&mut self, authority: &Resource, at: &str) -> Result<String, Problem> {
        let source = authority.source.as_deref().unwrap_or_default();
        if let Some(text) = self.authorities.get(source) {
            return Ok(text.clone());
        }
        let refuse = |cause: String| {
            let name = name(authority);
            Problem::error(
                at,
                format!("reading the certificate authority {name}: {cause}"),
            )
        };
        let bytes = self
            .bytes(authority, Purpose::Authorities)
            .map_err(refuse)?;
        let text = String::from_utf8(bytes).ok().filter(|text| is_pem(text));
        let text = text.ok_or_else(|| refuse("it is no PEM certificate".to_owned()))?;
        self.authorities.insert(source.to_owned(), text.clone());
        Ok(text)
    }

    /// Fetches, unpacks and verifies.
    fn bytes(&mut self, reference: &Resource, purpose: Purpose) -> Result<Vec<u8>, String> {
        let source = reference.source.as_deref().unwrap_or_default();
        let scheme = Url::parse(source).map(|url| url.scheme);
        let (packed, is_fetched) = match scheme.as_deref() {
            None | Some("") => return Err("not a URL".to_owned()),
            Some("data") => (
                data_url::decode(source).map_err(|error| error.to_string())?,
                false,
            ),
            Some("http" | "https" | "tftp") => {
                let request = Request {
                    url: source,
                    headers: &resource::headers(reference),
                    fetching: &self.settings,
                    purpose,
                };
                (self.fetcher.fetch(&request)?, true)
            }
            Some(scheme) => return Err(resource::refusal(scheme)),
        };
        let bytes = match reference.compression.as_deref() {
            Some("gzip") => unpack(&packed)?,
            _ => packed,
        };
        verify(reference.verification.hash.as_deref(), &bytes)?;
        if is_fetched {
            self.fetched.push(Fetched {
                url: without_password(source),
                purpose,
                sha256: hex(&Sha256::digest(&bytes)),
            });
        }
        Ok(bytes)
    }
}

/// What a reference is called in messages; a `data:` URL may hold secrets, and is long, and what stands
/// before an `@` is a password.
fn name(reference: &Resource) -> String {
    let source = reference.source.as_deref().unwrap_or_default();
    match source.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("data") => "a data URL".to_owned(),
        _ if source.is_empty() => "an empty source".to_owned(),
        _ => without_password(source),
    }
}

/// A URL without its user information (RFC 3986, section 3.2.1).
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = MultiGzDecoder::new(packed).take(LARGEST + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| format!("unpacking: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("unpacked, it is longer than {LARGEST} bytes"));
    }
    Ok(bytes)
}

fn verify(hash: Option<&str>, bytes: &[u8]) -> Result<(), String> {
    let Some((function, expected)) = hash.and_then(|hash| hash.split_once('-')) else {
        return Ok(());
    };
    let found = match function {
        "sha256" => hex(&Sha256::digest(bytes)),
        _ => hex(&Sha512::digest(bytes)),
    };
    if found != expected.to_ascii_lowercase() {
        return Err(format!(
            "it has the {function} {found}, and {expected} was expected"
        ));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text holds certificates (RFC 7468), as far as that shows without reading them.
fn is_pem(text: &str) -> bool {
    let mut blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1).peekable();
    let is_certificate = |block: &str| {
        let Some((base64, _)) = block.split_once("-----END CERTIFICATE-----") else {
            return false;
        };
        let base64: String = base64.split_whitespace().collect();
        // A DER sequence.
        STANDARD
            .decode(base64)
            .is_ok_and(|der| der.first() == Some(&0x30))
    };
    blocks.peek().is_some() && blocks.all(is_certificate)
}

#[cfg(test)]
#[path = "references_tests.rs"]
mod tests;
