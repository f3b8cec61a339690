//! URLs as Go's `net/url` takes them, as far as judging a config needs it: what it refuses is refused.

/// The parts of a URL that rules look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Lower case; empty when there is none.
    pub(crate) scheme: String,
    /// Without `?`.
    pub(crate) query: String,
}

impl Url {
    /// `None` where Go's `url.Parse` fails.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return None;
        }
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        if !is_escaped(fragment) {
            return None;
        }
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            let is_opaque = !scheme.is_empty();
            let first = rest.split('/').next().unwrap_or_default();
            // A relative reference whose first segment holds a colon reads like a scheme.
            if !is_opaque && first.contains(':') {
                return None;
            }
        } else if let Some(after) = rest.strip_prefix("//") {
            let end = after.find('/').unwrap_or(after.len());
            if !is_authority(&after[..end]) || !is_escaped(&after[end..]) {
                return None;
            }
        } else if !is_escaped(rest) {
            return None;
        }
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            query: query.to_owned(),
        })
    }

    /// The first value of a key in the query, as it stands there.
    pub(crate) fn query_value(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == key).then_some(value)
        })
    }
}

/// RFC 3986, section 3.1. Without a colon, or with one after other characters, there is no scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    for (index, character) in text.char_indices() {
        match character {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index == 0 => return None,
            ':' => return Some((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Some(("", text))
}

fn is_authority(authority: &str) -> bool {
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let valid = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !user.chars().all(valid) || !is_escaped(user) {
                return false;
            }
            host
        }
        None => authority,
    };
    let port = if host.starts_with('[') {
        let Some(end) = host.rfind(']') else {
            return false;
        };
        &host[end + 1..]
    } else {
        host.find(':').map_or("", |colon| &host[colon..])
    };
    let plain = &host[..host.len() - port.len()];
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let forbidden = |c: char| c == ' ' || "\\^`{|}".contains(c);
    is_port && !plain.contains(forbidden) && is_escaped(plain) && has_only_foreign_escapes(plain)
}

/// In a host, only bytes beyond ASCII may be escaped, and the `%25` before a zone of IPv6.
fn has_only_foreign_escapes(host: &str) -> bool {
    host.split('%').skip(1).all(|rest| {
        rest.starts_with(|digit| matches!(digit, '8' | '9' | 'a'..='f' | 'A'..='F'))
            || (host.starts_with('[') && rest.starts_with("25"))
    })
}

/// Whether every `%` is followed by two hexadecimal digits.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes().take(2);
        let hexadecimal = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        hexadecimal(digits.next()) && hexadecimal(digits.next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_and_refuses_what_go_does() {
        for (text, scheme) in [
            ("http://example.com:8080/a?b=c#d", Some("http")),
            ("HTTPS://user:pw@[::1]:1/", Some("https")),
            ("data:,a b%zz", Some("data")),
            ("bad://", Some("bad")),
            ("/just/a/path", Some("")),
            ("", Some("")),
            ("http://[::1]a", None),
            ("http://[::1", None),
            ("http://a:b/", None),
            ("http://a b/", None),
            ("http://a%41b/", None),
            ("http://a%C3%A9/", Some("http")),
            ("http://[::1%25eth0]/", Some("http")),
            ("http://[::1%eth0]/", None),
            ("http://a\"b'(c)/", Some("http")),
            ("http://a/?%zz", Some("http")),
            ("http://a/#%zz", None),
            ("http://a/%zz", None),
            (":x", None),
            ("1a:b", None),
            ("a\nb", None),
        ] {
            assert_eq!(
                Url::parse(text).map(|url| url.scheme).as_deref(),
                scheme,
                "{text:?}"
            );
        }
        let url = Url::parse("s3://b/k?x=1&versionId=").expect("a URL");
        assert_eq!(
            (url.query_value("versionId"), url.query_value("y")),
            (Some(""), None)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = Url::parse(&text);
        }
    }
}
