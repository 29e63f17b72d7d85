//! The weight of a failure, in units of 1/256. The classifier of a call (`classify`) or its caller chooses the weight.
//! The number of units is an integer, so that sums are exact and do not depend on the order in which threads add
//! weights.

use std::fmt;
use std::time::Duration;

/// The weight of a failure, which is more than 0 and at most 1, in steps of 1/256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The weight of a hard failure, such as a 5xx response or a refused connection, which is 1.0.
    pub const HARD: Self = Self(UNIT);
    /// The weight of a timeout, which is 0.5. A timeout weighs less than an error, because the service may only be
    /// slow.
    pub const TIMEOUT: Self = Self(UNIT / 2);

    /// Returns `weight`, rounded to the nearest step of 1/256, but at least 1/256.
    ///
    /// # Errors
    ///
    /// [`InvalidWeight`] unless `0 < weight <= 1`.
    pub fn new(weight: f64) -> Result<Self, InvalidWeight> {
        if !(weight > 0.0 && weight <= 1.0) {
            return Err(InvalidWeight(weight));
        }
        let units = (weight * f64::from(UNIT)).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 <= units <= 256, by the check above"
        )]
        let units = units as u16;
        Ok(Self(units.max(1)))
    }

    /// Returns the weight as a number, `0 < w <= 1`.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(UNIT)
    }

    /// Returns this weight × `part` ÷ `whole`, rounded, but at most this weight. Returns `None` if the result rounds to
    /// zero.
    pub(super) fn share(self, part: Duration, whole: Duration) -> Option<Self> {
        let units = (part.as_nanos() * u128::from(self.0) * 2).checked_div(whole.as_nanos())?.div_ceil(2);
        let units = u16::try_from(units).map_or(self.0, |units| units.min(self.0));
        (units > 0).then_some(Self(units))
    }

    /// Returns the weight as a number of units of 1/256.
    pub(crate) const fn units(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({})", self.as_f64())
    }
}

/// The error of a weight outside the range `0 < weight <= 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvalidWeight(f64);

impl fmt::Display for InvalidWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weight is {}, allowed is more than 0 and at most 1", self.0)
    }
}

impl std::error::Error for InvalidWeight {}

/// The number of units in the weight 1.0. All sums of weights are in units of 1/256.
pub(crate) const UNIT: u16 = 256;

/// Converts an integer to a float, to compute a rate or a score.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, beyond which a rate does not need the last digit")]
pub(crate) const fn number(count: u64) -> f64 {
    count as f64
}

/// Converts a sum of weights in units of 1/256 to a score, in which a hard failure is 1.0.
pub(crate) fn score_from_units(units: u64) -> f64 {
    number(units) / f64::from(UNIT)
}

/// Converts a score from a record to a sum of weights in units of 1/256. A score that is negative or not finite becomes
/// zero.
pub(crate) fn units_from_score(score: f64) -> u64 {
    if !score.is_finite() || score <= 0.0 {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and a cast saturates")]
    let units = (score * f64::from(UNIT)).round() as u64;
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_above_zero_and_at_most_one() {
        for bad in [0.0, -0.5, 1.0001, f64::NAN, f64::INFINITY] {
            assert!(Weight::new(bad).is_err(), "{bad} was accepted");
        }
        assert_eq!(Weight::new(1.0), Ok(Weight::HARD));
        assert_eq!(Weight::new(0.5), Ok(Weight::TIMEOUT));
        assert_eq!(Weight::new(1e-9).map(Weight::units), Ok(1), "a tiny weight still counts");
    }
}
