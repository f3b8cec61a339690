//! The boot services of a rack, without I/O.
//!
//! Every module is a function or a state machine over bytes: input comes by `handle`, output goes
//! by return values or `poll`, and time is an argument. In the order in which a machine meets them:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`dhcp`] | packet codec, leases, and the server's policy: address, options, boot file |
//! | [`answer`] | the one oracle: what a client should get, whichever protocol asks |
//! | [`tftp`] | the transfer of a boot file as a state machine |
//! | [`router_advertisement`] | what ends a client's wait for IPv6 |
//! | [`ipxe`] | the scripts that iPXE runs |
//! | [`dns`] | the cluster's zone |
//! | [`ntp`] | the rack's time |

pub mod answer;
pub mod dhcp;
pub mod dns;
#[cfg(test)]
mod fixture;
pub mod ipxe;
pub mod ntp;
pub mod router_advertisement;
pub mod tftp;
