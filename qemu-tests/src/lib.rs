//! The lab: an appliance and blank machines as VMs on a segment of their own, and the scenarios that
//! are played in it. It drives built images as black boxes and needs no root.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`segment`] | the network between the VMs: a switch with capture, loss and cables to pull |
//! | [`frame`], [`loss`], [`capture`] | what the segment knows of Ethernet; what it loses; its pcap file |
//! | [`host_port`] | the host's way onto the segment |
//! | [`neighbour`], [`rogue`] | other DHCP servers on the segment: one that owns the addresses, one that nobody asked for |
//! | [`vm`] | one QEMU process: power, reset, screen |
//! | [`qmp`], [`serial`], [`nvram`] | a VM's control socket, console, and firmware variables |
//! | [`drive`], [`disk`] | a VM's disks, as QEMU gets them and as files |
//! | [`accelerator`] | KVM, if guests really start under it, or emulation |
//! | [`artifacts`] | what the build left |
//! | [`working_copy`] | the cluster file as the lab serves it |
//! | [`appliance`], [`api`] | the appliance's disk; a client of its API |
//! | [`lab`], [`rack`] | all of it together |
//! | [`up`], [`table`], [`figures`] | `hardway-lab up`: the live table and what was measured |
//! | [`interrupt`] | Ctrl-C |
//! | [`conformance`], [`blackbox`] | `hardway-lab conformance`: the real programs' own cases |
//! | [`namespace`], [`interop`] | `hardway-lab interop`: real clients against `hardway serve` |
//! | [`clients`] | `hardway-lab capture-clients`: what real DHCP clients send |
//! | [`scenarios`] | `hardway-lab test`: one scenario a file |

pub mod accelerator;
pub mod api;
pub mod appliance;
pub mod artifacts;
pub mod blackbox;
pub mod capture;
pub mod clients;
pub mod conformance;
pub mod disk;
pub mod drive;
pub mod figures;
pub mod frame;
pub mod host_port;
pub mod interop;
pub mod interrupt;
pub mod lab;
pub mod loss;
pub mod lossy_cable;
pub mod namespace;
pub mod neighbour;
pub mod nvram;
pub mod qmp;
pub mod rack;
pub mod rogue;
pub mod scenarios;
pub mod segment;
pub mod serial;
pub mod table;
pub mod tools;
pub mod up;
pub mod vm;
pub mod working_copy;
