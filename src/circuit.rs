//! The circuit: one shared thing per service that admits calls, learns from their outcomes, and changes state.
//!
//! Admission is one load of one word; recording adds to the window. Neither locks, allocates or waits. A change of state
//! is rare and takes the cold mutex: it decides, writes the data of the new era, and publishes word and era with one store.
//! Every permit carries the era it was given in, and an outcome that comes home to another era is dropped.
//!
//! ```text
//! try_acquire ── word ──┬─ flowing ───────────────▶ Permit ── outcome ──▶ window, run ── rule met? ──┐
//!                       ├─ open: deadline over? ──▶ Permit (probe) ─────▶ verdict ───────── certain? ─┤
//!                       └─ else ──────────────────▶ Rejected                                          ▼
//!                                               observers ◀── word, era ◀── data of the era ◀── cold mutex
//! ```
//!
//! It knows nothing of tower, of stores and of telemetry: those meet it at [`Observer`](crate::event::Observer),
//! [`status`](Circuit::status), [`poll_changed`](Circuit::poll_changed), [`adopt`](Circuit::adopt) and
//! [`advise`](Circuit::advise).
//!
//! # The state machine
//!
//! Each row is an edge. A circuit in shadow takes the same edges as a circuit in automatic mode. Under a hold (forced open or disabled)
//! only the end of the hold, an operator or a snapshot takes an edge, and under the kill switch only an operator or a snapshot. Time
//! alone takes no edge, because the first call that finds an edge due takes it. A snapshot that changes neither state nor mode nor
//! deadlines is no transition.
//!
//! | from | to | cause | function | [`Reason`](crate::state::Reason) |
//! |---|---|---|---|---|
//! | closed | open | An outcome meets a rule. | `outcomes.rs` `weigh`, `change.rs` `trip` | `ConsecutiveFailures`, `FailureRate`, `FailureScore`, `SlowCallRate` |
//! | closed | open | An outcome meets a rule whose thresholds advice has lowered. | `outcomes.rs` `weigh`, `change.rs` `trip` | `Advised` |
//! | open | half-open | A call comes after the open duration. | `admit.rs` `carry_out`, `change.rs` `half_open` | `WaitElapsed` |
//! | half-open | open | More probes have failed than are tolerated. | `outcomes.rs` `judge`, `change.rs` `reopen` | `ProbeFailed` |
//! | half-open | open | The oldest probe has reached its deadline when another call comes. | `admit.rs` `carry_out`, `change.rs` `reopen` | `ProbeOverdue` |
//! | half-open | open | The oldest probe has reached its deadline when a probe ends. | `outcomes.rs` `judge`, `change.rs` `reopen` | `ProbeOverdue` |
//! | half-open | open | A probe ends cancelled or ignored, and no verdict was possible for too long. | `outcomes.rs` `judge`, `change.rs` `reopen` | `NoVerdict` |
//! | half-open | closed | Enough probes have succeeded. | `outcomes.rs` `judge`, `change.rs` `close` | `ProbesPassed` |
//! | half-open | closed | A call comes after `quiet_after`, some probes have succeeded and none has failed. | `admit.rs` `carry_out`, `change.rs` `close` | `QuietService` |
//! | forced open, with automatic recovery | half-open | A call comes after the end of the hold. | `admit.rs` `end_hold`, `change.rs` `half_open` | `HoldEnded` |
//! | forced open, with manual recovery | the state beneath | A call comes after the end of the hold. | `admit.rs` `end_hold`, `change.rs` `uncover` | `HoldEnded` |
//! | disabled | the state beneath | A call comes after the end of the hold. | `admit.rs` `end_hold`, `change.rs` `uncover` | `HoldEnded` |
//! | any | forced open over the same state | An operator trips the circuit. | `operate.rs` `act` | `Operator`, `Act::Trip` |
//! | any | disabled over the same state | An operator disables the circuit. | `operate.rs` `act` | `Operator`, `Act::Disable` |
//! | any | shadow over the same state | An operator puts the circuit in shadow. | `operate.rs` `act` | `Operator`, `Act::Shadow` |
//! | forced open, disabled | the state and the mode beneath | An operator resumes the circuit. | `operate.rs` `act` | `Operator`, `Act::Resume` |
//! | shadow | automatic over the same state | An operator resumes the circuit. | `operate.rs` `act` | `Operator`, `Act::Resume` |
//! | any | half-open in its configured mode | An operator resets the circuit to [`To::HalfOpen`]. | `operate.rs` `act` | `Operator`, `Act::Reset` |
//! | any | closed in its configured mode | An operator resets the circuit to [`To::Closed`]. | `operate.rs` `act` | `Operator`, `Act::Reset` |
//! | any | closed in its configured mode | An operator forgets the circuit. | `operate.rs` `act` | `Operator`, `Act::Forget` |
//! | any | the state and the mode of a snapshot | The circuit is restored. | `adopt.rs` `adopt_if` | `Restored` |
//! | any | the state of a snapshot, in the same mode | The circuit follows a newer published state. | `adopt.rs` `adopt_if` | `Followed` |
//! | closed | the same | `CIRCUIT_BREAKER_DISABLED` names the new circuit. | `notify.rs` `introduce` | `KillSwitch` |

