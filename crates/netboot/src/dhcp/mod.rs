//! The DHCP server (RFC 2131) as a state machine: bytes and the time in, things to do out.
//!
//! [`packet`] reads and writes messages, [`leases`] remembers who holds which address, [`client`]
//! reads off a message who asks, [`options`] makes the option set for an answer, and [`Server`]
//! decides.
//!
//! The proxy mode (PXE 2.1, beside a server that gives the addresses) gets its own engine beside
//! [`Server`]; until then `mode: auto` means `server`.

pub mod client;
pub mod leases;
pub mod options;
pub mod packet;
mod server;
mod service;
#[cfg(test)]
mod tests;

pub use leases::{Lease, LeaseTable};
pub use server::Server;
pub use service::{
    CLIENT_PORT, Destination, Input, Output, PROXY_PORT, SERVER_PORT, Service, World,
};
