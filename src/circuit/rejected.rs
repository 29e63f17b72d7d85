//! The error `Rejected` for a call that the circuit did not admit. The error has the reason of the rejection, the wait
//! (`retry_after`) and a sentence for people.
//!
//! An outage creates a rejection for every call. Therefore a rejection has two words, which are passed in registers,
//! and allocates nothing. Only the rejection of a shed call allocates, for the measured load. A rejection holds a
//! reference to its circuit. When the rejection is formatted, the reason is looked up in the circuit.
//!
//! ```text
//! facts   63..22 wait | 21..3 era (low 19 bits) | 2..0 reason
//! wait    41..1 ns | bit 0 = 0
//!         41..2 µs | bits 1..0 = 01
//!         41..2 ms | bits 1..0 = 11
//!         all ones: unknown
//! ```
//!
//! A wait below 36 minutes is exact. A longer wait is rounded up, to the microsecond if the wait is below 12 days, and
//! to the millisecond otherwise. A wait of more than 34.8 years counts as unknown.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::branch::Branch;
use crate::event::Event;
use crate::sources;
use crate::state::{Brief, Mode, RejectReason, Shed, State, Transition};

/// The error of a call that the circuit rejected. The circuit did not let this call through to the service.
///
/// If a retry layer lies between the caller and the breaker, a rejection is the end of only one attempt. Earlier
/// attempts of the same call may have reached the service. Without such a retry, a rejection says that nothing was
/// sent. The guide shows in "A rejection after an attempt" how a caller counts the attempts that were sent.
///
/// `Display` is one sentence for the person on call. The sentence has the name of the circuit, the reason for which the
/// circuit opened (with the numbers), the kind and the text of the last failure, and the time until the next probe.
/// Formatting locks a mutex of the circuit, so format a rejection only if a person will read the sentence. Show the
/// sentence only to people who operate the service. The text of a failure can name hosts behind the service, and a hold
/// shows its user and reason.
#[derive(Clone)]
#[doc(alias = "CallNotPermitted", alias = "BrokenCircuit")]
pub struct Rejected {
    branch: Arc<Branch>,
    facts: Facts,
}

impl Rejected {
    #[inline]
    pub(super) const fn new(branch: Arc<Branch>, facts: Facts) -> Self {
        Self { branch, facts }
    }

    /// Returns the name of the circuit.
    #[must_use]
    pub fn circuit(&self) -> &str {
        self.branch.inner.config.name()
    }

    /// Returns the reason of the rejection.
    #[must_use]
    pub const fn reason(&self) -> RejectReason {
        self.facts.reason()
    }

