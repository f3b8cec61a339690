//! Certificates of the TLS servers: made anew in every run, and put where the cases name upstream's.
//!
//! The cases name certificates whose keys are upstream's test data. Those keys are not needed: a case
//! that trusts the first of them is given our first authority instead, and the server that upstream
//! runs with it has a certificate by that authority. Hashes of what was replaced are replaced as well.

use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::corpus::Fixtures;

/// An authority, and a server that has a certificate by it for 127.0.0.1.
pub struct Authority {
    /// Its own certificate.
    pub pem: String,
    /// How the server speaks TLS.
    pub server: Arc<ServerConfig>,
}

/// Our two authorities in the place of upstream's two certificates.
pub struct Authorities {
    /// In upstream's order.
    pub authorities: [Authority; 2],
    replacements: Vec<(String, String)>,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let pem = parameters.self_signed(&key)?.pem();
        let issuer = Issuer::new(parameters, key);
        let server_key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = server.signed_by(&server_key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self {
            pem: pem.trim_end().to_owned(),
            server: Arc::new(server),
        })
    }
}

impl Authorities {
    /// New ones, for the certificates that the corpus names.
    pub fn new(fixtures: &Fixtures) -> Result<Self> {
        let make = |name| Authority::new(name).with_context(|| format!("making {name}"));
        let authorities = [make("first authority")?, make("second authority")?];
        let replacements = [&fixtures.public_key_pem, &fixtures.public_key2_pem]
            .into_iter()
            .zip(&authorities)
            .filter(|(old, _)| !old.trim().is_empty())
            .map(|(old, new)| (old.trim_end().to_owned(), new.pem.clone()))
            .collect();
        Ok(Self {
            authorities,
            replacements,
        })
    }

    /// Both, one after the other.
    pub fn bundle(&self) -> String {
        let [first, second] = &self.authorities;
        format!("{}\n{}", first.pem, second.pem)
    }

    /// A config in which upstream's certificates are ours, wherever they stand: as they are, or in data
    /// URLs, packed or not, in configs within data URLs as well. One without any stays as it is.
    pub fn rewrite(&self, config: &str) -> String {
        let config = self.replace_hashes(config);
        let mut parsed: Value = match serde_json::from_str(&config) {
            Ok(parsed) => parsed,
            Err(_) => return config,
        };
        match self.rewrite_value(&mut parsed) {
            true => parsed.to_string(),
            false => config,
        }
    }

    fn replace(&self, text: &str) -> String {
        let replaced = self.replacements.iter();
        replaced.fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    /// Hashes of what the HTTP server serves.
    fn replace_hashes(&self, config: &str) -> String {
        let old: Vec<&str> = self.replacements.iter().map(|(old, _)| &**old).collect();
        let mut config = config.to_owned();
        for text in [old.first(), old.get(1), Some(&&*old.join("\n"))]
            .into_iter()
            .flatten()
        {
            let new = self.replace(text);
            for hash in [sha256 as fn(&[u8]) -> String, sha512] {
                config = config.replace(&hash(text.as_bytes()), &hash(new.as_bytes()));
            }
        }
        config
    }

    fn rewrite_value(&self, value: &mut Value) -> bool {
        match value {
            Value::Array(items) => {
                let changed = items.iter_mut().map(|item| self.rewrite_value(item));
                changed.fold(false, |one, other| one | other)
            }
            Value::Object(members) => {
                let mut changed = false;
                for member in members.values_mut() {
                    changed |= self.rewrite_value(member);
                }
                let is_packed = members
                    .get("compression")
                    .is_some_and(|kind| kind == "gzip");
                let source = members.get("source").and_then(Value::as_str);
                if let Some((old, new)) = source.and_then(|url| self.rewrite_url(url, is_packed)) {
                    let data = if is_packed { gzip(&new) } else { new.clone() };
                    let url = format!("data:;base64,{}", STANDARD.encode(data));
                    members.insert("source".to_owned(), url.into());
                    if let Some(hash) = members
                        .get_mut("verification")
                        .and_then(|v| v.get_mut("hash"))
                    {
                        adjust(hash, &old, &new);
                    }
                    changed = true;
                }
                changed
            }
            Value::String(text) => {
                let new = self.replace(text);
                let changed = new != *text;
                *text = new;
                changed
            }
            _ => false,
        }
    }

    /// What a data URL holds, unpacked, before and after; nothing where it stays the same.
    fn rewrite_url(&self, url: &str, is_packed: bool) -> Option<(Vec<u8>, Vec<u8>)> {
        let old = data_of(url)?;
        let old = if is_packed { gunzip(&old)? } else { old };
        let text = std::str::from_utf8(&old).ok()?;
        let new = self.replace(text);
        let new = match new.trim_start().starts_with('{') {
            true => self.rewrite(&new),
            false => new,
        };
        let changed = new != text;
        changed.then(|| (old.clone(), new.into_bytes()))
    }
}

/// The bytes of a data URL (RFC 2397), as far as the corpus has them.
fn data_of(url: &str) -> Option<Vec<u8>> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    let mut bytes = Vec::new();
    let mut rest = data.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    match kind.ends_with(";base64") {
        true => STANDARD.decode(bytes).ok(),
        false => Some(bytes),
    }
}

