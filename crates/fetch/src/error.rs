//! Why a fetch fails.

use std::time::Duration;

/// Why a fetch fails. Every variant names the URL that was asked for; where a redirect had led, the
/// cause names that too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The text is no absolute URL, or its scheme is none that is fetched.
    #[error("{url}: not a URL that can be fetched from: http, https and tftp are")]
    Url {
        /// The text.
        url: String,
    },
    /// This build has no TLS. [`Fetcher`](crate::Fetcher) of a build with the feature `tls` can do it.
    #[error("{url}: {peer} is asked over TLS, which this program does not have")]
    Encrypted {
        /// What was asked for.
        url: String,
        /// Who is asked over TLS: the same, what a redirect leads to, a proxy.
        peer: String,
    },
    /// A configured certificate authority is none.
    #[error("certificate authority {number} is no PEM certificate")]
    Authority {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// A request header that cannot be sent.
    #[error("{url}: the header {name:?} cannot be sent")]
    Header {
        /// What was asked for.
        url: String,
        /// The header's name.
        name: String,
    },
    /// A final answer other than success.
    #[error("{url} answers {status}")]
    Status {
        /// Who answered.
        url: String,
        /// HTTP status: neither 200 nor 204, below 500.
        status: u16,
    },
    /// The server's identity is not proven.
    #[error("{url}: the server is not trusted: {cause}")]
    Trust {
        /// What was asked for.
        url: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// One redirect leads to the next.
    #[error("{url}: redirected {limit} times, at last to {last}")]
    Redirects {
        /// What was asked for.
        url: String,
        /// How many are followed.
        limit: usize,
        /// Where the last one leads.
        last: String,
    },
    /// The connection could not be made or broke, or the answer is no HTTP.
    #[error("{url}: {cause}")]
    Connection {
        /// What was asked for.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The time for the fetch is up.
    #[error("{url}: not fetched within {within:?}: {last}")]
    TimedOut {
        /// What was asked for.
        url: String,
        /// The time that there was.
        within: Duration,
        /// How the last attempt failed.
        last: String,
    },
    /// A TFTP server's error packet (RFC 1350, section 5).
    #[error("{url}: the server refuses: {message} (TFTP error {code})")]
    Tftp {
        /// What was asked for.
        url: String,
        /// Its code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// More bytes than the caller takes.
    #[error("{url}: longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// What the caller takes.
        limit: u64,
    },
}

impl FetchError {
    /// Whether the same request may do better later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}
