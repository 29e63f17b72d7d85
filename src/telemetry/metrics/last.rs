//! The newest standing that the gauges show, as a word.

use crate::state::{Mode, Standing, State};

/// Returns the effective standing. Under the kill switch a circuit is disabled, in every mode.
pub(super) const fn effective(standing: Standing, bypassed: bool) -> Standing {
    if bypassed { Standing::new(standing.state, Mode::Disabled) } else { standing }
}

/// The standing that the gauges show, in a word that grows with the era.
///
/// ```text
/// word   63..4 era | 3..1 index in STANDINGS | 0 tripped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last(pub(super) u64);

impl Last {
    /// The mark of a circuit that left its registry. Larger than every word of an era.
    pub(super) const GONE: Self = Self(u64::MAX);

    pub(super) fn new(era: u64, standing: Standing) -> Self {
        let index = (0..).zip(STANDINGS).find(|(_, known)| *known == standing.as_str());
        let (index, _) = index.expect("STANDINGS has all that a standing can be");
        Self(era << 4 | index << 1 | u64::from(standing.is_tripped()))
    }

    /// Returns the label of the standing. Empty if the circuit left its registry.
    pub(super) fn standing(self) -> &'static str {
        if self == Self::GONE { "" } else { STANDINGS[self.index()] }
    }

    /// Returns the index of the standing in `STANDINGS`.
    pub(super) fn index(self) -> usize {
        let index = self.0 >> 1 & 0b111;
        (0..STANDINGS.len()).zip(0..).find(|(_, known)| *known == index).map_or(0, |(index, _)| index)
    }

    pub(super) const fn is_tripped(self) -> bool {
        self.0 & 1 == 1 && self.0 != Self::GONE.0
    }
}

/// All values of [`Standing::as_str`].
pub(super) const STANDINGS: [&str; 5] = [
    State::Closed.as_str(),
    State::Open.as_str(),
    State::HalfOpen.as_str(),
    Mode::ForcedOpen.as_str(),
    Mode::Disabled.as_str(),
];
