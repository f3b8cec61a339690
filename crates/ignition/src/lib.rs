//! Ignition configs: what an operator wrote → ordered operations that an executor obeys.
//!
//! In the order of a config's way:
//!
//! - [`parse()`]: JSON of spec 3.0.0 to 3.6.0 → a valid [`Config`] in the newest spec.
//! - [`butane`]: Butane's YAML → the same.
//! - [`merge()`]: two configs → one. [`validate()`] judges the result.
//! - [`operations()`]: a config → [`Operation`]s; what cannot be done is refused there.
//! - [`compile()`]: all of this for the parts of one machine.
//! - [`operation`]: the operations, all that the agent needs of this crate.

pub mod operation;

#[cfg(feature = "front-end")]
pub mod butane;
#[cfg(feature = "front-end")]
mod compile;
#[cfg(feature = "front-end")]
pub mod config;
#[cfg(feature = "front-end")]
mod data_url;
#[cfg(feature = "front-end")]
mod merge;
#[cfg(feature = "front-end")]
mod operations;
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
pub use compile::{Compiled, Part, PartKind, compile};
#[cfg(feature = "front-end")]
pub use config::Config;
#[cfg(feature = "front-end")]
pub use merge::merge;
#[cfg(feature = "front-end")]
pub use operations::operations;
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
