//! The servers that single upstream tests bring: proxies, slow ones, and ones that speak TLS.
//!
//! The corpus numbers them in the order of the upstream tests and says only whether they speak TLS. What
//! each does follows from the file that the case comes from, and where that file has several, from the
//! number or from what the config asks of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::corpus::Case;
use super::http::{Request, Response};

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// A proxy that has one config for every URL.
    Proxy,
    /// A proxy that is out of order.
    Unavailable,
    /// Speaks TLS with a certificate by the authority of this index, and serves a config.
    Tls(usize),
    /// Says nothing for so many seconds, then 200 without a body.
    Slow(u64),
    /// 500, unless nobody has asked for more than four seconds.
    Throttled,
    /// After two seconds a config that merges itself and allows one second for that.
    SlowMergingItself,
    /// At once a config that merges one which takes two seconds.
    MergingASlowOne,
}

/// Number of the server in the order of the upstream tests; only where the file has several.
const SLOW_IN_NEGATIVE_TIMEOUTS: usize = 8;
const MERGING_A_SLOW_ONE: usize = 10;

impl Behaviour {
    /// What `$testserverN` of a case does; `None`: not known.
    pub fn of(
        case: &Case,
        config: &str,
        number: usize,
        schemes: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let file = case.source_file.as_str();
        let is_in = |folder: &str| file.contains(folder);
        Some(if is_in("positive/proxy") {
            Self::Proxy
        } else if is_in("negative/proxy") {
            Self::Unavailable
        } else if is_in("/security") {
            Self::Tls(index_among_encrypted(number, schemes))
        } else if is_in("positive/timeouts") {
            match config.contains("httpResponseHeaders") {
                true => Self::Slow(11),
                false => Self::Throttled,
            }
        } else if is_in("negative/timeouts") {
            match number {
                SLOW_IN_NEGATIVE_TIMEOUTS => Self::Slow(2),
                MERGING_A_SLOW_ONE => Self::MergingASlowOne,
                _ if config.contains("\"files\"") => Self::Slow(2),
                _ => Self::SlowMergingItself,
            }
        } else {
            return None;
        })
    }
}

/// Each upstream file that tests TLS has two servers with neighbouring numbers, the first with the first
/// certificate.
fn index_among_encrypted(number: usize, schemes: &BTreeMap<String, String>) -> usize {
    let is_encrypted = |number: usize| {
        schemes
            .get(&format!("$testserver{number}"))
            .is_some_and(|scheme| scheme == "https")
    };
    let before = (0..number).rev().take_while(|number| is_encrypted(*number));
    before.count() % 2
}

/// A server that runs.
pub struct TestServer {
    behaviour: Behaviour,
    url: String,
    last: Mutex<Option<Instant>>,
}

impl TestServer {
    /// `url` is its own.
    pub fn new(behaviour: Behaviour, url: String) -> Self {
        Self {
            behaviour,
            url,
            last: Mutex::default(),
        }
    }

    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Response {
        let two_seconds = Duration::from_secs(2);
        match self.behaviour {
            Behaviour::Proxy => {
                Response::ok(config_with_file("/bar/foo", "example%20file%20proxy%0A"))
            }
            Behaviour::Unavailable => Response::status(503),
            Behaviour::Tls(0) => Response::ok(certified("/foo/bar", "example%20file%0A")),
            Behaviour::Tls(_) => Response::ok(certified("/foo/bar2", "example%20file2%0A")),
            Behaviour::Slow(seconds) => Response::status(200).after(Duration::from_secs(seconds)),
            Behaviour::Throttled => Response::status(self.throttle()),
            Behaviour::SlowMergingItself => {
                Response::ok(merging(&self.url, true)).after(two_seconds)
            }
            Behaviour::MergingASlowOne if request.target.ends_with("/slow") => {
                Response::ok(r#"{"ignition": {"version": "3.0.0"}}"#).after(two_seconds)
            }
            Behaviour::MergingASlowOne => {
                Response::ok(merging(&format!("{}/slow", self.url), false))
            }
        }
    }

    fn throttle(&self) -> u16 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_rested = last.is_some_and(|last| last.elapsed() > Duration::from_secs(4));
        *last = (!is_rested).then(Instant::now);
        if is_rested { 200 } else { 500 }
    }
}

fn config_with_file(path: &str, text: &str) -> String {
    serde_json::json!({
        "ignition": {"version": "3.0.0"},
        "storage": {"files": [{"path": path, "contents": {"source": format!("data:,{text}")}}]},
    })
    .to_string()
}

/// Compared byte for byte where a case writes it to a file, white space included.
fn certified(path: &str, text: &str) -> String {
    let lines = [
        "{".to_owned(),
        "\t\t\t\"ignition\": { \"version\": \"3.0.0\" },".to_owned(),
        "\t\t\t\"storage\": {".to_owned(),
        "\t\t\t\t\"files\": [{".to_owned(),
        format!("\t\t\t\t\t\"path\": \"{path}\","),
        format!("\t\t\t\t\t\"contents\": {{ \"source\": \"data:,{text}\" }}"),
        "\t\t\t\t}]".to_owned(),
        "\t\t\t}".to_owned(),
        "\t\t}".to_owned(),
    ];
    lines.join("\n")
}

fn merging(url: &str, is_impatient: bool) -> String {
    let mut config = serde_json::json!({
        "ignition": {"version": "3.0.0", "config": {"merge": [{"source": url}]}},
    });
    if is_impatient {
        config["ignition"]["timeouts"] =
            serde_json::json!({"httpResponseHeaders": 1, "httpTotal": 1});
    }
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(file: &str, config: &str, number: usize) -> Option<Behaviour> {
        let schemes = [(0, "http"), (1, "https"), (2, "https"), (3, "http")];
        let schemes =
            schemes.map(|(number, scheme)| (format!("$testserver{number}"), scheme.to_owned()));
        let case = Case {
            source_file: format!("tests/{file}"),
            ..Case::default()
        };
        Behaviour::of(&case, config, number, &schemes.into())
    }

    #[test]
    fn the_file_says_what_a_server_does() {
        use Behaviour::*;
        assert_eq!(behaviour("positive/proxy/http.go", "", 0), Some(Proxy));
        assert_eq!(
            behaviour("negative/proxy/http.go", "", 9),
            Some(Unavailable)
        );
        assert_eq!(behaviour("positive/security/tls.go", "", 1), Some(Tls(0)));
        assert_eq!(behaviour("positive/security/tls.go", "", 2), Some(Tls(1)));
        assert_eq!(
            behaviour("positive/timeouts/timeouts.go", "", 4),
            Some(Throttled)
        );
        let slow = behaviour("positive/timeouts/timeouts.go", "httpResponseHeaders", 3);
        assert_eq!(slow, Some(Slow(11)));
        assert_eq!(
            behaviour("negative/timeouts/timeouts.go", "", 9),
            Some(SlowMergingItself)
        );
        assert_eq!(behaviour("positive/files/file.go", "", 0), None);
    }

    #[test]
    fn a_throttled_server_wants_to_be_left_alone() {
        let server = TestServer::new(Behaviour::Throttled, String::new());
        assert_eq!(server.throttle(), 500);
        assert_eq!(server.throttle(), 500);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(5));
        *server.last.lock().unwrap() = long_ago;
        assert_eq!(
            server.throttle(),
            if long_ago.is_some() { 200 } else { 500 }
        );
    }
}
