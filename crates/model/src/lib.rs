//! What Hardway knows and decides, as plain data and pure functions.
//!
//! Nothing here reaches a file, a socket, a clock or a random source: time and randomness are
//! arguments. In the order in which a machine meets them:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`cluster`] | `cluster.yaml` → raw mirror → proven [`cluster::Cluster`], with every problem at once |
//! | [`boot`] | boot files by firmware, and what came of them on a machine |
//! | [`identity`] | who a machine is: MAC set, serial, UUID, disk WWNs together |
//! | [`desired`] | what one machine is to become |
//! | [`inventory`] | what the agent found on the machine |
//! | [`layout`] | what stands on a disk, exactly |
//! | [`boot_variables`], [`load_option`] | what UEFI firmware may boot, and in which order |
//! | [`receipt`] | what an installation leaves on the disk |
//! | [`network`] | the installed system's links, and the files that say so |
//! | [`plan`] | desired + inventory → the ordered steps, or a refusal |
//! | [`preview`] | the plan as a difference: kept, created, destroyed |
//! | [`lifecycle`] | state + event + now → state and effects |
//! | [`doctor`] | what is wrong with a boot that fell silent |
//! | [`messages`] | what agent and appliance say to each other |
//! | [`quantity`] | sizes and durations, as written and as shown |
//! | [`view`] | what the API, the UI and the command line show |

pub mod boot;
pub mod boot_variables;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod desired;
pub mod doctor;
pub mod identity;
pub mod inventory;
pub mod layout;
pub mod lifecycle;
pub mod load_option;
pub mod messages;
pub mod network;
pub mod plan;
pub mod preview;
pub mod quantity;
pub mod receipt;
pub mod view;
