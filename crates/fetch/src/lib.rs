//! Fetches one URL as Ignition does: over HTTP, HTTPS and TFTP.
//!
//! In the order of a fetch's way:
//!
//! - [`Fetcher`]: repetitions, redirects and what ends them, as
//!   [`Fetching`](hardway_ignition::operation::Fetching) says.
//! - `url`, `proxy`: where to ask, and through whom.
//! - `wire`: sockets that know their deadline. `tls`: the same, encrypted (feature `tls`).
//! - `http`: one request and the head of its answer; `body`: what follows the head.
//! - `tftp`: a transfer as a state machine, and the socket that carries it.
//!
//! Fetching blocks: it is for programs that do one thing after another, and for blocking tasks.
//!
//! **Trust.** A server's certificate has to come from one of the authorities of the configuration, or
//! from one of Mozilla's list, which is compiled in (crate webpki-roots): an installer's initramfs has
//! no certificates of its own. As in Go, a server may use one of the configured authorities' own
//! certificates.
//!
//! Ignition is the reference, and differs on purpose in these points:
//!
//! - A certificate that is not trusted ends the fetch at once; Ignition repeats it until the time is up.
//! - Redirects are followed ten times; Ignition follows them until the time is up. They carry the usual
//!   headers; Ignition's carry none at all.
//! - A body that stands still for a minute is a failure; Ignition waits.

mod body;
mod error;
mod fetcher;
mod http;
mod proxy;
mod tftp;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod url;
mod wire;

pub use error::FetchError;
pub use fetcher::{Body, Fetcher};
