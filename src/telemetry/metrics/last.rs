//! The newest standing (state and mode) of a circuit, which the gauges show. The standing is packed with its era (the
//! version of the state) into one atomic word.

use crate::state::{Mode, Standing, State};

/// Returns the standing (state and mode) by which calls are admitted. If the kill switch is on (`bypassed`), the mode
/// is always disabled.
pub(super) const fn effective(standing: Standing, bypassed: bool) -> Standing {
    if bypassed { Standing::new(standing.state, Mode::Disabled) } else { standing }
}

/// The standing (state and mode) that the gauges show, in one word. A later era (version of the state) gives a larger
/// word.
///
/// If bit 0 is set, the gauges of the circuit's own label show the circuit. Otherwise the gauges of its pool (the
/// circuits with one shared label) show the circuit. The bit and the standing are in one word, so that an exchange
/// reads and changes them together. Therefore each change of the standing is counted once, either in the pool or under
/// the own label.
///
/// ```text
/// word   63..5 era | 4..2 index in STANDINGS | 1 tripped | 0 own label
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last(pub(super) u64);

impl Last {
    /// The bits that are set when a circuit leaves its registry. These are all bits except `OWN`, so that the word is
    /// larger than every word with an era.
    pub(super) const GONE: u64 = !Self::OWN;
    /// The bit of a circuit that has its own label.
    pub(super) const OWN: u64 = 1;

    pub(super) fn new(era: u64, standing: Standing) -> Self {
        let index = (0..).zip(STANDINGS).find(|(_, known)| *known == standing.as_str());
        let (index, _) = index.expect("STANDINGS has all that a standing can be");
        Self(era << 5 | index << 2 | u64::from(standing.is_tripped()) << 1)
    }

    /// Returns this word with the bit `OWN` of `other`, so that the gauges that show `other` also show this standing.
    pub(super) const fn shown_like(self, other: Self) -> Self {
        Self(self.0 & !Self::OWN | other.0 & Self::OWN)
    }

    /// Returns true if the gauges of the circuit's own label show the circuit.
    pub(super) const fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }

    /// Returns true if the circuit left its registry.
    pub(super) const fn is_gone(self) -> bool {
        self.0 & Self::GONE == Self::GONE
    }

    /// Returns the text of the standing for metrics, or an empty text if the circuit has left its registry.
    pub(super) fn standing(self) -> &'static str {
        if self.is_gone() { "" } else { STANDINGS[self.index()] }
    }

    /// Returns the index of the standing in `STANDINGS`.
    pub(super) fn index(self) -> usize {
        let index = self.0 >> 2 & 0b111;
        (0..STANDINGS.len()).zip(0..).find(|(_, known)| *known == index).map_or(0, |(index, _)| index)
    }

    pub(super) const fn is_tripped(self) -> bool {
        self.0 & 2 == 2 && !self.is_gone()
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
