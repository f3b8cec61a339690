//! Repetitions, redirects, and what ends them.

use std::io::{self, BufReader, Read};
use std::time::{Duration, Instant};

use hardway_ignition::operation::Fetching;

use crate::body::Framed;
use crate::error::FetchError;
use crate::http::{Answer, Request};
use crate::proxy;
use crate::tftp::Download;
use crate::tls::Trust;
use crate::url::Url;
use crate::wire::Wire;

/// What Ignition sends with every request. A configuration's headers of the same name take the place.
const USUAL_HEADERS: [(&str, &str); 3] = [
    (
        "Accept",
        "application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1",
    ),
    ("Accept-Encoding", "identity"),
    (
        "User-Agent",
        concat!("Ignition/2.26.0 (hardway ", env!("CARGO_PKG_VERSION"), ")"),
    ),
];
/// Headers that say how the message is framed or delivered: they are this program's own.
const OWN_HEADERS: [&str; 5] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "trailer",
];
/// Redirects that are followed.
const MOST_REDIRECTS: usize = 10;
/// Between the first attempt and the second; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Called before each repetition.
type Listener = Box<dyn Fn(&FetchError, Duration) + Send + Sync>;

/// Fetches URLs under one set of rules: proxies, authorities, timeouts.
pub struct Fetcher {
    fetching: Fetching,
    trust: Trust,
    /// For a whole fetch, whatever the configuration says.
    patience: Option<Duration>,
    listener: Listener,
}

impl Fetcher {
    /// A fetcher that follows a configuration's rules.
    ///
    /// # Errors
    ///
    /// [`FetchError::Authority`]: one of the authorities is no certificate (feature `tls` only).
    pub fn new(fetching: &Fetching) -> Result<Self, FetchError> {
        Ok(Self {
            trust: Trust::new(&fetching.authorities)?,
            fetching: fetching.clone(),
            patience: None,
            listener: Box::new(|_, _| {}),
        })
    }

