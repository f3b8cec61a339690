//! The operator's command line.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`check`] | judges files, without an appliance |
//! | [`client`] | speaks to an appliance |
//! | [`disk_image`] | reads the disks that a plan is made for |
//! | [`operator`] | looks at machines and acts on them, over the API |
//! | [`plan`] | what would happen to each disk |
//! | [`network`] | leases, and packets of a machine's boot |
//! | [`image`] | the image store |
//! | [`ignition`] | judges, merges and translates Ignition configs |
//! | [`kernel_command_line`] | finds the config that real Ignition would be pointed to |
//! | [`media`] | makes media for the appliance |

pub mod check;
pub mod client;
mod disk_image;
pub mod ignition;
pub mod image;
mod kernel_command_line;
pub mod media;
pub mod network;
pub mod operator;
pub mod plan;
