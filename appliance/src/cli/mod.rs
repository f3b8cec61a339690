//! The operator's command line.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`check`] | judges files, without an appliance |
//! | [`client`] | speaks to an appliance |
//! | [`operator`] | looks at machines and acts on them, over the API |
//! | [`ignition`] | judges, merges and translates Ignition configs |
//! | [`media`] | makes media for the appliance |

pub mod check;
pub mod client;
pub mod ignition;
pub mod media;
pub mod operator;
