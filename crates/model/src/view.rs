//! What the API answers, the UI shows and the command line prints. One set of names for all three.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /api/v1/status` | [`Status`] |
//! | `GET /api/v1/machines` | list of [`MachineView`] |
//! | `GET /api/v1/machines/NAME` | [`MachineDetail`] |
//! | `GET /api/v1/machines/NAME/boot.pcap` (token) | what it said while it booted, for a packet analyser |
//! | `GET /api/v1/machines/NAME/plan` | [`crate::preview::Preview`]: what would happen now, by its last inventory |
//! | `GET /api/v1/leases` | list of [`LeaseView`] |
//! | `GET /api/v1/events` | server-sent events: `event: machine`, data a [`MachineView`] |
//! | `POST /api/v1/machines/NAME/grants` (token) | [`GrantRequest`] → 201 |
//! | `POST /api/v1/machines/NAME/arm` (token) | 201, [`crate::plan::Arming`] |
//! | `POST /api/v1/machines/NAME/reinstall` (token) | 202 |

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::boot::{BootHistory, Diagnosis};
use crate::identity::MacAddress;
use crate::inventory::Inventory;
use crate::lifecycle::{Figures, Phase, PlannedInstallation, Severity, TimelineEntry, Timestamp};
use crate::plan::{Arming, Grant};
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
    /// What was noticed of the network lately, the latest last.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// Something about the network: another DHCP server, an exhausted pool, an address in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When it was noticed last.
    pub time: Timestamp,
    /// A stable name: `mode`, `foreign-server`, `pool-exhausted`, `address-conflict`.
    pub kind: String,
    /// How serious it is.
    pub severity: Severity,
    /// In an operator's words.
    pub text: String,
    /// How often it was noticed since the appliance started.
    pub count: u64,
}

/// An address that is lent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it; `None` where it rests because somebody else uses it.
    pub mac: Option<MacAddress>,
    /// The name of the machine, declared or heard of, that has it.
    pub machine: Option<String>,
    /// The host name that its client gave.
    pub host_name: Option<String>,
    /// Until when, unless it is renewed.
    pub expires: Timestamp,
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
    /// What is wrong with its boot at the moment.
    #[serde(default)]
    pub diagnosis: Option<Diagnosis>,
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
    /// What the operator armed it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed: Option<Arming>,
    /// Which boot files work on it.
    #[serde(default)]
    pub boot: BootHistory,
    /// The timeline, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// Asks for a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The disk's id; may be left out when the machine is held for exactly one disk.
    pub disk: Option<String>,
}
