//! Random numbers for jitter, seeds and ids.
//!
//! The random bits come from the random keys of hashers, which are the only randomness that `std` offers. These bits
//! are enough for this crate, because none of its random numbers is a secret. The numbers of one seed are always the
//! same, so that tests can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Returns 64 random bits.
pub(crate) fn bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns 128 random bits as 32 hexadecimal digits.
pub(crate) fn id() -> String {
    text(bits(), bits())
}

/// Returns the number at position `n` in the sequence of `seed`.
///
/// The sequence is `SplitMix64` (Steele, Lea & Flood 2014). The only state of this generator is the position, so a
/// caller that knows the position needs no generator.
pub(crate) const fn nth(seed: u64, n: u64) -> u64 {
    let z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Turns 64 random bits into a number from 0 to 1.
pub(crate) fn share(bits: u64) -> f64 {
    let bits = u32::try_from(bits >> 32).expect("32 bits");
    f64::from(bits) / f64::from(u32::MAX)
}

/// The sequence of one seed, drawn number by number.
#[cfg(feature = "store")]
#[derive(Debug)]
pub(crate) struct Dice {
    seed: u64,
    drawn: u64,
}

#[cfg(feature = "store")]
impl Dice {
    /// Begins the sequence of `seed`, or of a random seed if `seed` is `None`.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { seed: seed.unwrap_or_else(bits), drawn: 0 }
    }

    fn roll(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        nth(self.seed, self.drawn)
    }

    /// Draws a number from 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        share(self.roll())
    }

    /// Draws 128 bits, and returns 32 hexadecimal digits.
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
