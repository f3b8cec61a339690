//! What the kernel says of this host's clock.

use std::time::{Duration, Instant};

use hardway_netboot::ntp::{Clock, Discipline, Leap, precision};

use crate::clock;

/// 2026-01-01 UTC, in nanoseconds. A clock before this was never set.
const EARLIEST: u64 = 1_767_225_600_000_000_000;
/// How long the kernel's word is taken for true.
const FRESH: Duration = Duration::from_secs(1);
/// How often the clock is read to find out how long that takes.
const READINGS: usize = 32;

/// Asks the kernel now and then.
pub struct Watch {
    clock: Clock,
    asked: Instant,
}

impl Watch {
    /// Asks it now.
    pub fn new() -> Self {
        let clock = Clock {
            discipline: discipline(),
            precision: precision(reading_time()),
            reference: clock::nanoseconds(),
        };
        Self {
            clock,
            asked: Instant::now(),
        }
    }

    /// What is known, at most a second old.
    pub fn clock(&mut self) -> Clock {
        if self.asked.elapsed() > FRESH {
            self.clock.discipline = discipline();
            self.clock.reference = clock::nanoseconds();
            self.asked = Instant::now();
        }
        self.clock
    }
}

/// For the log.
pub fn describe(discipline: Discipline) -> &'static str {
    match discipline {
        Discipline::Kernel { .. } => "the clock is kept right by this host's time daemon",
        Discipline::Local => "nobody keeps the clock right; it is given out as stratum 10",
        Discipline::Unset => "the clock was never set, and clients are told not to follow it",
    }
}

fn discipline() -> Discipline {
    if clock::nanoseconds() < EARLIEST {
        return Discipline::Unset;
    }
    // SAFETY: timex is a struct of integers, for which zeroes are values.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: adjtimex(2) without modes only writes to the struct that it is given.
    let state = unsafe { libc::adjtimex(&mut timex) };
    let is_right = state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    if !is_right {
        return Discipline::Local;
    }
    Discipline::Kernel {
        most_microseconds: u32::try_from(timex.maxerror).unwrap_or(u32::MAX),
        leap: match timex.status {
            status if status & libc::STA_INS != 0 => Leap::Insert,
            status if status & libc::STA_DEL != 0 => Leap::Delete,
            _ => Leap::None,
        },
    }
}

/// The least time between two readings that differ, in nanoseconds.
fn reading_time() -> u64 {
    let between = |_| {
        let first = clock::nanoseconds();
        loop {
            match clock::nanoseconds().checked_sub(first) {
                Some(0) => {}
                between => return between,
            }
        }
    };
    let least = (0..READINGS).filter_map(between).min();
    least.unwrap_or(1000)
}
