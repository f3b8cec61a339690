//! Which frames of a segment are lost: at random, and the same for the same seed.

/// A xorshift64 generator with a threshold.
pub struct Loss {
    per_mille: u32,
    state: u64,
}

impl Loss {
    /// Nothing is lost.
    pub fn none() -> Self {
        Self::new(0, 0)
    }

    /// Of a thousand frames about `per_mille` are lost.
    pub fn new(per_mille: u32, seed: u64) -> Self {
        // Zero is the generator's one fixed point.
        let state = if seed == 0 { u64::MAX } else { seed };
        Self { per_mille, state }
    }

    /// Whether the next frame is lost.
    pub fn takes(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % 1000 < u64::from(self.per_mille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(per_mille: u32, seed: u64) -> Vec<bool> {
        let mut loss = Loss::new(per_mille, seed);
        (0..1000).map(|_| loss.takes()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_losses() {
        assert_eq!(run(100, 7), run(100, 7));
        assert_ne!(run(100, 7), run(100, 8));
    }

    #[test]
    fn about_as_many_are_lost_as_asked_for() {
        let lost = |per_mille| run(per_mille, 7).into_iter().filter(|lost| *lost).count();
        assert_eq!(lost(0), 0);
        assert!((50..200).contains(&lost(100)), "{} of 1000", lost(100));
        assert_eq!(lost(1000), 1000);
    }
}