/// A hash that was right stays right, and one that was wrong stays wrong.
fn adjust(hash: &mut Value, old: &[u8], new: &[u8]) {
    for (name, digest) in [
        ("sha256", sha256 as fn(&[u8]) -> String),
        ("sha512", sha512),
    ] {
        if *hash == format!("{name}-{}", digest(old)) {
            *hash = format!("{name}-{}", digest(new)).into();
            return;
        }
    }
}

/// Packs.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut unpacked).ok()?;
    Some(unpacked)
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn sha512(bytes: &[u8]) -> String {
    hexadecimal(&Sha512::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorities() -> Authorities {
        Authorities::new(&Fixtures {
            public_key_pem: "OLD ONE".to_owned(),
            public_key2_pem: "OLD TWO".to_owned(),
            ca_bundle_pem: "OLD ONE\nOLD TWO".to_owned(),
        })
        .unwrap()
    }

    fn content(config: &str) -> String {
        let parsed: Value = serde_json::from_str(config).unwrap();
        let bytes = data_of(parsed["a"]["source"].as_str().unwrap()).unwrap();
        let bytes = match parsed["a"]["compression"] == "gzip" {
            true => gunzip(&bytes).unwrap(),
            false => bytes,
        };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn certificates_are_replaced_in_every_packing() {
        let ours = authorities();
        let bundle = "OLD ONE\nOLD TWO\n";
        let nested = format!(
            r#"{{"a": {{"source": "data:,{}"}}}}"#,
            "OLD%20ONE%0AOLD%20TWO%0A"
        );
        for (source, extra, depth) in [
            ("data:,OLD%20ONE%0AOLD%20TWO%0A".to_owned(), "", 1),
            (format!("data:;base64,{}", STANDARD.encode(bundle)), "", 1),
            (
                format!("data:;base64,{}", STANDARD.encode(gzip(bundle.as_bytes()))),
                r#", "compression": "gzip""#,
                1,
            ),
            (format!("data:;base64,{}", STANDARD.encode(&nested)), "", 2),
        ] {
            let config = format!(r#"{{"a": {{"source": "{source}"{extra}}}}}"#);
            let mut text = content(&ours.rewrite(&config));
            if depth == 2 {
                text = content(&text);
            }
            assert_eq!(text, format!("{}\n", ours.bundle()), "{source}");
        }
    }

    #[test]
    fn right_hashes_stay_right_and_wrong_ones_wrong() {
        let ours = authorities();
        let config = format!(
            r#"{{"a": {{"source": "http://127.0.0.1:8080/caBundle", "hash": "sha512-{}"}}, "b": "sha256-00"}}"#,
            sha512(b"OLD ONE\nOLD TWO")
        );
        let rewritten = ours.rewrite(&config);
        assert!(
            rewritten.contains(&sha512(ours.bundle().as_bytes())),
            "{rewritten}"
        );
        assert!(rewritten.contains("sha256-00"));
        let mut hash = Value::from(format!("sha256-{}", sha256(b"one")));
        adjust(&mut hash, b"other", b"new");
        assert_eq!(hash, format!("sha256-{}", sha256(b"one")));
        adjust(&mut hash, b"one", b"new");
        assert_eq!(hash, format!("sha256-{}", sha256(b"new")));
    }

    #[test]
    fn a_config_without_certificates_is_left_alone() {
        let config = r#"{ "a" : 1.0,  "a": "data:,x", broken "#;
        assert_eq!(authorities().rewrite(config), config);
        let config = r#"{ "b": {"source": "data:,x"}, "a" : 1 }"#;
        assert_eq!(authorities().rewrite(config), config);
    }
}
