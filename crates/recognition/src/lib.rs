//! What stands on a disk, by its bytes. Reads, and never writes.
//!
//! - [`table`]: partition tables, GPT or MBR, as firmware would see them.
//! - [`signatures`]: filesystems and containers, by their magic numbers.
//! - [`layout`]: both together, exactly, for the planner of partitions and filesystems.

mod fat;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod layout;
pub mod signatures;
pub mod table;