    /// Returns the time until the circuit admits calls again, counted from the moment of the check that rejected the
    /// call. For a call that was shed or throttled, returns one second. For a call that a ramp rejected, returns the
    /// rest of the ramp, at most one second.
    ///
    /// In a tower service the check can be in `poll_ready`. The wait is then too long by the time between `poll_ready`
    /// and `call`. Returns `None` if no time is known, because the circuit is half-open, waits for a health probe, is
    /// held without an end, or recovers only by hand. Returns `None` for a wait of more than 34.8 years.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.facts.wait()
    }

    /// Returns the transition that opened the circuit, if the transition is among the last 128 that the circuit
    /// remembers. If this instance loaded the half-open state from a store, returns the transition that adopted this
    /// state.
    ///
    /// Returns `None` for a call that was shed. Returns `None` for a call that a closed circuit rejected because of its
    /// ramp or its throttle, or because the service had not been polled ready. Also returns `None` if the circuit has
    /// become half-open without an opening, for example by a reset.
    #[must_use]
    pub fn why(&self) -> Option<Transition> {
        self.branch.opened(|era| self.facts.eras_before(era))
    }

    /// Returns true if the circuit lets no call probe at this moment, because the required health probe has not
    /// succeeded since the circuit opened.
    #[must_use]
    pub fn waits_for_health_probe(&self) -> bool {
        self.reason() != RejectReason::LoadShed && self.retry_after().is_none() && self.branch.waits_for_health()
    }

    /// Returns the load and the limits that led to the shedding of the call. `None` if the call was not shed.
    #[must_use]
    pub fn shed(&self) -> Option<&Shed> {
        self.branch.shed.as_deref()
    }

    /// Reports to the observers that a fallback answered the rejected call, or failed to do so.
    pub(crate) fn report_fallback(&self, answered: bool) {
        self.branch.inner.notify_of_call(&Event::Fallback { answered });
    }

    /// Returns the rejection if the error or one of its sources is a rejection, and `None` otherwise. The sources are
    /// searched, because `BoxError`, [`Error`](crate::Error) and the errors of clients wrap rejections.
    ///
    /// ```
    /// use tower_circuit_breaker::{BoxError, Rejected};
    ///
    /// fn worth_a_retry(error: &BoxError) -> bool {
    ///     Rejected::find(error.as_ref()).is_none()
    /// }
    /// ```
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        sources::find(error)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.circuit();
        let edge = self.why();
        match (self.reason(), &edge) {
            (RejectReason::Tripped, _) if self.facts.is_of_unready_service() => {
                return write!(f, "circuit `{name}` did not admit a call whose service was not polled ready for it");
            }
            (RejectReason::Tripped, Some(edge)) => {
                write!(f, "circuit `{name}` is ")?;
                edge.write_standing(State::Open.as_str(), f)?;
            }
            // The circuit remembers only 128 transitions and has forgotten the cause.
            (RejectReason::Tripped, None) => write!(f, "circuit `{name}` is open")?,
            (RejectReason::LoadShed, _) => {
                write!(f, "circuit `{name}` shed a call")?;
                self.shed().map_or(Ok(()), |shed| write!(f, ": {shed}"))?;
                return self.retry_after().map_or(Ok(()), |wait| write!(f, "; try again in {}", Brief(wait)));
            }
            (RejectReason::Ramp, _) => {
                write!(f, "circuit `{name}` has closed and admits only a growing share of the calls")?;
                return self.retry_after().map_or(Ok(()), |wait| write!(f, "; try again in {}", Brief(wait)));
            }
            (RejectReason::Throttled, _) => {
                write!(f, "circuit `{name}` admits only a share of the calls, because the service fails too many")?;
                return self.retry_after().map_or(Ok(()), |wait| write!(f, "; try again in {}", Brief(wait)));
            }
            (RejectReason::HalfOpen, edge) => {
                let why = if self.waits_for_health_probe() {
                    "waits for a health probe"
                } else {
                    "admits no further probe now"
                };
                write!(f, "circuit `{name}` is half-open and {why}")?;
                // A circuit that was reset from closed to half-open has no opening.
                edge.as_ref().map_or(Ok(()), |edge| edge.write_opening(f))?;
            }
        }
        let held = edge.is_some_and(|edge| edge.to.mode == Mode::ForcedOpen);
        match self.retry_after() {
            Some(wait) if held => write!(f, "; the hold ends in {}", Brief(wait)),
            Some(Duration::ZERO) => f.write_str("; it is about to probe"),
            Some(wait) => write!(f, "; it lets a probe through in {}", Brief(wait)),
            None if self.reason() == RejectReason::HalfOpen => Ok(()),
            None if self.waits_for_health_probe() => f.write_str("; its next probe waits for a health probe"),
            None => f.write_str("; it stays open until an operator resets it"),
        }
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("circuit", &self.circuit())
            .field("reason", &self.reason())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl StdError for Rejected {}

/// The era, the reason and the wait of a rejection, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts(u64);

impl Facts {
    /// Packs the facts. `wait` is in nanoseconds, or [`UNKNOWN`].
    #[inline]
    pub(super) const fn new(era: u64, reason: RejectReason, wait: u64) -> Self {
        let reason = match reason {
            RejectReason::Tripped => TRIPPED,
            RejectReason::HalfOpen => HALF_OPEN,
            RejectReason::LoadShed => LOAD_SHED,
            RejectReason::Ramp => RAMP,
            RejectReason::Throttled => THROTTLED,
        };
        // Most waits are short enough to be stored exactly. This case is tested first, because every rejected call runs
        // this code.
        let wait = if wait < EXACT { wait << 1 } else { Self::long(wait) };
        Self(wait << WAIT_SHIFT | (era & ERA) << ERA_SHIFT | reason)
    }

    #[cold]
    const fn long(nanos: u64) -> u64 {
        const LONGEST: u64 = (1 << 40) - 1;
        let (micros, millis) = (nanos.div_ceil(1_000), nanos.div_ceil(1_000_000));
        if nanos == UNKNOWN {
            WAIT
        } else if micros < LONGEST {
            micros << 2 | IN_MICROS
        } else if millis < LONGEST {
            millis << 2 | IN_MILLIS
        } else {
            WAIT
        }
    }

