//! The word of a circuit, one `AtomicU64` with era, state, mode and flags. The word decides if a call goes through.
//!
//! ```text
//! word   63..10 era | 9 watched | 8 shadow beneath a hold | 7 spread | 6 limited | 5 awaits its restore | 4 bypassed
//!        3..2 state | 1..0 mode
//! ```
//!
//! The word changes under the cold mutex only, so that a Release store without an exchange publishes a change. The era
//! grows by one with every transition, and never wraps, because 2^54 eras last half a year even at one era each
//! nanosecond. The flags for a wait for a restore, for a limit, and for counters of each thread can change within an
//! era. Therefore a thread that wants to know if a transition has happened compares eras, and not words.

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

    /// Returns the word of the next era, with the state and the mode of `standing`. The bits for the kill switch, the
    /// wait for a restore, the spreading over threads and the count of the calls under way are kept. The word of a hold
    /// keeps the mode from before the hold. The next era begins without a limit.
    pub(super) fn next(self, standing: Standing) -> Self {
        let next = Self::new(self.era().saturating_add(1), standing, self.bypassed());
        let beneath = if standing.mode.is_hold() && self.beneath() == Mode::Shadow { SHADOW_BENEATH } else { 0 };
        Self(next.0 | beneath | self.0 & (AWAITS_RESTORE | SPREAD | WATCHED))
    }

    /// Returns true if this word alone admits a call. The circuit is then closed in automatic mode or in shadow, has
    /// neither a limit nor a wait for a restore, and need not count the start of the call.
    ///
    /// The check is one comparison, as in [`is_flowing`](Self::is_flowing), so that a circuit without a slow-call rule
    /// needs no additional test.
    #[inline]
    pub(super) const fn passes_at_once(self) -> bool {
        self.0 & (WATCHED | LIMITED | AWAITS_RESTORE | BYPASSED | MODE | STATE) <= SHADOW
    }

    /// Returns true if calls go through and are counted, because the circuit is closed in automatic mode or in shadow.
    ///
    /// The check is one comparison, because these two combinations of state and mode are the smallest numbers. A
    /// circuit that awaits its restore, or whose calls are limited, does not count as flowing, so that the admission of
    /// a healthy call needs no second test.
    #[inline]
    pub(super) const fn is_flowing(self) -> bool {
        self.0 & (LIMITED | AWAITS_RESTORE | BYPASSED | MODE | STATE) <= SHADOW
    }

    /// Returns true if the calls that go through are counted, because the circuit is closed in automatic mode or in
    /// shadow. Neither the wait for a restore nor a limit changes this answer.
    pub(super) const fn counts_calls(self) -> bool {
        self.0 & (BYPASSED | MODE | STATE) <= SHADOW
    }

    /// Returns true if the circuit counts the calls under way, because its slow-call rule is on.
    #[inline]
    pub(super) const fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    /// Returns the same word with the bit set for a circuit that counts the calls under way.
    pub(super) const fn watched(self) -> Self {
        Self(self.0 | WATCHED)
    }

    /// Returns true if a ramp or a throttle limits the calls of the closed circuit, so that a random draw decides
    /// whether a call is admitted.
    #[inline]
    pub(super) const fn is_limited(self) -> bool {
        self.0 & LIMITED != 0
    }

    /// Returns the same word with the bit for a limit set or cleared.
    pub(super) const fn with_limit(self, is_limited: bool) -> Self {
        if is_limited { Self(self.0 | LIMITED) } else { Self(self.0 & !LIMITED) }
    }

    /// Returns true if calls are rejected until the end of the open duration, because the mode is automatic, and
    /// neither the kill switch nor a wait for a restore overrules the open state.
    #[inline]
    pub(super) const fn is_plainly_open(self) -> bool {
        self.0 & (AWAITS_RESTORE | BYPASSED | MODE | STATE) == OPEN
    }

    /// Returns true if calls are rejected until the end of a hold, because neither the kill switch nor a wait for a
    /// restore overrules the hold.
    #[inline]
    pub(super) const fn is_forced_open(self) -> bool {
        self.0 & (AWAITS_RESTORE | BYPASSED | MODE) == FORCED_OPEN
    }

    /// Returns true if the circuit is spread over its threads. Each thread with an index (a small number) then has
    /// counters and a reference count of its own.
    #[inline]
    pub(super) const fn is_spread(self) -> bool {
        self.0 & SPREAD != 0
    }

    /// Returns the same word with the bit set for a circuit that is spread over its threads.
    pub(super) const fn spread(self) -> Self {
        Self(self.0 | SPREAD)
    }

    /// Returns the same word for a circuit whose callers no longer wait for a restore.
    #[cfg(any(feature = "store", test))]
    pub(super) const fn restored(self) -> Self {
        Self(self.0 & !AWAITS_RESTORE)
    }

    /// Returns the same word for a circuit whose callers wait for a restore.
    #[cfg(any(feature = "store", test))]
    pub(super) const fn awaiting_restore(self) -> Self {
        Self(self.0 | AWAITS_RESTORE)
    }

    /// Returns true if callers wait for the circuit to be restored. Callers of a bypassed circuit never wait.
    pub(super) const fn awaits_restore(self) -> bool {
        self.0 & (AWAITS_RESTORE | BYPASSED) == AWAITS_RESTORE
    }

    /// Returns true if the kill switch names the circuit, so that calls go through in every state and mode.
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

    /// Returns the mode after the end of the hold, or the present mode if no hold is in force.
    pub(super) const fn beneath(self) -> Mode {
        match self.mode() {
            Mode::ForcedOpen | Mode::Disabled if self.0 & SHADOW_BENEATH != 0 => Mode::Shadow,
            Mode::ForcedOpen | Mode::Disabled => Mode::Automatic,
            mode @ (Mode::Automatic | Mode::Shadow) => mode,
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("era", &self.era())
            .field("is_watched", &self.is_watched())
            .field("is_spread", &self.is_spread())
            .field("is_limited", &self.is_limited())
            .field("awaits_restore", &self.awaits_restore())
            .field("bypassed", &self.bypassed())
            .field("mode", &self.mode())
            .field("beneath", &self.beneath())
            .field("state", &self.state())
            .finish()
    }
}

