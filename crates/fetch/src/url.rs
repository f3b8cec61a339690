//! URLs as far as fetching needs them (RFC 3986).

use std::fmt;

/// An absolute URL with an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Lower case.
    pub(crate) scheme: String,
    /// `user:password` as written, still escaped.
    pub(crate) user: Option<String>,
    /// Host name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// As written.
    pub(crate) port: Option<u16>,
    /// With the leading slash, escaped where a request needs it.
    pub(crate) path: String,
    /// Without the question mark.
    pub(crate) query: Option<String>,
}

impl Url {
    /// `None` for anything but an absolute URL with a host.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme)
        {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (user, host_and_port) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = split_port(host_and_port)?;
        if host.is_empty() || host.contains(|c: char| c.is_control() || c == ' ') {
            return None;
        }
        let (path, query) = split_query(rest);
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            user,
            host: host.to_ascii_lowercase(),
            port,
            path,
            query,
        })
    }

    /// What a `Location` leads to from here (RFC 3986, section 5.2).
    pub(crate) fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.split('#').next().unwrap_or_default();
        let mut joined = self.clone();
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme));
        }
        let before_path = reference.split(['/', '?']).next().unwrap_or_default();
        if before_path.contains(':') {
            return Self::parse(reference);
        }
        let (path, query) = split_query(reference);
        if reference.is_empty() {
            return Some(joined);
        }
        joined.query = query;
        if reference.starts_with('/') {
            joined.path = without_dots(&path);
        } else if !reference.starts_with('?') {
            let folder = self.path.rfind('/').map_or("", |end| &self.path[..end]);
            joined.path = without_dots(&format!("{folder}{path}"));
        }
        Some(joined)
    }

    /// The port that is connected to.
    pub(crate) fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(match self.scheme.as_str() {
            "https" => 443,
            "tftp" => 69,
            _ => 80,
        })
    }

    /// Path and query, as a request line has them (RFC 9112, section 3.2.1).
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Host and, where the URL names one, port, as a `Host` field has them.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.bracketed_host()),
            None => self.bracketed_host(),
        }
    }

    /// An IPv6 address in brackets, any other host as it is.
    pub(crate) fn bracketed_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// The path with its escapes resolved.
    pub(crate) fn plain_path(&self) -> Vec<u8> {
        unescape(&self.path)
    }

    /// User name and password with their escapes resolved, joined by a colon.
    pub(crate) fn credentials(&self) -> Option<Vec<u8>> {
        let user = self.user.as_deref()?;
        Some(if user.contains(':') {
            unescape(user)
        } else {
            unescape(&format!("{user}:"))
        })
    }
}

/// Without the user, who may be a secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.target())
    }
}

fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    match port {
        "" => Some((host, None)),
        digits => digits.parse().ok().map(|port| (host, Some(port))),
    }
}

/// The path, absolute, and the query; both escaped.
fn split_query(text: &str) -> (String, Option<String>) {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(escape(query))),
        None => (text, None),
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    (format!("{slash}{}", escape(path)), query)
}

/// Escapes what cannot stand in a request line; what is escaped already stays.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digit = |offset: usize| {
            let byte = bytes.get(index + offset)?;
            (*byte as char).to_digit(16)
        };
        match (bytes[index], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                index += 3;
            }
            (byte, ..) => {
                plain.push(byte);
                index += 1;
            }
        }
    }
    plain
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.into_iter().enumerate() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    parts.pop();
                }
                if index == last {
                    parts.push("");
                }
            }
            segment => parts.push(segment),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("HTTP://me:a%40b@[::1]:8080/a b/%C3%A9?q=ü#part").expect("a URL");
        assert_eq!(url.scheme, "http");
        assert_eq!(url.credentials().as_deref(), Some(&b"me:a@b"[..]));
        assert_eq!(url.authority(), "[::1]:8080");
        assert_eq!(url.target(), "/a%20b/%C3%A9?q=%C3%BC");
        assert_eq!(url.plain_path(), "/a b/é".as_bytes());
        assert_eq!(url.to_string(), "http://[::1]:8080/a%20b/%C3%A9?q=%C3%BC");
        for (text, port) in [
            ("http://a", 80),
            ("https://a?b", 443),
            ("tftp://a/f", 69),
            ("http://a:1", 1),
        ] {
            assert_eq!(
                Url::parse(text).map(|url| url.port_or_default()),
                Some(port),
                "{text}"
            );
        }
        for text in [
            "",
            "a",
            "/a",
            "http:/a",
            "http://",
            "http://:80/",
            "http://a:b/",
            "http://a:99999/",
            "http://a b/",
            "1http://a/",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_location_is_absolute_or_relative() {
        let base = Url::parse("http://a:1/b/c/d?q").expect("a URL");
        for (location, expected) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z", "http://a:1/y?z"),
            ("y", "http://a:1/b/c/y"),
            ("./y/", "http://a:1/b/c/y/"),
            ("../y", "http://a:1/b/y"),
            ("../../../..", "http://a:1/"),
            ("?z", "http://a:1/b/c/d?z"),
            ("", "http://a:1/b/c/d?q"),
        ] {
            let joined = base.join(location).map(|url| url.to_string());
            assert_eq!(joined.as_deref(), Some(expected), "{location}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, tail in "[a-z%:/?@\\[\\].]{0,20}") {
            let _ = Url::parse(&text);
            let base = Url::parse(&format!("http://{tail}"));
            if let Some(url) = base {
                let _ = (url.join(&text), url.join(&tail), url.plain_path(), url.credentials());
            }
        }
    }
}