    /// Gives up after `patience`, whatever the configuration says: without a total an HTTP fetch would
    /// be tried forever. Bounds each whole fetch, the body included, and TFTP's, which the
    /// configuration sets no time for.
    pub fn giving_up_after(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Calls `listener` with each failure that is followed by another attempt, and the pause before it.
    pub fn telling(
        mut self,
        listener: impl Fn(&FetchError, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// Asks for `url` (scheme `http`, `https` or `tftp`) and waits for the beginning of its body.
    ///
    /// Over HTTP, failed connections, late answers and statuses from 500 on are repeated, after 200 ms
    /// and doubling up to 5 s, until the time is up. `headers` go with `url` itself and not with what a
    /// redirect leads to; of several with one name the last counts.
    ///
    /// # Errors
    ///
    /// See [`FetchError`]. A body that breaks off is not repeated: it is an error of [`Body::read`].
    pub fn open(&self, url: &str, headers: &[(String, String)]) -> Result<Body, FetchError> {
        let unfit = || FetchError::Url {
            url: url.to_owned(),
        };
        let parsed = Url::parse(url).ok_or_else(unfit)?;
        match parsed.scheme.as_str() {
            "http" | "https" => {
                let headers = effective(url, headers)?;
                self.persist(&parsed, &headers)
            }
            "tftp" => {
                let end = self.patience.map(|patience| Instant::now() + patience);
                let download = Download::start(&parsed, end)?;
                Ok(Body(Source::Tftp(Box::new(download))))
            }
            _ => Err(unfit()),
        }
    }

    /// Fetches a whole body of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::open`]; [`FetchError::TooLong`]; a body that breaks off.
    pub fn fetch(
        &self,
        url: &str,
        headers: &[(String, String)],
        limit: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        let body = self.open(url, headers)?;
        let read = body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        let url = url.to_owned();
        match read {
            Err(error) => Err(FetchError::Connection {
                url,
                cause: format!("reading the body: {}", plain(&error)),
            }),
            Ok(count) if count as u64 > limit => Err(FetchError::TooLong { url, limit }),
            Ok(_) => Ok(bytes),
        }
    }

    /// Repeats what may do better later.
    fn persist(&self, url: &Url, headers: &[(String, String)]) -> Result<Body, FetchError> {
        let total = match self.fetching.total {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        };
        let within = total.into_iter().chain(self.patience).min();
        let end = within.map(|within| Instant::now() + within);
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.follow(url, headers, end) {
                Ok(answer) => return Ok(Body(Source::Http(Box::new(answer.body)))),
                Err(failure) if is_worth_repeating(&failure) => failure,
                Err(failure) => return Err(failure),
            };
            if let (Some(end), Some(within)) = (end, within) {
                let left = end.saturating_duration_since(Instant::now());
                if left <= pause {
                    return Err(FetchError::TimedOut {
                        url: url.to_string(),
                        within,
                        last: failure.to_string(),
                    });
                }
            }
            (self.listener)(&failure, pause);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt, its redirects included.
    fn follow(
        &self,
        url: &Url,
        headers: &[(String, String)],
        end: Option<Instant>,
    ) -> Result<Answer, FetchError> {
        let usual = usual_headers();
        let mut here = url.clone();
        let mut headers = headers;
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask(url, &here, headers, end)?;
            let location = answer.location.as_deref();
            match (answer.status, location) {
                (200 | 204, _) => return Ok(answer),
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let next = here.join(location);
                    let next = next.filter(|url| matches!(url.scheme.as_str(), "http" | "https"));
                    here = next.ok_or_else(|| FetchError::Connection {
                        url: here.to_string(),
                        cause: format!("it redirects to {location}, which is no such URL"),
                    })?;
                    headers = &usual;
                }
                (status, _) => {
                    return Err(FetchError::Status {
                        url: here.to_string(),
                        status,
                    });
                }
            }
        }
        Err(FetchError::Redirects {
            url: url.to_string(),
            limit: MOST_REDIRECTS,
            last: here.to_string(),
        })
    }

    /// One request to `here`, where `wanted` has led.
    fn ask(
        &self,
        wanted: &Url,
        here: &Url,
        headers: &[(String, String)],
        end: Option<Instant>,
    ) -> Result<Answer, FetchError> {
        let proxy = proxy::choose(&self.fetching, here);
        if !Trust::IS_AVAILABLE {
            let mut peers = [Some(here), proxy.as_ref()].into_iter().flatten();
            if let Some(peer) = peers.find(|peer| peer.scheme == "https") {
                return Err(FetchError::Encrypted {
                    url: wanted.to_string(),
                    peer: peer.to_string(),
                });
            }
        }
        let response_headers = match self.fetching.response_headers {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        };
        Request {
            url: here,
            proxy: proxy.as_ref(),
            headers,
            trust: &self.trust,
            response_headers,
            end,
        }
        .send()
    }
}

/// A body that arrives. Reading it ends with an error where the whole was not received.
pub struct Body(Source);

enum Source {
    Http(Box<Framed<BufReader<Box<dyn Wire>>>>),
    Tftp(Box<Download>),
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.0 {
            Source::Http(body) => body.read(buffer),
            Source::Tftp(download) => download.read(buffer),
        };
        read.map_err(|error| io::Error::new(error.kind(), plain(&error)))
    }
}

fn is_worth_repeating(failure: &FetchError) -> bool {
    match failure {
        FetchError::Status { status, .. } => *status >= 500,
        other => other.is_transient(),
    }
}

fn usual_headers() -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    USUAL_HEADERS.into_iter().map(owned).collect()
}

/// The usual headers, and the configuration's in their place and after them.
fn effective(url: &str, headers: &[(String, String)]) -> Result<Vec<(String, String)>, FetchError> {
    let mut all = usual_headers();
    for (name, value) in headers {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_sound = !name.is_empty()
            && name.bytes().all(is_token)
            && !value.contains(|c: char| c.is_control() && c != '\t');
        if !is_sound {
            return Err(FetchError::Header {
                url: url.to_owned(),
                name: name.clone(),
            });
        }
        if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            continue;
        }
        all.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        all.push((name.clone(), value.clone()));
    }
    Ok(all)
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "the time is up, or nothing more came for a minute".to_owned(),
        _ => error.to_string(),
    }
}
