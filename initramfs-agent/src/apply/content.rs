//! A [`Resource`] → its bytes: fetched, unpacked and checked while they arrive.
//!
//! What is plain is fetched by this program. It carries no TLS: what is encrypted is fetched by
//! `hardway-fetch`, which comes with the toolbox's segment `fetch`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use hardway_fetch::{FetchError, Fetcher};
use hardway_ignition::operation::{Compression, Fetching, Resource, Source, Verification};
use sha2::{Digest, Sha256, Sha512};

use crate::reports::Reports;

/// The program for HTTPS, looked for on the PATH.
const PROGRAM: &str = "hardway-fetch";
/// Where the configuration sets no limit, a machine that can do nothing else gives up after this time
/// and says why.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// No key, and nothing else that is wanted in memory, is larger.
const LARGEST_IN_MEMORY: u64 = 64 << 20;

/// What content is fetched with.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Proxies, authorities, timeouts.
    pub fetching: &'a Fetching,
    /// Where attempts are told that have to be repeated.
    pub reports: &'a Reports,
}

/// Content that arrives: what [`Read`] gives is unpacked. Only what is read to its end is whole: a
/// fetch that breaks off and a wrong hash are errors of the last read.
pub struct Content {
    bytes: Box<dyn Read>,
    check: Option<Check>,
    /// For messages.
    name: String,
}

/// Opens content.
///
/// # Errors
///
/// What cannot be fetched. Where a server answers at all, see [`Content`].
pub fn open(resource: &Resource, sources: &Sources<'_>) -> Result<Content> {
    let (packed, name): (Box<dyn Read>, _) = match &resource.source {
        Source::Inline(bytes) => (
            Box::new(io::Cursor::new(bytes.clone())),
            "the content".to_owned(),
        ),
        Source::Url { url, headers } => (fetch(url, headers, sources)?, url.clone()),
    };
    let bytes = match resource.compression {
        Compression::None => packed,
        Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
    };
    Ok(Content {
        bytes,
        check: resource.verification.as_ref().map(Check::new),
        name,
    })
}

/// Content as a whole, where it is known to be small.
///
/// # Errors
///
/// As [`open`] and reading; content of more than 64 MiB.
pub fn bytes(resource: &Resource, sources: &Sources<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut content = open(resource, sources)?.take(LARGEST_IN_MEMORY + 1);
    content.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_IN_MEMORY {
        bail!("the content is longer than {LARGEST_IN_MEMORY} bytes");
    }
    Ok(bytes)
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .bytes
            .read(buffer)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.name)))?;
        if count > 0 || buffer.is_empty() {
            if let Some(check) = &mut self.check {
                check.update(&buffer[..count]);
            }
            return Ok(count);
        }
        match self.check.take() {
            Some(check) => check.finish(&self.name).map(|()| 0),
            None => Ok(0),
        }
    }
}

/// A hash on the way.
struct Check {
    hash: Hash,
    expected: String,
}

enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Check {
    fn new(verification: &Verification) -> Self {
        let (hash, expected) = match verification {
            Verification::Sha256(expected) => (Hash::Sha256(Sha256::new()), expected),
            Verification::Sha512(expected) => (Hash::Sha512(Sha512::new()), expected),
        };
        Self {
            hash,
            expected: expected.to_ascii_lowercase(),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self, name: &str) -> io::Result<()> {
        let found = match self.hash {
            Hash::Sha256(hash) => hex(&hash.finalize()),
            Hash::Sha512(hash) => hex(&hash.finalize()),
        };
        if found != self.expected {
            return Err(io::Error::other(format!(
                "{name} has the hash {found}, and {} was expected",
                self.expected
            )));
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fetch(url: &str, headers: &[(String, String)], sources: &Sources<'_>) -> Result<Box<dyn Read>> {
    let mut fetching = sources.fetching.clone();
    if fetching.total == 0 {
        fetching.total = LONGEST.as_secs() as u32;
    }
    let scheme = url.split(':').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("https") {
        return Ok(Box::new(Encrypted::start(
            Command::new(PROGRAM),
            url,
            headers,
            &fetching,
            sources,
        )?));
    }
    let reports = sources.reports.clone();
    let fetcher = Fetcher::new(&fetching)?
        .giving_up_after(Duration::from_secs(fetching.total.into()))
        .telling(move |failure, pause| {
            reports.log(&format!("{failure}; trying again in {pause:?}"));
        });
    match fetcher.open(url, headers) {
        Ok(body) => Ok(Box::new(body)),
        // A redirect or a proxy that is encrypted.
        Err(FetchError::Encrypted { .. }) => Ok(Box::new(Encrypted::start(
            Command::new(PROGRAM),
            url,
            headers,
            &fetching,
            sources,
        )?)),
        Err(error) => Err(error.into()),
    }
}

/// A body that `hardway-fetch` fetches.
struct Encrypted {
    url: String,
    running: Child,
    body: ChildStdout,
    /// Gives back the last line that the program told.
    told: Option<JoinHandle<String>>,
}

impl Encrypted {
    fn start(
        mut program: Command,
        url: &str,
        headers: &[(String, String)],
        fetching: &Fetching,
        sources: &Sources<'_>,
    ) -> Result<Self> {
        let order = serde_json::json!({ "url": url, "headers": headers, "fetching": fetching });
        let mut running = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {PROGRAM}, which {url} needs"))?;
        let pipes = (
            running.stdin.take(),
            running.stdout.take(),
            running.stderr.take(),
        );
        let (Some(mut input), Some(body), Some(errors)) = pipes else {
            bail!("{PROGRAM} has no pipes");
        };
        let reports = sources.reports.clone();
        let told = std::thread::spawn(move || tell(errors, &reports));
        // A program that has ended already says why on its standard error.
        let _ = input.write_all(order.to_string().as_bytes());
        drop(input);
        Ok(Self {
            url: url.to_owned(),
            running,
            body,
            told: Some(told),
        })
    }
}

impl Read for Encrypted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let status = self.running.wait()?;
        let last = self.told.take().and_then(|told| told.join().ok());
        if status.success() {
            return Ok(0);
        }
        let last = last.filter(|line| !line.is_empty()).map(|line| {
            // Whoever reads names the URL already.
            let cause = line.strip_prefix(&format!("{}: ", self.url));
            cause.map_or(line.clone(), str::to_owned)
        });
        Err(io::Error::other(last.unwrap_or_else(|| {
            format!("{PROGRAM} ended with {status}")
        })))
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        // Ended already, unless the body was not read to its end.
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// Passes on what the program tells of its attempts; its last line is given back.
fn tell(errors: ChildStderr, reports: &Reports) -> String {
    let mut last = String::new();
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        if !last.is_empty() {
            reports.log(&last);
        }
        last = line;
    }
    last
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
