//! Ignition configs: what an operator wrote → ordered operations that an executor obeys.
//!
//! In the order of a config's way:
//!
//! - `parse`: JSON of spec 3.0.0 to 3.6.0 → a valid `Config` in the newest spec.
//! - `butane`: Butane's YAML → the same.
//! - `merge`: two configs → one. `validate` judges the result.
//! - `operations`: a config and a machine ([`hardware`]) → [`Operation`]s; what cannot be done is
//!   refused there. [`partitions`] plans one disk's table.
//! - `references`: other configs that a config names, by a fetcher that the caller brings.
//! - `compile`: all of this for the parts of one machine.
//! - [`operation`]: the operations, all that the agent needs of this crate.
//!
//! Ignition is the reference, and differs from this crate on purpose in these points:
//!
//! - A slash in the name of a unit or drop-in is refused: with `..` it leads out of the unit directory.
//! - JSON nested deeper than 200 levels is refused; Go stops at 10000.
//! - Configs of spec 3.4 lose the advertisements of Tang servers, as they do there, but with a warning.
//! - A disk whose backup partition table stands before its end has it moved there first: a
//!   partition of size 0 then fills all of a disk that was grown.
//! - A fetched config that is empty is refused; there, it takes the config that names it with it.
//! - A disk with a protective MBR and no GPT at all counts as damaged, not as blank; and so does one
//!   of whose GPT only the backup is left, without such an MBR.
//! - A filesystem for `/` is refused: the root filesystem is the image's own.
//! - One device for two uses (an array's member that also gets a filesystem) is refused.
//! - What `operations` refuses (sources it does not fetch, names and numbers that cannot stand in
//!   passwd, what mdadm, clevis or mkfs would refuse) fails there later or is done there.

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
pub mod hardware;
#[cfg(feature = "front-end")]
mod merge;
#[cfg(feature = "front-end")]
mod operations;
#[cfg(feature = "front-end")]
mod parse;
#[cfg(feature = "front-end")]
mod paths;
#[cfg(feature = "front-end")]
mod references;
#[cfg(feature = "front-end")]
mod report;
#[cfg(feature = "front-end")]
mod source;
#[cfg(feature = "front-end")]
mod url;
#[cfg(feature = "front-end")]
mod validate;

pub use operation::{Operation, Operations};

#[cfg(feature = "front-end")]
pub use compile::{Compiled, Part, PartKind, compile};
#[cfg(feature = "front-end")]
pub use config::Config;
#[cfg(feature = "front-end")]
pub use merge::merge;
#[cfg(feature = "front-end")]
pub use operations::disks::partitions;
#[cfg(feature = "front-end")]
pub use operations::{Circumstances, judge, needs_hardware, operations};
#[cfg(feature = "front-end")]
pub use parse::{Parsed, parse};
#[cfg(feature = "front-end")]
pub use references::{Fetch, Fetched, NoFetch, Purpose, Request};
#[cfg(feature = "front-end")]
pub use report::{Position, Problem, Report, Severity};

/// Judges a config in the newest spec, such as the result of [`merge()`]. Problems have no place in a
/// text.
#[cfg(feature = "front-end")]
pub fn validate(config: &Config) -> Vec<Problem> {
    validate::validate(config, parse::NEWEST_MINOR)
}
