//! HTTP as far as files need it, without I/O: a request's head, which file it means, and what of the
//! file it gets (RFC 9110, RFC 9112).
//!
//! [`head`] is for whoever reads requests off a socket; [`Conditions`] can be filled from any table of
//! headers, so that there is one [`answer`] whichever server asks.

mod answer;
mod date;
mod head;
mod target;
#[cfg(test)]
mod tests;

pub use answer::{Conditions, Connection, Method, Reply, Resource, answer};
pub use date::{date, parse_date};
pub use head::{Head, HeadError, LONGEST_HEAD, MOST_HEADERS, head};
pub use target::{file_path, media_type};
