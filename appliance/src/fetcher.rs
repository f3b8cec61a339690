//! Fetches what Ignition configs name: other configs, and certificate authorities.
//!
//! It blocks, like the compiling that it is for: the appliance compiles in blocking tasks.

use std::time::{Duration, Instant};

use hardway_fetch::Fetcher;
use hardway_ignition::butane::LocalFiles;
use hardway_ignition::operation::Fetching;
use hardway_ignition::{Compiled, Fetch, Part, Problem, Report, Request};

/// For everything that one machine's config fetches. The agent waits 20 s for an answer of the
/// appliance, and a config without a total would otherwise be tried forever; what does not come within
/// this time is a refusal on the machine's timeline, and the agent asks again.
const LONGEST: Duration = Duration::from_secs(15);
/// Bytes of one config as it comes over the wire.
const LARGEST: u64 = 16 << 20;

/// Compiles a machine's parts with what they name fetched over the network of this machine.
///
/// # Errors
///
/// As [`hardway_ignition::compile()`], and certificate authorities that are none.
pub fn compile(
    parts: &[Part],
    files: &dyn LocalFiles,
    mut fetcher: NetworkFetcher,
) -> Result<Compiled, Report> {
    let compiled = hardway_ignition::compile(parts, files, &mut fetcher)?;
    let fetching = Fetching {
        authorities: compiled.authorities.clone(),
        ..Fetching::default()
    };
    match Fetcher::new(&fetching) {
        Ok(_) => Ok(compiled),
        Err(error) => {
            let path = "$.ignition.security.tls.certificateAuthorities";
            Err(Problem::error(path, error.to_string()).into())
        }
    }
}

/// Fetches over the network of this machine.
pub struct NetworkFetcher {
    end: Option<Instant>,
}

impl NetworkFetcher {
    /// For the appliance: all of its fetches together end within 15 s, whatever the config says.
    pub fn bounded() -> Self {
        Self {
            end: Some(Instant::now() + LONGEST),
        }
    }

    /// For the command line: as the config says, without an end where it says nothing. Attempts that
    /// are repeated are told on standard error.
    pub fn exact() -> Self {
        Self { end: None }
    }

    fn fetcher(&self, fetching: &Fetching) -> Result<Fetcher, String> {
        let fetcher = Fetcher::new(fetching).map_err(|error| error.to_string())?;
        let Some(end) = self.end else {
            return Ok(fetcher.telling(|failure, pause| {
                eprintln!("{failure}; trying again in {pause:?}");
            }));
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = LONGEST.as_secs();
            return Err(format!(
                "what the config names takes longer than {seconds} s, which is as long as the agent waits"
            ));
        }
        Ok(fetcher.giving_up_after(left).telling(|failure, pause| {
            tracing::debug!("{failure}; trying again in {pause:?}");
        }))
    }
}

impl Fetch for NetworkFetcher {
    fn fetch(&mut self, request: &Request<'_>) -> Result<Vec<u8>, String> {
        self.fetcher(request.fetching)?
            .fetch(request.url, request.headers, LARGEST)
            .map_err(|error| {
                let text = error.to_string();
                // Whoever asks names the URL already.
                let cause = text.strip_prefix(&format!("{}: ", request.url));
                cause.map_or(text.clone(), str::to_owned)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use hardway_ignition::PartKind;
    use hardway_ignition::butane::NoLocalFiles;

    use super::*;

    fn part(text: &str) -> Part {
        Part {
            name: "base.ign".to_owned(),
            kind: PartKind::Ignition,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_config_over_http_is_merged_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let body =
                r#"{"ignition": {"version": "3.1.0"}, "passwd": {"groups": [{"name": "ops"}]}}"#;
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
            head.join("\n")
        });
        let text = format!(
            r#"{{"ignition": {{"version": "3.0.0", "config": {{"merge": [{{"source": "http://{address}/c"}}]}}}}}}"#
        );
        let compiled = compile(&[part(&text)], &NoLocalFiles, NetworkFetcher::bounded()).unwrap();
        assert_eq!(compiled.config.passwd.groups[0].name, "ops");
        assert!(compiled.json.contains(r#""version":"3.1.0""#));
        assert_eq!(compiled.fetched.len(), 1);
        let asked = server.join().unwrap();
        assert!(asked.contains("User-Agent: Ignition/"), "{asked}");
        assert!(asked.contains("version=3.6.0, */*;q=0.1"), "{asked}");
    }

    #[test]
    fn the_time_for_all_fetches_is_bounded() {
        let fetcher = NetworkFetcher {
            end: Some(Instant::now()),
        };
        let text = r#"{"ignition": {"version": "3.0.0", "config": {"replace": {"source": "http://127.0.0.1:1/"}}}}"#;
        let report = compile(&[part(text)], &NoLocalFiles, fetcher).unwrap_err();
        let expected = "base.ign: error: reading http://127.0.0.1:1/: what the config names takes \
            longer than 15 s, which is as long as the agent waits at $.ignition.config.replace";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn an_authority_that_is_none_is_refused_before_a_machine_needs_it() {
        // PEM of a DER sequence, but no certificate.
        let pem = "-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A";
        let text = format!(
            r#"{{"ignition": {{"version": "3.0.0", "security": {{"tls": {{"certificateAuthorities": [{{"source": "data:,{pem}"}}]}}}}}}}}"#
        );
        let outcome = compile(&[part(&text)], &NoLocalFiles, NetworkFetcher::bounded());
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "error: certificate authority 1 is no PEM certificate at \
             $.ignition.security.tls.certificateAuthorities"
        );
    }
}
