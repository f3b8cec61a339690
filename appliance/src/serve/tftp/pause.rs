//! Whether the loop sleeps until the next packet, or looks for it awake.
//!
//! A lock-step transfer is one short packet each way, again and again, and most of the time of each
//! round is the time that it takes to wake two programs. A server that does not go to sleep saves its
//! half, where it has a processor to itself: it looks again for at most [`LONGEST`] before it sleeps. On
//! a processor that others want, above all a client on the same computer, being awake only keeps them
//! from running, and costs more than it saves.
//!
//! Which of the two it is cannot be known, so it is measured: asleep is the rule; now and then a few
//! packets are waited for awake, and where they come clearly sooner it stays at that for a while. Where
//! they do not, the next trial is put off twice as long. A rack that is silent costs nothing.

use std::time::{Duration, Instant};

/// The longest that one packet is waited for awake.
const LONGEST: Duration = Duration::from_micros(100);
/// Nobody is waited for awake whose packets take longer than this.
const QUICK: Duration = Duration::from_micros(200);
/// Packets that come sooner than this leave nothing to be saved. It is so where the client runs on the
/// same processor; being awake would move it to another one, from where its packets take longer.
const INSTANT: Duration = Duration::from_micros(20);
/// A packet after so long was not sent at once: the client had something else to do.
const ABSENT: Duration = Duration::from_millis(5);
/// Packets of a trial.
const TRIAL: u32 = 16;
/// Packets asleep, before a trial and between times awake.
const ASLEEP: u32 = 256;
/// Packets awake, until it is seen again what they would take asleep.
const AWAKE: u32 = 16_384;
/// The longest that a trial is put off, in packets.
const LONGEST_ASLEEP: u32 = 1 << 20;

/// What was measured, and what follows.
#[derive(Debug)]
pub struct Pause {
    state: State,
    /// Packets until the state is thought over.
    left: u32,
    /// Packets that the last trial that failed was put off by.
    put_off: u32,
    /// Smoothed time from the end of the work to the next packet, asleep and awake.
    asleep: Option<Duration>,
    awake: Option<Duration>,
    /// With one processor there is nobody to be awake beside.
    alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asleep,
    Trial,
    Awake,
}

impl Pause {
    /// Asleep.
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism();
        Self {
            state: State::Asleep,
            left: ASLEEP,
            put_off: ASLEEP,
            asleep: None,
            awake: None,
            alone: processors.is_ok_and(|processors| processors.get() < 2),
        }
    }

    /// A packet came so long after the loop had nothing more to do.
    pub fn arrived(&mut self, gap: Duration) {
        if gap > ABSENT && self.state != State::Trial {
            return;
        }
        let measured = match self.state {
            State::Asleep => &mut self.asleep,
            State::Trial | State::Awake => &mut self.awake,
        };
        *measured = Some(measured.map_or(gap, |before| (before * 7 + gap) / 8));
        self.left = self.left.saturating_sub(1);
        match self.state {
            State::Asleep if self.left == 0 => self.try_awake(),
            State::Trial if self.is_bad(gap) => self.sleep_longer(),
            State::Trial if self.left == 0 => match self.is_better() {
                true => self.become_state(State::Awake, AWAKE),
                false => self.sleep_longer(),
            },
            State::Awake if self.left == 0 || !self.is_better() => {
                self.put_off = ASLEEP;
                self.become_state(State::Asleep, ASLEEP);
            }
            _ => {}
        }
    }

    /// How long to look again and again before going to sleep.
    pub fn awake(&self) -> Duration {
        match self.state {
            State::Asleep => Duration::ZERO,
            State::Trial | State::Awake => LONGEST,
        }
    }

    /// Calls `look` until it finds something or the time is up; says whether it found something.
    pub fn look(&self, mut look: impl FnMut() -> std::io::Result<bool>) -> std::io::Result<bool> {
        let until = Instant::now() + self.awake();
        loop {
            if look()? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn try_awake(&mut self) {
        let worth_it = |gap: Duration| (INSTANT..=QUICK).contains(&gap);
        match !self.alone && self.asleep.is_some_and(worth_it) {
            false => self.left = ASLEEP,
            true => {
                self.awake = None;
                self.become_state(State::Trial, TRIAL);
            }
        }
    }

    fn sleep_longer(&mut self) {
        self.put_off = (self.put_off * 2).min(LONGEST_ASLEEP);
        self.become_state(State::Asleep, self.put_off);
    }

    fn become_state(&mut self, state: State, packets: u32) {
        self.state = state;
        self.left = packets;
    }

    /// One packet took so long that the trial has failed.
    fn is_bad(&self, gap: Duration) -> bool {
        self.asleep.is_some_and(|asleep| gap > asleep * 4)
    }

    /// Clearly: by a quarter.
    fn is_better(&self) -> bool {
        match (self.awake, self.asleep) {
            (Some(awake), Some(asleep)) => awake * 4 < asleep * 3,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets that come after so many microseconds, asleep and awake. Says how many of the last
    /// thousand were waited for awake.
    fn run(asleep: u64, awake: u64) -> usize {
        let mut pause = Pause {
            alone: false,
            ..Pause::new()
        };
        let mut one = |_| {
            let is_awake = !pause.awake().is_zero();
            let gap = if is_awake { awake } else { asleep };
            pause.arrived(Duration::from_micros(gap));
            is_awake
        };
        (0..20_000).for_each(|number| {
            one(number);
        });
        (0..1000).filter(|number| one(*number)).count()
    }

    #[test]
    fn it_is_awake_where_that_is_quicker() {
        assert!(run(70, 30) > 700, "the processor is its own");
        assert!(run(30, 90) < 30, "the client wants the processor, too");
        assert!(run(30, 29) < 30, "not worth it");
        assert_eq!(run(10, 5), 0, "there is nothing to be saved");
        assert_eq!(run(3000, 10), 0, "who takes that long is slept for");
    }

    #[test]
    fn one_processor_is_left_to_others() {
        let mut pause = Pause {
            alone: true,
            ..Pause::new()
        };
        for _ in 0..10_000 {
            pause.arrived(Duration::from_micros(10));
            assert_eq!(pause.awake(), Duration::ZERO);
        }
    }
}