    /// Returns the same facts with another reason, which is that the service was not polled ready. Used for a call that
    /// the circuit would have admitted.
    pub(super) const fn of_unready_service(self) -> Self {
        Self(self.0 & !REASON | UNREADY)
    }

    const fn is_of_unready_service(self) -> bool {
        self.0 & REASON == UNREADY
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    const fn reason(self) -> RejectReason {
        match self.0 & REASON {
            HALF_OPEN => RejectReason::HalfOpen,
            LOAD_SHED => RejectReason::LoadShed,
            RAMP => RejectReason::Ramp,
            THROTTLED => RejectReason::Throttled,
            _ => RejectReason::Tripped,
        }
    }

    const fn wait(self) -> Option<Duration> {
        match self.0 >> WAIT_SHIFT {
            WAIT => None,
            exact if exact & 1 == 0 => Some(Duration::from_nanos(exact >> 1)),
            micros if micros & UNIT == IN_MICROS => Some(Duration::from_micros(micros >> 2)),
            millis => Some(Duration::from_millis(millis >> 2)),
        }
    }

    /// Returns the number of eras between the era of the rejection and `era`, modulo 2^19. The range is sufficient,
    /// because a circuit remembers only 128 transitions.
    const fn eras_before(self, era: u64) -> u64 {
        era.wrapping_sub(self.0 >> ERA_SHIFT) & ERA
    }
}

/// The wait of a rejection if no time is known.
pub(super) const UNKNOWN: u64 = u64::MAX;
const REASON: u64 = 0b111;
const TRIPPED: u64 = 0;
const HALF_OPEN: u64 = 1;
const LOAD_SHED: u64 = 2;
const UNREADY: u64 = 3;
const RAMP: u64 = 4;
const THROTTLED: u64 = 5;
const ERA_SHIFT: u32 = 3;
const ERA: u64 = (1 << 19) - 1;
const WAIT_SHIFT: u32 = 22;
const WAIT: u64 = (1 << 42) - 1;
const EXACT: u64 = 1 << 41;
const UNIT: u64 = 0b11;
const IN_MICROS: u64 = 0b01;
const IN_MILLIS: u64 = 0b11;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REASONS: [RejectReason; 5] = [
        RejectReason::Tripped,
        RejectReason::HalfOpen,
        RejectReason::LoadShed,
        RejectReason::Ramp,
        RejectReason::Throttled,
    ];

    proptest! {
        #[test]
        fn facts_give_back_reason_and_wait(era: u64, reason in 0..5_usize, bits in 0..64_u32, wait: u64) {
            let wait = (wait >> bits).min(UNKNOWN - 1);
            let facts = Facts::new(era, REASONS[reason], wait);
            prop_assert_eq!(facts.reason(), REASONS[reason]);
            let exactly = Duration::from_nanos(wait);
            let Some(decoded) = facts.wait() else {
                prop_assert!(exactly >= Duration::from_secs(34 * 365 * 86_400));
                return Ok(());
            };
            if wait < 36 * 60 * 1_000_000_000 {
                prop_assert_eq!(decoded, exactly);
            } else if exactly < Duration::from_secs(12 * 86_400) {
                prop_assert!(decoded >= exactly && decoded - exactly < Duration::from_micros(1));
            } else {
                prop_assert!(decoded >= exactly && decoded - exactly < Duration::from_millis(1));
            }
        }

        #[test]
        fn facts_know_how_many_eras_have_begun_since(era: u64, since in 0..(1_u64 << 19)) {
            let facts = Facts::new(era, RejectReason::Tripped, 0);
            prop_assert_eq!(facts.eras_before(era.wrapping_add(since)), since);
        }

        #[test]
        fn facts_of_an_unready_service_keep_the_rest(era: u64, wait in 0..EXACT) {
            let facts = Facts::new(era, RejectReason::Tripped, wait);
            let unready = facts.of_unready_service();
            prop_assert!(unready.is_of_unready_service() && !facts.is_of_unready_service());
            prop_assert_eq!((unready.reason(), unready.wait()), (facts.reason(), facts.wait()));
            prop_assert_eq!(unready.eras_before(era), 0);
        }
    }

    #[test]
    fn an_unknown_wait_stays_unknown() {
        for reason in REASONS {
            let facts = Facts::new(u64::MAX, reason, UNKNOWN);
            assert_eq!((facts.reason(), facts.wait()), (reason, None));
        }
    }
}