mod admit;
mod adopt;
mod branch;
mod change;
mod cold;
mod decide;
mod inner;
#[cfg(all(test, breaker_loom))]
mod loom_tests;
mod mark;
mod notify;
mod operate;
mod outcomes;
mod permit;
mod probes;
mod rejected;
mod status;
mod wakers;
mod word;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use self::branch::Branch;
use self::inner::Inner;
use crate::clock::Tick;
use crate::config::Config;
use crate::event;
use crate::outcome::Outcome;
use crate::state::Standing;
#[cfg(feature = "keyed")]
use crate::state::State;
pub(crate) use inner::Start;
pub use operate::To;
pub(crate) use operate::{NotDone, Ordered};
pub use permit::Permit;
pub(crate) use permit::{Admission, Asking};
pub use rejected::Rejected;
pub use status::{ProbeStatus, Status, Totals};
pub(crate) use wakers::Place;

/// A circuit. Clones are handles to the same one.
///
/// # Examples
///
/// Beside tower, ask for a permit for each call and say how the call ended:
///
/// ```
/// use tower_circuit_breaker::{Circuit, Config, Failure};
///
/// # fn query() -> Result<u32, std::io::Error> { Ok(1) }
/// fn guarded(circuit: &Circuit) -> Result<u32, Box<dyn std::error::Error>> {
///     let permit = circuit.try_acquire()?;
///     match query() {
///         Ok(rows) => {
///             permit.success();
///             Ok(rows)
///         }
///         Err(error) => {
///             permit.failure(Failure::hard());
///             Err(error.into())
///         }
///     }
/// }
/// # guarded(&Circuit::new(Config::new("database")?))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Circuit {
    root: Arc<Branch>,
}

