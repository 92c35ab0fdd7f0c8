//! Decisions from a random number that the caller passes in.

/// Picks an index with a probability in proportion to its weight. A weight of 0 is never picked; none when
/// every weight is 0.
pub fn pick_weighted<T>(targets: &[T], weight: impl Fn(&T) -> u32, random: u64) -> Option<usize> {
    let total: u64 = targets.iter().map(|target| u64::from(weight(target))).sum();
    // The upper half of a product instead of a remainder: every bit of `random` counts.
    let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    targets.iter().position(|target| {
        let own = u64::from(weight(target));
        let hit = left < own;
        left = left.saturating_sub(own);
        hit
    })
}

/// The increment of SplitMix64 (public domain algorithm by Sebastiano Vigna).
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of SplitMix64 for a state.
pub fn mixed(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A stream of random numbers from one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// Uniform over 0 ≤ x < 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        fraction(self.next())
    }
}

/// A random number as a fraction, 0 ≤ x < 1.
pub(crate) fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_picked_in_proportion_to_their_weights() {
        let weights = [0u32, 3, 0, 1];
        let mut dice = Dice::new(7);
        let mut hits = [0u32; 4];
        for _ in 0..40_000 {
            hits[pick_weighted(&weights, |weight| *weight, dice.next()).unwrap()] += 1;
        }
        assert_eq!((hits[0], hits[2]), (0, 0));
        assert!((29_000..31_000).contains(&hits[1]), "{hits:?}");
    }

    #[test]
    fn the_ends_of_the_range_are_safe() {
        assert_eq!(pick_weighted(&[1u32, 1], |weight| *weight, 0), Some(0));
        assert_eq!(pick_weighted(&[1u32, 1], |weight| *weight, u64::MAX), Some(1));
        assert_eq!(pick_weighted(&[0u32], |weight| *weight, 5), None);
        assert_eq!(pick_weighted(&[], |weight: &u32| *weight, 5), None);
        assert!(fraction(u64::MAX) < 1.0);
    }
}
