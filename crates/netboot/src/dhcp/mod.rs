//! DHCP (RFC 2131) as a state machine: bytes and the time in, things to do out.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`packet`], [`option_list`], [`code`] | messages as bytes |
//! | `server_message` | what other servers say |
//! | [`client`] | who asks, read off a message |
//! | [`leases`] | who holds which address |
//! | `pool`, `probing`, `addresses` | which address comes next, and whether somebody uses it |
//! | [`options`] | the option set of a reply |
//! | `turn`, `server` | one packet, and the decision about it: as server, proxy or boot server |
//! | `watch` | other servers, and what this appliance is because of them |
//! | `waiting` | offers that wait for their probe |
//! | `message`, `service` | what the sockets see: [`Input`], [`Output`], [`Service`] |

mod addresses;
pub mod client;
pub mod code;
pub mod leases;
mod message;
pub mod option_list;
pub mod options;
pub mod packet;
mod pool;
mod probing;
mod server;
mod server_message;
mod service;
#[cfg(test)]
mod tests;
mod turn;
mod waiting;
mod watch;

pub use leases::{ClientId, Holder, Lease, LeaseTable};
pub use message::{
    CLIENT_PORT, Destination, Input, Output, PROXY_PORT, SERVER_PORT, Strangers, World,
};
pub use service::Service;
pub use watch::Role;
