//! The mark of a permit, one word that holds the era in which the permit was given. The word also holds the place where
//! the outcome of the call counts (window, verdict or only totals). One word keeps a permit small enough to be passed
//! in registers.

use std::fmt;

use super::probes::Probe;

/// The right of a permit. The right decides where the outcome of the call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// The outcome enters the window.
    Counted,
    /// The outcome enters the verdict of the half-open circuit.
    Probe(Probe),
    /// The outcome enters only the totals. A call has this right if the circuit is disabled or bypassed, or is in
    /// shadow and would have rejected the call. A call of the same circuit that is made within a probe also has this
    /// right.
    Uncounted,
}

/// The era (the version of the state) in which a permit was given, and the right of the permit.
///
/// ```text
/// mark   63..28 era (low 36 bits) | 27 noted | 26 measured | 25..24 right | 23..0 depends on the right
///        probe: 23..0 slot and turn | counted call: 0 answered
/// ```
///
/// A permit belongs to the present era of its circuit if its 36 bits are the low bits of that era. A later era has the
/// same bits only after 2^36 transitions, which take 2 years at one transition each millisecond.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// The mark of a rejected call, which has no permit. In an `Answer` with this mark, the field `number` has the
    /// facts of the rejection.
    pub(super) const REFUSED: Self = Self(NO_CALL);
    /// The mark of a permit whose outcome has been recorded. The drop of such a permit records nothing.
    pub(super) const RECORDED: Self = Self(NO_CALL);

    #[inline]
    pub(super) const fn new(era: u64, right: Right) -> Self {
        let right = match right {
            Right::Counted => COUNTED,
            Right::Uncounted => UNCOUNTED,
            Right::Probe(probe) => NOTED | PROBE | probe.bits() as u64,
        };
        Self(era << ERA_SHIFT | right)
    }

    #[inline]
    pub(super) const fn with_measured(self, measured: bool) -> Self {
        Self(self.0 | if measured { MEASURED } else { 0 })
    }

    /// Returns the same mark with the bit that makes `nested` list the call while the call is polled. The mark of a
    /// probe always has this bit.
    pub(super) const fn noted(self) -> Self {
        Self(self.0 | NOTED)
    }

    /// Returns the mark of a counted call after the service has answered. The call still goes on with the body of the
    /// answer.
    #[cfg(feature = "http")]
    pub(super) const fn answered(self) -> Self {
        Self(self.0 | ANSWERED)
    }

    /// Returns true if the call is counted and its service has not answered yet.
    #[inline]
    pub(super) const fn awaits_answer(self) -> bool {
        self.0 & (RIGHT | ANSWERED) == COUNTED
    }

    /// Returns true if `nested` lists the call while the call is polled. A call inside a listed call is then a part of
    /// the listed call.
    #[inline]
    pub(super) const fn is_noted(self) -> bool {
        self.0 & NOTED != 0
    }

    #[inline]
    pub(super) const fn is_measured(self) -> bool {
        self.0 & MEASURED != 0
    }

    #[inline]
    pub(super) const fn is_counted(self) -> bool {
        self.0 & RIGHT == COUNTED
    }

    #[inline]
    pub(super) const fn is_of(self, era: u64) -> bool {
        (era << ERA_SHIFT ^ self.0) >> ERA_SHIFT == 0
    }

    /// Returns true if the call is a probe.
    #[inline]
    pub(super) const fn is_probe(self) -> bool {
        self.0 & RIGHT == PROBE
    }

    pub(super) const fn right(self) -> Right {
        match self.0 & RIGHT {
            COUNTED => Right::Counted,
            PROBE => Right::Probe(Probe::from_bits((self.0 & PROBE_MASK) as u32)),
            _ => Right::Uncounted,
        }
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (era, right) = (self.0 >> ERA_SHIFT, self.right());
        f.debug_struct("Mark").field("era", &era).field("right", &right).finish_non_exhaustive()
    }
}

const ERA_SHIFT: u32 = 28;
const NOTED: u64 = 1 << 27;
const MEASURED: u64 = 1 << 26;
const RIGHT: u64 = 0b11 << 24;
const COUNTED: u64 = 0;
const UNCOUNTED: u64 = 1 << 24;
const PROBE: u64 = 2 << 24;
const NO_CALL: u64 = 3 << 24;
const PROBE_MASK: u64 = (1 << 24) - 1;
const ANSWERED: u64 = 1;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rights() -> impl Strategy<Value = Right> {
        let probe = (0..1_u32 << 24).prop_map(|bits| Right::Probe(Probe::from_bits(bits)));
        prop_oneof![Just(Right::Counted), Just(Right::Uncounted), probe]
    }

    proptest! {
        #[test]
        fn a_mark_gives_back_its_parts(era: u64, right in rights(), measured: bool) {
            let mark = Mark::new(era, right).with_measured(measured);
            prop_assert_eq!((mark.right(), mark.is_measured()), (right, measured));
            prop_assert_eq!(mark.is_counted(), right == Right::Counted);
            prop_assert_eq!((mark.is_noted(), mark.noted().is_noted()), (mark.is_probe(), true));
            prop_assert_eq!(mark.noted().right(), right);
            prop_assert!(mark != Mark::RECORDED);
        }

        #[test]
        fn a_mark_is_of_its_own_era_only(era in 0..1_u64 << 57, other in 0..1_u64 << 57, right in rights()) {
            let mark = Mark::new(era, right);
            prop_assert!(mark.is_of(era));
            prop_assert!(!mark.is_of(era + 1) && !mark.is_of(era.wrapping_sub(1)) && !mark.is_of(era + (1 << 24)));
            let low = (1 << 36) - 1;
            prop_assert_eq!(mark.is_of(other), other & low == era & low);
        }
    }
}
