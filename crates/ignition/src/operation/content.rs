//! Content: where it comes from, how it is packed, and how it is fetched.

use serde::{Deserialize, Serialize};

use super::Segment;

/// Content: where it comes from, how it is packed, what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Where it comes from.
    pub source: Source,
    /// How the bytes of the source are packed.
    #[serde(default)]
    pub compression: Compression,
    /// What the bytes, **after** decompression, have to hash to. A mismatch is a failure and leaves
    /// nothing at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

impl Resource {
    /// The part of the toolbox that fetching it needs.
    pub(super) fn toolbox(&self) -> Option<Segment> {
        self.has_scheme("https").then_some(Segment::Fetch)
    }

    /// Whether it is fetched through the proxy for `http` URLs, if there is one.
    pub(super) fn is_plain_http(&self) -> bool {
        self.has_scheme("http")
    }

    fn has_scheme(&self, wanted: &str) -> bool {
        match &self.source {
            Source::Url { url, .. } => is_of_scheme(url, wanted),
            Source::Inline(_) => false,
        }
    }
}

/// Where content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In the operation itself.
    Inline(#[serde(with = "base64_text")] Vec<u8>),
    /// Fetched over HTTP, HTTPS or TFTP, as [`Fetching`] says. A status of 500 and above and a failed
    /// connection are tried again (after 200 ms, doubling up to 5 s); 400 to 499 is final.
    Url {
        /// Absolute, scheme `http`, `https` or `tftp`.
        url: String,
        /// Request headers, in order; dropped when a redirect leads elsewhere.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
}

/// How content is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952); several members one after another are one stream.
    Gzip,
}

/// A hash that content has to have: lower-case hexadecimal of the full length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// SHA-256, 64 digits.
    Sha256(String),
    /// SHA-512, 128 digits.
    Sha512(String),
}

/// How content is fetched (`ignition.timeouts`, `.proxy`, `.security`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetching {
    /// Certificate authorities beside the usual ones, PEM, fetched already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// For `http` URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// For `https` URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    /// Hosts, domains, addresses and networks that are asked directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
    /// Seconds until an answer's headers are there; 0 is no limit.
    pub response_headers: u32,
    /// Seconds for a whole fetch, its repetitions included; 0 is no limit.
    #[serde(default)]
    pub total: u32,
}

impl Default for Fetching {
    fn default() -> Self {
        Self {
            authorities: Vec::new(),
            http_proxy: None,
            https_proxy: None,
            no_proxy: Vec::new(),
            response_headers: 10,
            total: 0,
        }
    }
}

impl Fetching {
    /// Whether `http` URLs are asked of a proxy over TLS.
    pub(super) fn has_encrypted_proxy(&self) -> bool {
        let proxy = self.http_proxy.as_deref();
        proxy.is_some_and(|proxy| is_of_scheme(proxy, "https"))
    }
}

fn is_of_scheme(url: &str, wanted: &str) -> bool {
    url.split_once(':')
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(wanted))
}

/// Bytes as standard base64 with padding, so that operations travel as JSON.
mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::operation::{File, Operation, Operations};

    use super::*;

    fn segments(url: &str, proxy: Option<&str>) -> Vec<Segment> {
        let source = Source::Url {
            url: url.to_owned(),
            headers: Vec::new(),
        };
        let contents = Resource {
            source,
            compression: Compression::None,
            verification: None,
        };
        let file = File {
            path: "/file".to_owned(),
            contents: Some(contents),
            append: Vec::new(),
            mode: None,
            user: None,
            group: None,
            overwrite: true,
        };
        let work = Operations {
            fetching: Fetching {
                http_proxy: proxy.map(str::to_owned),
                ..Fetching::default()
            },
            operations: vec![Operation::File(file)],
        };
        work.toolbox().into_iter().collect()
    }

    #[test]
    fn what_is_encrypted_needs_the_toolbox() {
        for (url, proxy, expected) in [
            ("http://a/b", None, &[][..]),
            ("HTTPS://a/b", None, &[Segment::Fetch]),
            ("http://a/b", Some("http://proxy"), &[]),
            ("http://a/b", Some("https://proxy"), &[Segment::Fetch]),
            ("tftp://a/b", Some("https://proxy"), &[]),
        ] {
            assert_eq!(segments(url, proxy), expected, "{url} by {proxy:?}");
        }
    }
}
