//! Installing: an image written to a disk beside coreos-installer and a pipe of small tools, and a machine
//! from its power-on until its system runs.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`images`] | one disk, packed as each contender takes it |
//! | [`disk`] | a blank block device for every run |
//! | [`orders`] | the plan that the appliance makes for a machine with that disk |
//! | [`contender`] | who writes, and by which command |
//! | [`cost`] | what a command took: time, processor, memory, bytes over the wire |
//! | [`write`] | all contenders in turns, and the rows that come of it |
//! | [`lab`] | the phases of an installation in a virtual machine |

use std::fmt;
use std::path::PathBuf;

use crate::report::Row;
use crate::section::Bench;

mod contender;
mod cost;
mod disk;
mod images;
mod lab;
mod orders;
mod write;

/// A part of this bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The image, written to a block device.
    Write,
    /// A virtual machine, from power-on to the running system.
    Lab,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Lab => "lab",
        })
    }
}

/// What is measured beside `hardway` itself.
#[derive(Debug, Clone, clap::Args)]
pub struct Tools {
    /// The agent, built with the feature `replay`
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The peer
    #[arg(long, value_name = "FILE")]
    coreos_installer: PathBuf,
    /// The image, as `node.img.zst`; disks of several are made from it
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// How often the image's content stands on the disk that is written, each time as other bytes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    copies: u8,
    /// The lab
    #[arg(long, value_name = "FILE")]
    lab: PathBuf,
    /// What the lab runs, as `cargo xtask image` leaves it
    #[arg(long, value_name = "DIR")]
    artifacts: PathBuf,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

impl Tools {
    /// Whether a part is wanted.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Measures one part.
pub type Measure = fn(&Bench, &Tools) -> anyhow::Result<Vec<Row>>;

/// In the order of a machine's life.
pub const PARTS: [(Part, Measure); 2] = [(Part::Write, write::measure), (Part::Lab, lab::measure)];