impl Circuit {
    /// Returns a new closed circuit, or one in shadow if the configuration says so.
    ///
    /// If `CIRCUIT_BREAKER_DISABLED` in the environment names it (names separated by commas, `*` for all), it lets every
    /// call through for the life of the process, and tells its observers so.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let circuit = Self::untold(config, None);
        circuit.introduce();
        circuit
    }

    /// Makes a circuit whose observers have not been told of it: [`introduce`](Self::introduce) must follow, outside every lock.
    ///
    /// `also` is one more of them, which is not part of the configuration.
    pub(crate) fn untold(config: Config, also: Option<Arc<dyn event::Observer>>) -> Self {
        let killed = std::env::var(KILL_SWITCH).is_ok_and(|names| named_by(&names, config.name()));
        let is_spread = config.sharded;
        Self { root: Branch::root(Arc::new(Inner::new(config, killed, also)), is_spread) }
    }

    pub(crate) fn introduce(&self) {
        self.inner().introduce();
    }

    /// Tells the observers that it has left its registry; outside every lock.
    #[cfg(feature = "keyed")]
    pub(crate) fn tell_forgotten(&self) {
        self.inner().report_sums();
        self.inner().tell(&event::Event::Forgotten);
    }

    /// Reports the calls that were counted but not reported one by one; outside every lock.
    #[cfg(feature = "store")]
    pub(crate) fn report_sums(&self) {
        self.inner().report_sums();
    }

    /// Returns the name of the service behind it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner().config.name
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner().config
    }

    /// Asks to make one call.
    ///
    /// Record the outcome of the call on the permit. A permit that is dropped before `cancelled_counts_after` counts the call as
    /// cancelled, which is no evidence; a permit that is dropped later counts a failure of weight 0.5.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the circuit is open or its probes are taken. Then the call must not be made.
    #[doc(alias = "tryAcquirePermission")]
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.admit(Start::Coarse).map(Admission::permit)
    }

    #[inline(always)]
    pub(crate) fn admit(&self, start: Start) -> Result<Admission<'_>, Rejected> {
        Branch::admit(&self.root, start)
    }

    /// Returns a reference to the circuit for a call that asks for its permit later.
    #[inline]
    pub(crate) fn asking(&self) -> Asking {
        Asking::new(&self.root)
    }

    /// Returns whether calls go through and are counted, so that no gate has to be evaluated.
    #[inline]
    pub(crate) fn is_flowing(&self) -> bool {
        self.inner().load().is_flowing()
    }

    /// Returns the time at which a call would be rejected, which is now; zero if it may be admitted or awaits a restore.
    pub(crate) fn rejects_at(&self) -> Tick {
        self.inner().rejects_at()
    }

    /// Returns whether services wait for the circuit to be restored.
    pub(crate) fn awaits_restore(&self) -> bool {
        self.inner().load().awaits_restore()
    }

    /// Rejects a call whose service was not polled ready, because the call would not have been permitted at that time. Zero
    /// stands for now.
    #[inline]
    pub(crate) fn reject_as_of(&self, found: Tick) -> Rejected {
        Branch::reject_as_of(&self.root, found)
    }

    /// Returns the time, by the circuit's clock.
    pub(crate) fn now(&self) -> Tick {
        self.inner().now()
    }

    /// Records an error of the inner service's `poll_ready`, or a wait for it in vain, as a call that failed: while closed in the window, past the
    /// deadline or half-open as a probe.
    pub(crate) fn record_ready_error(&self, outcome: Outcome) {
        // No call was made: one that would be rejected must not be counted as such.
        let inner = self.inner();
        if inner.peek_at_gate(inner.load()) == Peek::MayPass
            && let Ok(admission) = self.admit(Start::Untaken)
        {
            admission.permit().record(outcome);
        }
    }

    /// Whether that is a handle to the same circuit.
    #[cfg(any(feature = "store", feature = "keyed"))]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// Whether it is closed, and no operator holds it.
    #[cfg(feature = "keyed")]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.inner().load().standing() == Standing::new(State::Closed, self.config().first_mode())
    }

    /// Whether the next call would be let through, if only as a probe, and no operator holds it.
    #[cfg(feature = "keyed")]
    pub(crate) fn rejects_nobody(&self) -> bool {
        let (inner, word) = (self.inner(), self.inner().load());
        word.mode() == self.config().first_mode() && inner.peek_at_gate(word) == Peek::MayPass
    }

    /// Whether every call would be rejected now, and if so for how long if that is known; or whether it should wait.
    #[inline]
    pub(crate) fn peek(&self) -> Peek {
        self.inner().peek()
    }

    /// Is ready with the standing once the era is no longer `era`, which it then updates.
    ///
    /// Start with era 0 to get the standing at once. The task is woken by every transition, and by every probe's end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the caller stops polling: the next poll sees whatever has changed since `era`. Its task stays
    /// registered until the next transition, so this is for tasks that live long.
    pub fn poll_changed(&self, context: &Context<'_>, era: &mut u64) -> Poll<Standing> {
        let changed = |era: &mut u64| {
            let (now, standing) = self.inner().era_and_standing();
            (now != *era).then(|| {
                *era = now;
                standing
            })
        };
        if let Some(standing) = changed(era) {
            return Poll::Ready(standing);
        }
        self.inner().wakers.register(context.waker());
        changed(era).map_or(Poll::Pending, Poll::Ready)
    }

    /// Registers the task for the next transition or freed slot. The caller looks again before it waits, and gives the place
    /// back with [`leave`](Self::leave).
    pub(crate) fn register_at(&self, place: &mut Place, context: &Context<'_>) {
        self.inner().wakers.register_at(place, context.waker());
    }

    pub(crate) fn leave(&self, place: Place) {
        self.inner().wakers.leave(place);
    }

    #[inline]
    fn inner(&self) -> &Inner {
        &self.root.inner
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (era, standing) = self.inner().era_and_standing();
        let name = self.name();
        f.debug_struct("Circuit").field("name", &name).field("standing", &standing).field("era", &era).finish()
    }
}

/// What a look at the circuit says about the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peek {
    /// It may be admitted: ready the inner service.
    MayPass,
    /// It will be rejected, until a transition or the end of this time.
    Rejecting(Option<Duration>),
    /// It will be rejected, until a transition, a freed slot or the end of this time. Then the oldest probe is overdue, which
    /// nobody finds out who does not look.
    ProbesTaken(Duration),
    /// Nobody knows yet: the first call waits for the circuit's restore.
    AwaitsRestore,
}

/// The environment's kill switch: names of circuits that let everything through.
pub(crate) const KILL_SWITCH: &str = "CIRCUIT_BREAKER_DISABLED";

fn named_by(names: &str, name: &str) -> bool {
    names.split(',').map(str::trim).any(|named| named == name || named == "*")
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_kill_switch_names_circuits_exactly_or_all() {
        assert!(named_by("orders, payments", "payments"));
        assert!(named_by("*", "payments"));
        assert!(!named_by("pay", "payments"));
        assert!(!named_by("", "payments"));
    }
}
