//! The blackbox corpus: Ignition's own whole-program tests, played with our planner and our agent in a
//! guest of their own.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`corpus`] | the cases as they stand in the file |
//! | [`substitute`], [`parts`] | placeholders; which configs a case is given |
//! | [`certificates`], [`servers`] | what the cases fetch, and from whom |
//! | [`gpt`], [`guid`], [`loops`], [`disks`], [`accounts`] | the disks before |
//! | [`compare`] | the disks after |
//! | [`program`], [`play`] | running programs; one case |
//! | [`guest`] | PID 1 of the guest |
//! | [`report`] | what guest and host say to each other |
//! | [`initramfs`], [`machine`], [`host`] | the guest's files, its QEMU, and the run as a whole |

pub mod accounts;
pub mod certificates;
pub mod compare;
pub mod corpus;
pub mod disks;
pub mod gpt;
pub mod guest;
pub mod guid;
pub mod host;
pub mod initramfs;
pub mod loops;
pub mod machine;
pub mod parts;
pub mod play;
pub mod program;
pub mod report;
pub mod servers;
pub mod substitute;
