//! Random numbers for jitter, seeds and ids.
//!
//! The random bits come from `RandomState`, whose random keys are the only randomness in `std`. This source is good
//! enough, because none of the random numbers of this crate is a secret. A seed always gives the same sequence of
//! numbers, so that tests can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Returns 64 random bits.
pub(crate) fn bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns a random id, which is 128 random bits as 32 hexadecimal digits.
pub(crate) fn id() -> String {
    text(bits(), bits())
}

/// Returns the number at position `n` in the random sequence of `seed`.
///
/// The sequence is `SplitMix64` (Steele, Lea & Flood 2014). Each number depends only on the seed and the position, so
/// the caller needs no generator with a state.
pub(crate) const fn nth(seed: u64, n: u64) -> u64 {
    let z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Converts 64 random bits to a number from 0 to 1, including 0 and 1.
pub(crate) fn share(bits: u64) -> f64 {
    let bits = u32::try_from(bits >> 32).expect("32 bits");
    f64::from(bits) / f64::from(u32::MAX)
}

/// A generator of random numbers. Generators with the same seed return the same sequence.
#[cfg(feature = "store")]
#[derive(Debug)]
pub(crate) struct Dice {
    seed: u64,
    drawn: u64,
}

#[cfg(feature = "store")]
impl Dice {
    /// Returns a generator for the sequence of `seed`, or of a random seed if `seed` is `None`.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { seed: seed.unwrap_or_else(bits), drawn: 0 }
    }

    fn roll(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        nth(self.seed, self.drawn)
    }

    /// Returns the next number from 0 to 1, including 0 and 1.
    pub(crate) fn share(&mut self) -> f64 {
        share(self.roll())
    }

    /// Returns the next id, which is 128 random bits as 32 hexadecimal digits.
    pub(crate) fn id(&mut self) -> String {
        text(self.roll(), self.roll())
    }
}

fn text(high: u64, low: u64) -> String {
    format!("{high:016x}{low:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_equals_the_reference() {
        let reference = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!([1, 2, 3].map(|n| nth(0, n)), reference);
    }

    #[test]
    fn a_share_reaches_from_zero_to_one() {
        assert!(share(0) <= 0.0 && share(u64::MAX) >= 1.0);
        assert!((0.4..0.6).contains(&share(u64::MAX / 2)));
    }

    #[test]
    fn random_bits_differ_from_draw_to_draw() {
        assert_ne!(bits(), bits());
    }
}
