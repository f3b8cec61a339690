//! What both inits need of Linux, as small functions over system calls.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`mounts`] | proc, sys, dev, run, tmp; mount and unmount anything |
//! | [`modules`] | loads kernel modules by name and by the hardware's modaliases |
//! | [`links`] | Ethernet interfaces: list, up, carrier, address, default route |
//! | [`stacked_links`] | bonds and VLANs |
//! | [`console`] | writes to every console without being held up by any |
//! | [`reap`] | collects ended children, as PID 1 has to |
//! | [`power`] | sync, reboot, power off |
//! | [`kexec`] | loads and starts another kernel |
//! | [`partitions`] | tells the kernel of partitions that stand in no table yet; block device facts |
//! | [`grow`] | lets a mounted filesystem fill its device |
//!
//! Every error names the object that it is about. Nothing here decides: callers do.

pub mod console;
pub mod grow;
pub mod kexec;
pub mod links;
pub mod modules;
pub mod mounts;
pub mod partitions;
pub mod power;
pub mod reap;
pub mod stacked_links;
