//! The one word that decides whether a call goes through.
//!
//! ```text
//! word   63..5 era | 4 bypassed | 3..2 state | 1..0 mode
//! ```
//!
//! It changes under the cold mutex only, so a plain store publishes it. The era grows by one with every change, whatever
//! changes, and never wraps: 2^59 eras are 18 years at one a nanosecond.

use core::fmt;

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
        Self::new(self.era().saturating_add(1), standing, self.bypassed())
    }

    /// Whether calls go through and are counted: closed, in automatic mode or in shadow.
    ///
    /// The healthy case is one comparison: they are the two lowest words of an era.
    #[inline]
    pub(super) const fn is_flowing(self) -> bool {
        self.0 & (BYPASSED | MODE | STATE) <= SHADOW
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
const ERA_SHIFT: u32 = 5;

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
                }
            }
        }
    }
}
