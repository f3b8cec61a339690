//! The boot services of a rack, without I/O.
//!
//! Every module is a function or a state machine over bytes: input comes by `handle`, output goes
//! by return values or `poll`, and time is an argument. In the order in which a machine meets them:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`dhcp`] | packet codec, leases, and the server's policy: address, options, boot file |
//! | [`frame`] | Ethernet frames made and read by hand, and which of them the kernel hands over |
//! | [`answer`] | the one oracle: what a client should get, whichever protocol asks |
//! | [`tftp`] | the transfer of a boot file as a state machine |
//! | [`router_advertisement`] | what ends a client's wait for IPv6 |
//! | [`http`] | a request for a file: its head, and which bytes it gets |
//! | [`ipxe`] | the scripts that iPXE runs |
//! | [`unified_kernel`] | kernel, initramfs and command line as one EFI program |
//! | [`grub`] | the scripts that the signed GRUB runs under Secure Boot |
//! | [`dns`] | the cluster's zone |
//! | [`ntp`] | the rack's time |
//! | [`recorder`] | what was said on the wire while a machine booted |

pub mod answer;
pub mod dhcp;
pub mod dns;
#[cfg(test)]
mod fixture;
pub mod frame;
pub mod grub;
pub mod http;
pub mod ipxe;
pub mod ntp;
pub mod recorder;
pub mod router_advertisement;
pub mod tftp;
pub mod unified_kernel;
