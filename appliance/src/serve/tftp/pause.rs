//! When the loop sleeps, and when it looks again at once.
//!
//! A lock-step transfer is one short packet each way, again and again, and most of the time of each
//! round is the time that it takes to wake two programs. The server saves its half by not going to sleep
//! while answers come at once: it looks again, at most [`LONGEST`] for each answer, and only as long as
//! answers do come that quickly. What this costs is processor time that nobody asked for while a file
//! is fetched; the loop gives way to whoever else wants the processor each time round, and a rack that
//! is silent costs nothing.

use std::time::{Duration, Instant};

/// The longest that one answer is waited for awake.
const LONGEST: Duration = Duration::from_micros(60);
/// Looked for no shorter than this, where it is looked for at all.
const SHORTEST: Duration = Duration::from_micros(10);
/// A gap that counts for no more than this, so that one pause of a client is soon forgotten.
const LONGEST_GAP: Duration = Duration::from_micros(400);

/// How long answers take, as far as that matters.
#[derive(Debug)]
pub struct Pause {
    /// Smoothed time from the end of the work to the next packet.
    gap: Duration,
    /// With one processor the client, or whoever brings its packets, has to run where the loop is.
    alone: bool,
}

impl Pause {
    /// Sleeps until it has seen quick answers.
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism();
        Self {
            gap: LONGEST_GAP,
            alone: processors.is_ok_and(|processors| processors.get() < 2),
        }
    }

    /// A packet came so long after the loop had nothing more to do.
    pub fn arrived(&mut self, gap: Duration) {
        self.gap = (self.gap * 7 + gap.min(LONGEST_GAP)) / 8;
    }

    /// How long to look again and again before going to sleep.
    pub fn awake(&self) -> Duration {
        match self.alone || self.gap > LONGEST {
            true => Duration::ZERO,
            false => (self.gap * 2).clamp(SHORTEST, LONGEST),
        }
    }

    /// Calls `look` until it finds something or the time is up; says whether it found something.
    pub fn look(&self, mut look: impl FnMut() -> std::io::Result<bool>) -> std::io::Result<bool> {
        let awake = self.awake();
        if awake.is_zero() {
            return Ok(false);
        }
        let until = Instant::now() + awake;
        loop {
            if look()? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_awake_while_answers_come_at_once() {
        let mut pause = Pause {
            alone: false,
            ..Pause::new()
        };
        assert_eq!(pause.awake(), Duration::ZERO, "nothing was seen yet");
        for _ in 0..40 {
            pause.arrived(Duration::from_micros(20));
        }
        assert!(pause.awake() >= Duration::from_micros(40));
        assert!(pause.awake() <= LONGEST);
        pause.arrived(Duration::from_secs(3));
        pause.arrived(Duration::from_secs(3));
        assert_eq!(pause.awake(), Duration::ZERO, "the rack is silent");
    }

    #[test]
    fn one_processor_is_left_to_others() {
        let pause = Pause {
            gap: Duration::ZERO,
            alone: true,
        };
        assert_eq!(pause.awake(), Duration::ZERO);
    }
}