// A closed circuit in automatic mode is the number 0, and a closed circuit in shadow is the number 1. All other states
// and modes are higher numbers, so that `is_flowing` is the one test `<= SHADOW`.
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
/// The bit for a limit. Set only in an era that is closed in automatic mode or in shadow.
const LIMITED: u64 = 1 << 6;
const SPREAD: u64 = 1 << 7;
const SHADOW_BENEATH: u64 = 1 << 8;
/// The bit that says that the circuit counts the calls under way. Set for the life of a circuit with a slow-call rule.
const WATCHED: u64 = 1 << 9;
const ERA_SHIFT: u32 = 10;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_hold_keeps_the_mode_beneath_and_other_modes_have_none() {
        for mode in [Mode::Automatic, Mode::Shadow] {
            let mut word = Word::new(1, Standing::new(State::Open, mode), false);
            for hold in [Mode::ForcedOpen, Mode::Disabled, Mode::ForcedOpen] {
                word = word.next(Standing::new(State::Open, hold));
                assert_eq!((word.mode(), word.beneath()), (hold, mode), "{word:?}");
            }
            for other in [Mode::Shadow, Mode::Automatic] {
                assert_eq!(word.next(Standing::new(State::Open, other)).beneath(), other);
            }
        }
    }

    #[test]
    fn a_word_gives_back_its_era_standing_and_flags() {
        for state in [State::Closed, State::Open, State::HalfOpen] {
            for mode in [Mode::Automatic, Mode::Shadow, Mode::ForcedOpen, Mode::Disabled] {
                for bypassed in [false, true] {
                    let standing = Standing::new(state, mode);
                    let word = Word::new(77, standing, bypassed);
                    assert_eq!((word.era(), word.standing(), word.bypassed()), (77, standing, bypassed));
                    let flows = state == State::Closed && matches!(mode, Mode::Automatic | Mode::Shadow) && !bypassed;
                    assert_eq!((word.is_flowing(), word.passes_at_once()), (flows, flows), "{word:?}");
                    let open = state == State::Open && mode == Mode::Automatic && !bypassed;
                    let forced = mode == Mode::ForcedOpen && !bypassed;
                    assert_eq!((word.is_plainly_open(), word.is_forced_open()), (open, forced), "{word:?}");

                    let awaiting = word.awaiting_restore();
                    assert_eq!((awaiting.era(), awaiting.standing(), awaiting.bypassed()), (77, standing, bypassed));
                    assert!(
                        !awaiting.is_flowing() && !awaiting.is_plainly_open() && !awaiting.is_forced_open(),
                        "{awaiting:?}"
                    );
                    assert_eq!((awaiting.awaits_restore(), awaiting.restored() == word), (!bypassed, true));
                    assert_eq!(awaiting.next(standing).awaits_restore(), !bypassed, "a change does not end the wait");

                    let limited = word.with_limit(true);
                    assert_eq!((limited.era(), limited.standing(), limited.bypassed()), (77, standing, bypassed));
                    assert_eq!((limited.is_limited(), limited.is_flowing(), word.is_limited()), (true, false, false));
                    assert_eq!((limited.counts_calls(), word.counts_calls()), (flows, flows));
                    assert_eq!((limited.with_limit(false), limited.restored()), (word, limited));
                    assert!(!limited.next(standing).is_limited(), "a new era begins without a limit");

                    let watched = word.watched();
                    assert_eq!((watched.era(), watched.standing(), watched.bypassed()), (77, standing, bypassed));
                    assert_eq!((watched.is_watched(), word.is_watched()), (true, false));
                    assert_eq!((watched.is_flowing(), watched.passes_at_once()), (flows, false));
                    assert_eq!((watched.is_plainly_open(), watched.is_forced_open()), (open, forced));
                    assert!(watched.next(standing).is_watched(), "a change does not end the watch");

                    let spread = word.spread();
                    assert_eq!((spread.era(), spread.standing(), spread.bypassed()), (77, standing, bypassed));
                    assert_eq!((spread.is_flowing(), spread.is_spread(), word.is_spread()), (flows, true, false));
                    assert!(spread.next(standing).is_spread(), "a change does not draw a circuit together");
                }
            }
        }
    }
}
