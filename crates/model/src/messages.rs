//! What the agent and the appliance say to each other, as JSON over HTTP.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /agent/v1/time` | | [`Time`] |
//! | `POST /agent/v1/hello` | [`Hello`] | [`Orders`] |
//! | `POST /agent/v1/config` | [`ConfigRequest`] | the plan's document, once a token: operations of `hardway_ignition`, or an Ignition config for an image with Ignition of its own |
//! | `POST /agent/v1/report` | [`Report`] | 204 |
//! | `POST /agent/v1/running` | [`Running`] | 204, or boot variables to write ([`crate::boot_variables::Variable`]); from the installed system |
//! | `GET /modules/index.json`, `GET /modules/FILE` | | module index and modules of the agent's kernel |
//! | `GET /toolbox/FILE` | | programs that a plan needs, by the paths in its first step |
//!
//! A refused token is 403 and ends the agent's run; 5xx and connection errors are retried; 409 is a
//! document that is not any more what the plan was made with. An error
//! body is [`ErrorBody`]. Everything is idempotent: a repeated hello or report changes nothing.
//!
//! The agent learns of the appliance by its kernel command line: `hardway.url=http://10.77.0.1`,
//! `hardway.token=…`, `BOOTIF=01-52-54-00-00-00-01`, and `hardway.link=…` where it is to bond its ports or
//! to use a VLAN: [`crate::network::AgentLink`].

use serde::{Deserialize, Serialize};

use crate::identity::MacAddress;
use crate::inventory::Inventory;
use crate::plan::Plan;
use crate::receipt::Receipt;

/// The appliance's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_milliseconds: u64,
}

/// The agent introduces the machine and asks what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The boot token from the kernel command line.
    pub token: String,
    /// The interface that booted, by BOOTIF.
    pub boot_mac: MacAddress,
    /// The agent's version.
    pub agent: String,
    /// Bytes fetched over the network before this message, kernel and initramfs excluded.
    pub fetched: u64,
    /// The hardware.
    pub inventory: Inventory,
}

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "orders", rename_all = "kebab-case")]
pub enum Orders {
    /// Carry this out.
    Execute {
        /// The steps.
        plan: Plan,
        /// What the installed system presents in [`Running::key`].
        confirmation_key: String,
    },
    /// Touch nothing, show the reason, say hello again later.
    Hold {
        /// For the console: cause and remedy.
        reason: String,
        /// Seconds until the next hello.
        retry_after: u32,
    },
}

/// Asks for the configuration's operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRequest {
    /// The boot token.
    pub token: String,
}

/// One thing the agent tells while it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The boot token.
    pub token: String,
    /// Counts up from 1 in one run of the agent; a number seen before is ignored.
    pub sequence: u64,
    /// What happened.
    pub event: AgentEvent,
}

/// What happened on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum AgentEvent {
    /// A step of the plan begins, by [`crate::plan::Step::name`].
    StepStarted {
        /// Its name.
        step: String,
    },
    /// How far a long step is. Sent at most twice a second.
    Progress {
        /// The step's name.
        step: String,
        /// Bytes done: of the image as served, or of what an imported one makes.
        done: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
        /// Bytes that were fetched for it, where they are others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fetched: Option<u64>,
    },
    /// A step ended well.
    StepFinished {
        /// Its name.
        step: String,
        /// What it did, for the timeline: "wrote 402 MiB to /dev/vda in 9.1 s".
        summary: String,
    },
    /// Log lines.
    Log {
        /// In order, without line ends.
        lines: Vec<String>,
    },
    /// A step failed; nothing more of the plan is done. The agent holds, then says hello again.
    Failed {
        /// The step's name, or `start`.
        step: String,
        /// The whole error chain, outermost first, joined by ": ".
        cause: String,
    },
    /// Something did not work that the installation does not depend on.
    Warning {
        /// What, with its whole error chain.
        text: String,
    },
    /// The disk is complete.
    Installed {
        /// What stands on it.
        receipt: Box<Receipt>,
    },
    /// Control is about to pass to the installed system. The agent's last word.
    HandingOver {
        /// `kexec`, `reboot` or `poweroff`: what is really done.
        how: String,
        /// Why it is not what was asked for.
        fallback: Option<String>,
    },
}

/// The installed system confirms that it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The machine's name.
    pub machine: String,
    /// The generation of its installation.
    pub generation: u32,
    /// The confirmation key that the plan came with.
    pub key: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// The hardware with the firmware's boot variables, on UEFI. Nothing but these are judged by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Box<Inventory>>,
    /// In a second word, after variables were written as the answer to the first one said: what did
    /// not work, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
}

/// The body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong and how to mend it.
    pub error: String,
}
