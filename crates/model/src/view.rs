//! What the API answers, the UI shows and the command line prints. One set of names for all three.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /api/v1/status` | [`Status`] |
//! | `GET /api/v1/machines` | list of [`MachineView`] |
//! | `GET /api/v1/machines/NAME` | [`MachineDetail`] |
//! | `GET /api/v1/events` | server-sent events: `event: machine`, data a [`MachineView`] |
//! | `POST /api/v1/machines/NAME/grants` (token) | [`GrantRequest`] → 201 |
//! | `POST /api/v1/machines/NAME/reinstall` (token) | 202 |

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::identity::MacAddress;
use crate::inventory::Inventory;
use crate::lifecycle::{Figures, Phase, PlannedInstallation, TimelineEntry, Timestamp};
use crate::plan::Grant;
use crate::receipt::Receipt;

/// The appliance itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of `hardway`.
    pub version: String,
    /// The cluster's name, when its file could be read.
    pub cluster: Option<String>,
    /// What is wrong with cluster.yaml, as `hardway check` prints it; empty when it is served.
    pub problems: Vec<String>,
    /// Addresses of the appliance.
    pub addresses: Vec<Ipv4Addr>,
    /// Seconds since `hardway serve` started.
    pub uptime: u64,
    /// Resident memory of `hardway serve` in bytes.
    pub resident_memory: u64,
    /// Memory of the machine that is in use, in bytes, page cache excluded.
    pub used_memory: u64,
    /// Machines that are declared, and of these: running, and ready by every check.
    pub declared: usize,
    /// How many run.
    pub running: usize,
    /// How many run and pass their checks.
    pub ready: usize,
}

/// One row of the rack table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Name in cluster.yaml, or the hyphenated MAC of an undeclared machine.
    pub name: String,
    /// Whether cluster.yaml declares it.
    pub declared: bool,
    /// Its profile.
    pub profile: Option<String>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Hardware addresses.
    pub macs: Vec<MacAddress>,
    /// Where it stands.
    pub phase: Phase,
    /// The generation wanted.
    pub generation: u32,
    /// The generation on its disk.
    pub installed_generation: Option<u32>,
    /// How many installations began writing, ever: exactly once a generation, if nothing was cut off.
    pub installs_begun: u32,
    /// Readiness checks of its profile.
    pub checks: Vec<CheckView>,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// Figures of the boot that is under way or was last.
    pub figures: Figures,
}

/// One readiness check on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// The check's name.
    pub name: String,
    /// Whether it held when last asked.
    pub ok: bool,
    /// What was answered, shortened.
    pub detail: String,
}

/// Everything about one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineDetail {
    /// The row.
    #[serde(flatten)]
    pub machine: MachineView,
    /// The last inventory.
    pub inventory: Option<Inventory>,
    /// The last finished installation.
    pub installed: Option<Receipt>,
    /// What its agent has orders to install, until it is known to be done.
    #[serde(default)]
    pub planned: Option<PlannedInstallation>,
    /// Unspent grants.
    pub grants: Vec<Grant>,
    /// The timeline, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// Asks for a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The disk's id; may be left out when the machine is held for exactly one disk.
    pub disk: Option<String>,
}
