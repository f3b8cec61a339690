//! Which Debian mirror this machine uses, read from its own apt sources.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Where Debian's packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The archive.
    pub archive: String,
    /// The archive of security updates, if the machine uses one.
    pub security: Option<String>,
}

impl Mirror {
    /// The lines of a sources.list for one suite.
    pub fn sources(&self, suite: &str, keyring: &str) -> String {
        let mut text = format!("deb [signed-by={keyring}] {} {suite} main\n", self.archive);
        if let Some(security) = &self.security {
            text += &format!("deb [signed-by={keyring}] {security} {suite}-security main\n");
        }
        text
    }
}

/// The mirror that the machine's own sources name.
pub fn of_this_machine() -> Result<Mirror> {
    let mut texts = Vec::new();
    let folder = Path::new("/etc/apt/sources.list.d");
    let listed = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut paths: Vec<_> = listed.chain(["/etc/apt/sources.list".into()]).collect();
    paths.sort();
    for path in paths {
        let deb822 = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => true,
            Some("list") => false,
            _ => continue,
        };
        texts.push((deb822, fs::read_to_string(&path).unwrap_or_default()));
    }
    find(texts.iter().map(|(deb822, text)| (*deb822, text.as_str())))
        .context("the machine's apt sources name no Debian mirror: name one with --mirror URL")
}

/// One line or stanza: an address and a suite on it.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
}

/// Finds Debian among sources, each with whether it is in the deb822 format.
fn find<'a>(texts: impl Iterator<Item = (bool, &'a str)>) -> Option<Mirror> {
    let sources: Vec<Source> = texts
        .flat_map(|(deb822, text)| if deb822 { stanzas(text) } else { lines(text) })
        .collect();
    let is_security = |source: &Source| {
        source.uri.contains("debian-security") || source.suite.ends_with("-security")
    };
    // Other vendors' archives name Debian's suites too; Debian's own is the one under /debian.
    let is_debian = |source: &Source| source.uri.ends_with("/debian");
    let archive = sources
        .iter()
        .find(|source| is_debian(source) && !is_security(source))?
        .uri
        .clone();
    let security = sources
        .iter()
        .find(|source| is_security(source) && source.uri.contains("debian"))
        .map(|source| source.uri.clone());
    Some(Mirror { archive, security })
}

/// `Types: deb` stanzas, one [`Source`] for each address and suite.
fn stanzas(text: &str) -> Vec<Source> {
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut found = Vec::new();
    for stanza in without_comments.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let pairs = stanza.iter().filter_map(|line| line.split_once(':'));
            pairs
                .into_iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map_or("", |(_, value)| value.trim())
        };
        if field("Enabled").eq_ignore_ascii_case("no")
            || !field("Types").split_whitespace().any(|kind| kind == "deb")
        {
            continue;
        }
        for uri in field("URIs").split_whitespace() {
            found.extend(
                field("Suites")
                    .split_whitespace()
                    .map(|suite| source(uri, suite)),
            );
        }
    }
    found
}

/// `deb [options] uri suite components` lines.
fn lines(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = rest.trim_start();
        let rest = if rest.starts_with('[') {
            rest.split_once(']').map_or("", |(_, rest)| rest)
        } else {
            rest
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            found.push(source(uri, suite));
        }
    }
    found
}

fn source(uri: &str, suite: &str) -> Source {
    Source {
        uri: uri.trim_end_matches('/').to_owned(),
        suite: suite.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[(bool, &str)], expected: Option<(&str, Option<&str>)>) {
        let found = find(texts.iter().copied());
        let expected = expected.map(|(archive, security)| Mirror {
            archive: archive.into(),
            security: security.map(Into::into),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb\n# an older snapshot\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n";
        check(
            &[(true, text)],
            Some((
                "http://mirror.example/debian",
                Some("http://mirror.example/debian-security"),
            )),
        );
    }

    #[test]
    fn one_line_sources() {
        let text = "# deb http://old.example/debian sid main\ndeb [arch=amd64 signed-by=/x] https://mirror.example/debian trixie main contrib\n\
                    deb https://security.example/debian-security trixie-security main\ndeb-src https://source.example/debian trixie main\n";
        check(
            &[(false, text)],
            Some((
                "https://mirror.example/debian",
                Some("https://security.example/debian-security"),
            )),
        );
    }

    #[test]
    fn disabled_source_only_and_foreign_ones_do_not_count() {
        check(
            &[
                (
                    true,
                    "Types: deb\nEnabled: no\nURIs: http://a.example/debian\nSuites: sid\n",
                ),
                (
                    true,
                    "Types: deb-src\nURIs: http://b.example/debian\nSuites: sid\n",
                ),
                (false, "deb https://vendor.example/apt tool-bookworm main\n"),
                (
                    false,
                    "deb http://archive.example/ubuntu noble main\ndeb http://security.example/ubuntu noble-security main\n",
                ),
            ],
            None,
        );
    }

    #[test]
    fn sources_name_the_keyring() {
        let mirror = Mirror {
            archive: "http://m.example/debian".into(),
            security: Some("http://s.example/debian-security".into()),
        };
        assert_eq!(
            mirror.sources("trixie", "/k.gpg"),
            "deb [signed-by=/k.gpg] http://m.example/debian trixie main\n\
             deb [signed-by=/k.gpg] http://s.example/debian-security trixie-security main\n"
        );
    }
}
