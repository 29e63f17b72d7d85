//! The one word that decides whether a call goes through.
//!
//! ```text
//! word   63..7 era | 6 spread | 5 awaits its restore | 4 bypassed | 3..2 state | 1..0 mode
//! ```
//!
//! It changes under the cold mutex only, so a plain store publishes it. The era grows by one with every change of state, mode or
//! deadline, and never wraps: 2^57 eras are 4 years at one a nanosecond. The wait for a restore begins and ends within an era,
//! and so does the spreading over the threads. So eras are compared, and not words, to see whether the circuit has changed.

use std::fmt;

use crate::state::{Mode, Standing, State};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    pub(super) fn new(era: u64, standing: Standing, bypassed: bool) -> Self {
        let state = match standing.state {
            State::Closed => CLOSED,
            State::Open => OPEN,
            State::HalfOpen => HALF_OPEN,
        };
        let mode = match standing.mode {
            Mode::Automatic => AUTOMATIC,
            Mode::Shadow => SHADOW,
            Mode::ForcedOpen => FORCED_OPEN,
            Mode::Disabled => DISABLED,
        };
        Self(era << ERA_SHIFT | if bypassed { BYPASSED } else { 0 } | mode | state)
    }

    #[inline]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn era(self) -> u64 {
        self.0 >> ERA_SHIFT
    }

    /// The next word of the same circuit: the next era, and a new standing.
    pub(super) fn next(self, standing: Standing) -> Self {
        let next = Self::new(self.era().saturating_add(1), standing, self.bypassed());
        Self(next.0 | self.0 & (AWAITS_RESTORE | SPREAD))
    }

    /// Whether calls go through and are counted: closed, in automatic mode or in shadow.
    ///
    /// The healthy case is one comparison: they are the two lowest words of an era. A circuit that awaits its restore is not
    /// healthy yet.
    #[inline]
    pub(super) const fn is_flowing(self) -> bool {
        self.0 & (AWAITS_RESTORE | BYPASSED | MODE | STATE) <= SHADOW
    }

    /// Returns whether calls are rejected until the end of the opening, and nothing lies over the state.
    #[inline]
    pub(super) const fn is_plainly_open(self) -> bool {
        self.0 & (AWAITS_RESTORE | BYPASSED | MODE | STATE) == OPEN
    }

    /// Returns whether each seat has a cell and a branch.
    #[inline]
    pub(super) const fn is_spread(self) -> bool {
        self.0 & SPREAD != 0
    }

    /// Returns the same word of a circuit that is spread.
    pub(super) const fn spread(self) -> Self {
        Self(self.0 | SPREAD)
    }

    /// The same word once nobody waits for the restore.
    pub(super) const fn restored(self) -> Self {
        Self(self.0 & !AWAITS_RESTORE)
    }

    /// The same word while services wait for the restore.
    #[cfg(any(feature = "store", test))]
    pub(super) const fn awaiting_restore(self) -> Self {
        Self(self.0 | AWAITS_RESTORE)
    }

    /// Whether services wait for the circuit to be restored. It means nothing to a bypassed circuit.
    pub(super) const fn awaits_restore(self) -> bool {
        self.0 & (AWAITS_RESTORE | BYPASSED) == AWAITS_RESTORE
    }

    /// Whether the environment's kill switch names the circuit: calls go through whatever the rest says.
    pub(super) const fn bypassed(self) -> bool {
        self.0 & BYPASSED != 0
    }

    pub(super) const fn state(self) -> State {
        match self.0 & STATE {
            OPEN => State::Open,
            HALF_OPEN => State::HalfOpen,
            _ => State::Closed,
        }
    }

    pub(super) const fn mode(self) -> Mode {
        match self.0 & MODE {
            SHADOW => Mode::Shadow,
            FORCED_OPEN => Mode::ForcedOpen,
            DISABLED => Mode::Disabled,
            _ => Mode::Automatic,
        }
    }

    pub(super) const fn standing(self) -> Standing {
        Standing::new(self.state(), self.mode())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("era", &self.era())
            .field("is_spread", &self.is_spread())
            .field("awaits_restore", &self.awaits_restore())
            .field("bypassed", &self.bypassed())
            .field("mode", &self.mode())
            .field("state", &self.state())
            .finish()
    }
}

// Closed is 0, automatic 0 and shadow 1, so that "flowing" is "at most 1".
const MODE: u64 = 0b11;
const AUTOMATIC: u64 = 0;
const SHADOW: u64 = 1;
const FORCED_OPEN: u64 = 2;
const DISABLED: u64 = 3;
const STATE: u64 = 0b11 << 2;
const CLOSED: u64 = 0;
const OPEN: u64 = 1 << 2;
const HALF_OPEN: u64 = 2 << 2;
const BYPASSED: u64 = 1 << 4;
const AWAITS_RESTORE: u64 = 1 << 5;
const SPREAD: u64 = 1 << 6;
const ERA_SHIFT: u32 = 7;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_put_in() {
        for state in [State::Closed, State::Open, State::HalfOpen] {
            for mode in [Mode::Automatic, Mode::Shadow, Mode::ForcedOpen, Mode::Disabled] {
                for bypassed in [false, true] {
                    let standing = Standing::new(state, mode);
                    let word = Word::new(77, standing, bypassed);
                    assert_eq!((word.era(), word.standing(), word.bypassed()), (77, standing, bypassed));
                    let flows = state == State::Closed && matches!(mode, Mode::Automatic | Mode::Shadow) && !bypassed;
                    assert_eq!(word.is_flowing(), flows, "{word:?}");
                    let open = state == State::Open && mode == Mode::Automatic && !bypassed;
                    assert_eq!(word.is_plainly_open(), open, "{word:?}");

                    let awaiting = word.awaiting_restore();
                    assert_eq!((awaiting.era(), awaiting.standing(), awaiting.bypassed()), (77, standing, bypassed));
                    assert!(!awaiting.is_flowing() && !awaiting.is_plainly_open(), "{awaiting:?}");
                    assert_eq!((awaiting.awaits_restore(), awaiting.restored() == word), (!bypassed, true));
                    assert_eq!(awaiting.next(standing).awaits_restore(), !bypassed, "a change does not end the wait");

                    let spread = word.spread();
                    assert_eq!((spread.era(), spread.standing(), spread.bypassed()), (77, standing, bypassed));
                    assert_eq!((spread.is_flowing(), spread.is_spread(), word.is_spread()), (flows, true, false));
                    assert!(spread.next(standing).is_spread(), "a change does not draw a circuit together");
                }
            }
        }
    }
}
