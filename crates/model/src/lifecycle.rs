//! One machine's life: state + event + now → state and effects. Nothing else changes a state.

mod boot;
mod report;
mod step;

pub(crate) use self::boot::not_run;

use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::boot::{Asker, BootHistory, Diagnosis, Transfer};
use crate::identity::Sha256;
use crate::identity::{Identity, MacAddress};
use crate::inventory::Inventory;
use crate::messages::AgentEvent;
use crate::plan::{Arming, Decision, Grant, Refusal};
use crate::receipt::Receipt;

/// Milliseconds since 1970-01-01 UTC.
pub type Timestamp = u64;

/// One machine's next state and what has to be done because of it. The first event of a machine makes
/// it generation 1. Repeated, overtaken and old reports change nothing.
pub fn step(state: MachineState, event: Event, now: Timestamp) -> (MachineState, Vec<Effect>) {
    step::step(state, event, now)
}

/// Everything that is remembered of one machine. Durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// The generation that is wanted. 1 for a machine that was never reinstalled on purpose.
    pub generation: u32,
    /// Where it stands.
    pub phase: Phase,
    /// What was seen of its identity.
    pub identity: Identity,
    /// The address it was last given.
    pub address: Option<Ipv4Addr>,
    /// The last inventory.
    pub inventory: Option<Inventory>,
    /// The last finished installation, as its receipt says.
    pub installed: Option<Receipt>,
    /// The installation that the agent was last ordered to make, until it is known to be made.
    #[serde(default)]
    pub planned: Option<PlannedInstallation>,
    /// Unspent grants, at most one a disk. An older journal has one under the old name, or null.
    #[serde(default, alias = "grant", deserialize_with = "one_or_many")]
    pub grants: Vec<Grant>,
    /// What the operator armed the machine for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed: Option<Arming>,
    /// The live boot token.
    pub token: Option<BootToken>,
    /// What the installed system has to present to be believed.
    pub confirmation_key: Option<String>,
    /// SHA-256 of what a system has to present that was installed before this journal was begun, by its
    /// receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_confirmation: Option<Sha256>,
    /// The boot id that the installed system last confirmed.
    pub boot_id: Option<String>,
    /// When it was first and last heard of.
    pub first_seen: Option<Timestamp>,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// How many times a plan began to write this machine's disk, ever.
    pub installs_begun: u32,
    /// Figures of the boot and installation that is under way or was last.
    pub figures: Figures,
    /// Which boot files work on it.
    #[serde(default)]
    pub boot: BootHistory,
}

impl MachineState {
    /// Whether the wanted generation is not on its disk yet, so that it gets the agent and not its disk.
    pub fn wants_install(&self) -> bool {
        self.installed
            .as_ref()
            .is_none_or(|receipt| receipt.generation < self.generation.max(1))
    }
}

/// An installation that the agent has orders to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedInstallation {
    /// What will stand on the disk, but for what the agent adds.
    pub receipt: Receipt,
    /// Ids of the disks whose grants the first write spends.
    #[serde(default)]
    pub spends: Vec<String>,
    /// What happens to the disks beside the image, line by line, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<String>,
}

/// One grant, none or a list.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Grant>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Many(Vec<Grant>),
        One(Option<Grant>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Many(grants) => grants,
        Stored::One(grant) => grant.into_iter().collect(),
    })
}

/// Where a machine stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Never heard of.
    #[default]
    Unseen,
    /// Its firmware asks the network: DHCP, boot file, script.
    Booting,
    /// The agent runs and has its orders or awaits them.
    Agent,
    /// The planner refused; nothing is written until the operator acts.
    Held {
        /// Why, and the way out.
        refusal: Refusal,
    },
    /// The plan is carried out.
    Installing {
        /// The step's name.
        step: String,
        /// Bytes done of a long step.
        done: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
    },
    /// A step failed; the agent holds and tries again.
    Failed {
        /// The step's name.
        step: String,
        /// The whole error chain.
        cause: String,
    },
    /// The disk is complete; the installed system has not been heard of yet.
    Installed,
    /// The installed system confirmed that it runs.
    Running,
}

