//! Ignition configs: what an operator wrote → ordered operations that an executor obeys.
//!
//! - [`operation`]: the operations, all that the agent needs of this crate.
//! - [`parse`]: JSON of spec 3.0.0 to 3.6.0 → a valid [`Config`] in the newest spec.
//! - [`merge`]: two configs → one.

pub mod operation;

#[cfg(feature = "front-end")]
pub mod config;
#[cfg(feature = "front-end")]
mod data_url;
#[cfg(feature = "front-end")]
mod merge;
#[cfg(feature = "front-end")]
mod parse;
#[cfg(feature = "front-end")]
mod paths;
#[cfg(feature = "front-end")]
mod report;
#[cfg(feature = "front-end")]
mod source;
#[cfg(feature = "front-end")]
mod url;
#[cfg(feature = "front-end")]
mod validate;

pub use operation::Operation;

#[cfg(feature = "front-end")]
pub use config::Config;
#[cfg(feature = "front-end")]
pub use merge::merge;
#[cfg(feature = "front-end")]
pub use parse::{Parsed, parse};
#[cfg(feature = "front-end")]
pub use report::{Position, Problem, Report, Severity};

/// Judges a config in the newest spec, such as the result of [`merge()`]. Problems have no place in a
/// text.
#[cfg(feature = "front-end")]
pub fn validate(config: &Config) -> Vec<Problem> {
    validate::validate(config, parse::NEWEST_MINOR)
}
