//! How long an answer is waited for before something is sent again.

use hardway_model::lifecycle::Timestamp;

/// Before the first answer came, in milliseconds.
const FIRST: u64 = 500;
/// The shortest for an option acknowledgement, in milliseconds, where the client asked for no interval:
/// RFC 6298 section 2.1's first guess. To a second copy of a block every client is deaf, but atftp
/// breaks off at a second option acknowledgement, so a client that is merely slow should get one.
const OPTIONS: u64 = 1000;
/// The shortest, in milliseconds: a client may write what it has to a slow medium, and a repetition
/// that was not needed costs it a packet.
const SHORTEST: u64 = 100;
/// The longest, in milliseconds, where the client asked for none.
const LONGEST: u64 = 8000;

/// The interval of one transfer: four times what answers take. It doubles with each repetition in a
/// row, up to what the client asked for (RFC 2349), which is whole seconds: curl asks for 6.
///
/// Waiting for all of that makes each lost packet of a lock-step transfer cost as much as thousands of
/// blocks; a packet that comes sooner than the client expected costs it nothing.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    asked_for: Option<u64>,
    /// Milliseconds that answers took, smoothed.
    round_trip: Option<u64>,
    current: u64,
    /// When the packet was sent whose answer is awaited; `None` where it was sent more than once, since
    /// the answer may then be to either (Karn's rule).
    sent: Option<Timestamp>,
    was_repeated: bool,
}

impl Interval {
    pub(super) fn new(asked_for: Option<u8>) -> Self {
        let asked_for = asked_for.map(|seconds| u64::from(seconds) * 1000);
        Self {
            asked_for,
            round_trip: None,
            current: FIRST,
            sent: None,
            was_repeated: false,
        }
    }

    /// Milliseconds.
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// Milliseconds before an option acknowledgement is repeated: as long as the client asked for, since
    /// its own timer, which has the same interval, repairs what is lost on either way.
    pub(super) fn of_options(&self) -> u64 {
        let least = self.asked_for.unwrap_or(OPTIONS).min(LONGEST);
        self.current.max(least)
    }

    /// A packet was sent.
    pub(super) fn sent(&mut self, now: Timestamp) {
        if !self.was_repeated {
            self.sent.get_or_insert(now);
        }
    }

    /// Something is going to be sent again.
    pub(super) fn repeated(&mut self) {
        self.was_repeated = true;
        self.sent = None;
    }

    /// Nobody answered in time.
    pub(super) fn lengthen(&mut self) {
        self.current = (self.current * 2).min(self.longest());
    }

    /// An answer came, and told of progress.
    pub(super) fn answered(&mut self, now: Timestamp) {
        if let Some(sent) = self.sent.take() {
            let took = now.saturating_sub(sent);
            self.round_trip = Some(match self.round_trip {
                Some(smoothed) => (7 * smoothed + took) / 8,
                None => took,
            });
        }
        self.was_repeated = false;
        self.current = match self.round_trip {
            Some(round_trip) => (4 * round_trip).clamp(SHORTEST, self.longest()),
            None => FIRST,
        };
    }

    /// At least a second.
    fn longest(&self) -> u64 {
        self.asked_for.unwrap_or(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happened at each moment, and the interval that followed.
    #[test]
    fn it_follows_the_answers() {
        let mut interval = Interval::new(None);
        assert_eq!(interval.current(), FIRST);
        interval.sent(0);
        interval.lengthen();
        assert_eq!(interval.current(), 2 * FIRST, "silence");
        interval.repeated();
        interval.sent(FIRST);
        interval.answered(FIRST + 40);
        assert_eq!(
            interval.current(),
            FIRST,
            "an answer to either copy teaches nothing"
        );
        interval.sent(1000);
        interval.answered(1040);
        assert_eq!(interval.current(), 160);
        interval.sent(2000);
        interval.answered(2000);
        assert_eq!(interval.current(), 140);
        for now in 3000..3100 {
            interval.sent(now);
            interval.answered(now);
        }
        assert_eq!(interval.current(), SHORTEST);
        for _ in 0..9 {
            interval.lengthen();
        }
        assert_eq!(interval.current(), LONGEST);
    }

    #[test]
    fn options_wait_for_the_clients_own_timer() {
        for (asked_for, milliseconds) in [
            (None, OPTIONS),
            (Some(1), 1000),
            (Some(3), 3000),
            (Some(255), LONGEST),
        ] {
            assert_eq!(Interval::new(asked_for).of_options(), milliseconds);
        }
        let mut silent = Interval::new(None);
        silent.lengthen();
        silent.lengthen();
        assert_eq!(
            silent.of_options(),
            4 * FIRST,
            "no shorter than silence made it"
        );
    }

    #[test]
    fn it_is_no_longer_than_the_client_asked_for() {
        let mut interval = Interval::new(Some(1));
        interval.lengthen();
        interval.lengthen();
        assert_eq!(interval.current(), 1000);
        interval.sent(0);
        interval.answered(400);
        assert_eq!(interval.current(), 1000);
        interval.sent(500);
        interval.answered(500);
        assert!(interval.current() >= SHORTEST);
    }
}