impl Phase {
    /// The one word for tables: `unseen`, `booting`, `agent`, `held`, `installing`, `failed`,
    /// `installed`, `running`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Booting => "booting",
            Self::Agent => "agent",
            Self::Held { .. } => "held",
            Self::Installing { .. } => "installing",
            Self::Failed { .. } => "failed",
            Self::Installed => "installed",
            Self::Running => "running",
        }
    }
}

/// What lets one boot of the agent act for its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootToken {
    /// 32 hexadecimal digits of randomness.
    pub token: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// Whether the configuration with its secrets was handed out on it.
    pub config_served: bool,
    /// The highest [`crate::messages::Report::sequence`] seen.
    pub last_sequence: u64,
}

/// Figures of one boot and installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// First packet of this boot.
    pub boot_started: Option<Timestamp>,
    /// First hello of the agent.
    pub agent_started: Option<Timestamp>,
    /// The disk was complete.
    pub installed: Option<Timestamp>,
    /// The installed system confirmed.
    pub running: Option<Timestamp>,
    /// Bytes of boot files, kernel, initramfs and modules that the machine fetched before its plan.
    pub fetched_before_install: u64,
    /// Bytes of the OS image that it fetched.
    pub fetched_image: u64,
}

/// What happens to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// A DHCP message of a boot was answered, or left unanswered with a reason.
    Dhcp {
        /// Who asked.
        mac: MacAddress,
        /// In words: "DISCOVER from PXEClient:Arch:00007 → offered 10.77.0.11 and snponly.efi".
        summary: String,
        /// The address that was given.
        address: Option<Ipv4Addr>,
        /// Why it asks.
        asker: Asker,
        /// The boot file that it was offered.
        boot_file: Option<String>,
    },
    /// A boot file, kernel or initramfs was asked for and is on its way: what follows is no silence.
    TransferBegan {
        /// The file's name, without folders of the URL.
        file: String,
    },
    /// A boot file, kernel or initramfs was transferred, or its transfer ended early.
    Transfer(Transfer),
    /// The iPXE script was served.
    Script {
        /// In words: "sent to its disk", "given the agent".
        summary: String,
        /// The new boot token, when the script starts the agent.
        token: Option<String>,
    },
    /// The agent said hello and the planner decided.
    Hello {
        /// The hardware.
        inventory: Box<Inventory>,
        /// What is to happen.
        decision: Box<Decision>,
        /// A fresh confirmation key, kept when the decision is to install.
        confirmation_key: String,
        /// Bytes of modules fetched before.
        fetched: u64,
    },
    /// The configuration was handed out.
    ConfigServed,
    /// The agent reports.
    Report {
        /// [`crate::messages::Report::sequence`].
        sequence: u64,
        /// What happened.
        event: AgentEvent,
    },
    /// The installed system confirmed that it runs, with the right key.
    Running {
        /// The generation that it was installed as.
        generation: u32,
        /// Its boot id.
        boot_id: String,
    },
    /// The operator allows one disk to be written once.
    GrantWipe {
        /// The grant.
        grant: Grant,
    },
    /// The operator looked at the plan and lets it happen.
    Arm {
        /// For what.
        arming: Arming,
    },
    /// The operator wants the machine installed again.
    Reinstall,
    /// Something usual went wrong on the way from firmware to agent.
    Diagnosed {
        /// What.
        diagnosis: Diagnosis,
        /// What was seen, in words: "fetched 214 KB of 260 KB, then silence".
        seen: String,
    },
    /// Something worth a line that changes nothing.
    Note {
        /// In words.
        text: String,
        /// How serious it is.
        severity: Severity,
    },
}

/// What has to be done because of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the machine's timeline.
    Timeline(TimelineEntry),
    /// Make the new state durable before anybody is answered.
    Persist,
}

/// One line of a machine's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub time: Timestamp,
    /// How serious.
    pub severity: Severity,
    /// What, in an operator's words.
    pub text: String,
}

/// How serious a timeline entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As expected.
    Info,
    /// Worth a look.
    Warning,
    /// The operator has to act.
    Error,
}
