//! The circuit breaker of one service ([`Circuit`]), a shared object that admits calls, counts their outcomes, and
//! changes its state. The table below has all transitions.
//!
//! Admission loads one atomic word (`circuit/word.rs`). Recording adds to a cell, which is a count with one writer, or
//! to the window that all threads share. Neither admission nor recording waits for a lock, because both are on the path
//! of every call. A healthy call allocates memory only for the first use of the buckets of a time window, and when the
//! circuit is spread, which gives its threads cells of their own. A change of state is rare and takes the cold mutex
//! (`circuit/cold.rs`). Each change begins a new era, the time until the next change. The thread that holds the mutex
//! decides, writes the data of the new era, and publishes state and era with one store of the word. Every permit
//! carries the era in which it was given. An outcome that arrives in another era counts only in the totals, because the
//! outcome says nothing about the new state. The one exception is a failure that [trips at
//! once](crate::Failure::trips_at_once) and names a time to wait. In a later era too, such a failure opens the circuit
//! or keeps the circuit open for that time.
//!
//! ```text
//! try_acquire ── word ──┬─ flowing ───────────────▶ Permit ── outcome ──▶ window, run ── rule met? ──┐
//!                       ├─ a slot for a probe? ───▶ Permit (probe) ─────▶ verdict ───────── certain? ─┤
//!                       └─ else ──────────────────▶ Rejected                                          ▼
//!                                               observers ◀── word, era ◀── data of the era ◀── cold mutex
//! ```
//!
//! A circuit does not know tower or stores. Modules above the circuit use [`status`](Circuit::status),
//! [`poll_changed`](Circuit::poll_changed), [`adopt`](Circuit::adopt) and [`advise`](Circuit::advise). Metrics and logs
//! are [`Observer`](crate::event::Observer)s, which the circuit creates and notifies.
//!
//! # The state machine
//!
//! Each row of the table is an edge. A circuit in shadow takes the same edges as a circuit in automatic mode. Under a
//! hold (forced open or disabled) only the end of the hold, an operator or a snapshot takes an edge. A snapshot is a
//! saved state of the circuit, or the state of the circuit on another instance. Under the kill switch only an operator
//! or a snapshot takes an edge. Time alone takes no edge. The first call that finds an edge due takes the edge, and a
//! successful health probe takes an edge without a call.
//!
//! A caller that waits, or calls a method such as [`would_admit`](Circuit::would_admit), also reopens a half-open
//! circuit if the reopening is due. While the instances of a fleet share the probes, such a caller also makes a circuit
//! half-open if that change is due. Otherwise a caller that only waits or checks would never be admitted.
//!
//! The adoption of a snapshot is a transition only if it changes the state, the mode or a deadline, or if a restore
//! adds successes of probes.
//!
//! | from | to | cause | [`Reason`](crate::state::Reason) |
//! |---|---|---|---|
//! | closed | open | An outcome meets a rule. | `ConsecutiveFailures`, `FailureRate`, `FailureScore`, `SlowCallRate` |
//! | closed | open | Hanging calls meet the slow-call rule when a call, a status or another event checks them (`circuit/hanging.rs`). | `SlowCallRate` |
//! | closed, on trust | open | Failures weigh 0.5 together before the first success. | `Unproven` |
//! | closed | open | A failure is marked with [`trips_at_once`](crate::Failure::trips_at_once). | `AtOnce` |
//! | closed, half-open, open | open until a later time | A failure of an ended era or of an uncounted call is marked with `trips_at_once` and names a time to wait. | `AtOnce` |
//! | closed | open | An outcome or hanging calls meet a rule whose thresholds a ramp has lowered. | `Relapsed` |
//! | closed | open | An outcome or hanging calls meet a rule whose thresholds advice has lowered. | `Advised` |
//! | open | half-open | A call comes after the open duration. | `WaitElapsed` |
//! | open | half-open | A health probe succeeds (`circuit/health.rs`). | `HealthProbe` |
//! | half-open | open | More probes have failed than are tolerated, or a failure is marked with `trips_at_once`. A slow probe counts as failed if the slow-call rule is on. | `ProbeFailed` |
//! | half-open | open | A call comes after twice the probe deadline or longer, a probe is overdue and no probe has succeeded. | `NoSuccess` |
//! | half-open | open | Some probes have failed, and the other probes are overdue or end without a verdict for too long. | `NoVerdict` |
//! | half-open | closed, on trust | Three probes end without a verdict, no probe has succeeded, has failed or is overdue, and the probe deadline is over or the doubts (see below) weigh 1.5. | `NoVerdict` |
//! | half-open | closed | Enough probes have succeeded. | `ProbesPassed` |
//! | half-open | closed, on trust if a probe ended without a verdict | A call comes after `quiet_after`, some probes have succeeded and no probe has failed. | `QuietService` |
//! | forced open, with automatic recovery | half-open | A call comes after the end of the hold. | `HoldEnded` |
//! | forced open, with manual recovery | the state beneath | A call comes after the end of the hold. | `HoldEnded` |
//! | disabled | the state beneath | A call comes after the end of the hold. | `HoldEnded` |
//! | any | forced open over the same state | An operator trips the circuit. | `Operator`, `Act::Trip` |
//! | any | disabled over the same state | An operator disables the circuit. | `Operator`, `Act::Disable` |
//! | any | shadow over the same state | An operator puts the circuit in shadow. | `Operator`, `Act::Shadow` |
//! | forced open, disabled | the state and the mode beneath | An operator resumes the circuit. | `Operator`, `Act::Resume` |
//! | shadow | automatic over the same state | An operator resumes the circuit. | `Operator`, `Act::Resume` |
//! | any | half-open in its configured mode | An operator resets the circuit to [`To::HalfOpen`]. A healthy circuit stays closed if the order goes to every instance. | `Operator`, `Act::Reset` |
//! | any | closed in its configured mode | An operator resets the circuit to [`To::Closed`]. | `Operator`, `Act::Reset` |
//! | any | closed in its configured mode | An operator forgets the circuit. | `Operator`, `Act::Forget` |
//! | any | the state and the mode of a snapshot | The circuit is restored. | `Restored` |
//! | any | the state of a snapshot, in the same mode | The circuit follows a newer state that an instance without a fleet has published. | `Followed` |
//! | any | the state of a snapshot, in the same mode | The circuit adopts a decision of the fleet. | `Fleet` |
//! | closed | the same | `CIRCUIT_BREAKER_DISABLED` names the new circuit. | `KillSwitch` |
//!
//! In a [group](crate::Group) an edge from closed to open or to half-open needs an open slot (a permission of the
//! group), unless an operator takes the edge (`circuit/in_group.rs`).
//!
//! A circuit that is closed *on trust* has closed although some or all of its probes ended without a verdict. A probe
//! has no verdict if its caller gives up early or drops the permit, or if the classifier ignores the result. The first
//! success of the era ends the trust. If the circuit opens before that success, its time on trust does not reduce the
//! number of openings in a row. An outcome without weight, such as the outcome of a call that is cancelled early,
//! changes nothing. So impatient callers do not open the circuit of a healthy service. The trust ends with its era, so
//! that a change of the mode or a restart also ends the trust. Other instances do not know of the trust.
//!
//! A closed circuit *ramps* for a time after its probes have closed the circuit, if a
//! [ramp](crate::config::ConfigBuilder::ramp) is set. After its fleet has closed the circuit, the circuit ramps by
//! default. During the ramp only a growing share of the calls passes. A change of the mode during the ramp begins no
//! new ramp, and the end of the ramp begins no era.
//!
//! A *doubt* is a probe that ended without a verdict, although a closed circuit would have counted the same end of a
//! call as a failure. A permit that is dropped leaves a doubt of weight 0.5, and a deadline of the caller leaves a
//! doubt of less weight.
//!
//! The file is longer than others, because the table of edges and the public surface of a circuit are read together.

mod admit;
mod adopt;
mod at_once;
mod branch;
mod change;
mod cold;
#[cfg(feature = "store")]
mod ends;
mod failed;
mod gate;
mod hanging;
mod health;
#[cfg(feature = "store")]
mod in_fleet;
mod in_group;
#[cfg(feature = "keyed")]
mod inherit;
mod inner;
mod kill_switch;
mod lease;
mod limit;
#[cfg(all(test, breaker_loom))]
mod loom_tests;
mod mark;
mod nested;
mod notify;
mod operate;
mod outcomes;
mod peek;
mod permit;
mod probes;
mod rejected;
#[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
mod shed;
mod status;
mod trip_rules;
mod usual;
mod verdict;
mod wakers;
mod word;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use self::branch::Branch;
use self::inner::Inner;
use crate::clock::Tick;
use crate::config::Config;
use crate::event;
use crate::outcome::Outcome;
pub use crate::state::order::To;
use crate::state::{Criticality, Standing};
#[cfg(feature = "store")]
pub(crate) use adopt::Adopted;
pub(crate) use failed::Text;
pub(crate) use health::Wanted;
pub(crate) use inner::Start;
#[cfg(feature = "settings")]
pub(crate) use kill_switch::KILL_SWITCH;
#[cfg(feature = "keyed")]
pub(crate) use kill_switch::expect_names;
pub(crate) use limit::Drawn;
pub(crate) use peek::Peek;
pub use permit::Permit;
pub(crate) use permit::{Admission, Asking};
pub use rejected::Rejected;
pub use status::{NextCall, ProbeStatus, Status, Totals};
#[cfg(feature = "store")]
pub(crate) use trip_rules::usual_rate;
#[cfg(feature = "store")]
pub(crate) use usual::Before;
pub(crate) use wakers::Place;

/// A circuit breaker for one service. Clones are handles to the same circuit.
///
/// # Examples
///
/// [`call`](Self::call) guards a future. For other calls without tower, take a permit for each call, and record the
/// outcome of the call on the permit:
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
    /// Returns a new circuit. The circuit is closed, and in shadow if the configuration says so.
    ///
    /// The environment variable `CIRCUIT_BREAKER_DISABLED` is a kill switch. If the variable names the circuit, the
    /// circuit lets every call through for the life of the process, and reports the kill switch to its observers. The
    /// names are separated by commas. `host:*` names all circuits whose names begin with `host:`, and `*` names all
    /// circuits.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let circuit = Self::unreported(config, None);
        circuit.introduce();
        circuit
    }

    /// Creates a circuit without a report to its observers. If calls will use the circuit, the caller must call
    /// [`introduce`](Self::introduce) afterwards, outside every lock, because observers are foreign code.
    ///
    /// `also` is the observer of a registry, which is not part of the configuration.
    pub(crate) fn unreported(config: Config, also: Option<Arc<dyn event::Observer>>) -> Self {
        let killed = kill_switch::names(config.name());
        let is_spread = config.sharded;
        Self { root: Branch::root(Arc::new(Inner::new(config, killed, also)), is_spread) }
    }

    /// Reports the new circuit to its observers. The caller must hold no lock, because observers are foreign code.
    pub(crate) fn introduce(&self) {
        self.inner().introduce();
    }

    /// Reports to the observers that the circuit has left its registry or was not added to the registry, ends the wait
    /// for a restore, and removes the circuit from its group. The caller must hold no lock, because observers and
    /// wakers are foreign code.
    #[cfg(feature = "keyed")]
    pub(crate) fn report_forgotten(&self) {
        #[cfg(feature = "store")]
        self.restored();
        self.inner().leave_group();
        self.inner().report_sums();
        self.inner().notify(&event::Event::Forgotten);
    }

    /// Returns true if the circuit holds an open slot. With an open slot, a member of the group may leave the closed
    /// state. `None` if the circuit is no member of the group.
    #[cfg(feature = "keyed")]
    pub(crate) fn holds_slot_of(&self, group: &crate::group::Group) -> Option<bool> {
        self.inner().holds_slot_of(group)
    }

    /// Reports to the observers the calls that the cells (counts with one writer) have counted since the last report.
    /// Also opens the circuit if its hanging calls meet the slow-call rule. The caller must hold no lock, because
    /// observers are foreign code.
    #[cfg(feature = "store")]
    pub(crate) fn report_sums(&self) {
        let inner = self.inner();
        inner.open_if_hanging();
        inner.report_sums();
    }

    /// Returns the name of the service that the circuit guards.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner().config.name
    }

    /// Returns the settings of the circuit.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner().config
    }

    /// Returns the permit to make one call.
    ///
    /// Record the outcome of the call on the permit, before any `?`. A permit that is dropped without an outcome counts
    /// as a failure of weight 0.5, see [`Permit`].
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the circuit is open or forced open, if the half-open circuit admits no further probe, or if a
    /// ramp or a throttle rejects the call. A rejected call must not be made.
    #[doc(alias = "tryAcquirePermission")]
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.admit(Start::Coarse, || Drawn::YES).map(Admission::permit)
    }

    /// Returns the permit to make one call of this criticality. If the circuit must reject some calls, because it
    /// [ramps](crate::config::ConfigBuilder::ramp) or [throttles](crate::config::ConfigBuilder::throttle), less
    /// critical calls are rejected first. A half-open circuit takes its probes from less critical calls, if there are
    /// any.
    ///
    /// To make a call of this criticality, make the call with the permit:
    ///
    /// ```
    /// # use tower_circuit_breaker::{BoxError, Circuit, Config, Criticality};
    /// # async fn report() -> Result<u32, std::io::Error> { Ok(1) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let circuit = Circuit::new(Config::new("database")?);
    /// let rows = circuit.try_acquire_as(Criticality::Sheddable)?.call(report()).await?;
    /// # let _: u32 = rows;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_as(&self, criticality: Criticality) -> Result<Permit, Rejected> {
        self.admit(Start::Coarse, || Drawn::By(criticality)).map(Admission::permit)
    }

    /// Admits or rejects one call. `drawn` returns the criticality by which a half-open circuit, or a circuit with a
    /// ramp or a throttle, may reject the call. `drawn` is called only if the atomic word of the circuit does not admit
    /// the call at once. The caller turns the admission into a permit when the call has begun.
    #[inline(always)]
    pub(crate) fn admit(&self, start: Start, drawn: impl FnOnce() -> Drawn) -> Result<Admission<'_>, Rejected> {
        Branch::admit(&self.root, start, drawn)
    }

    /// Returns a reference to the circuit, for a call that acquires its permit later, and true if calls wait for the
    /// circuit to be restored.
    #[inline]
    pub(crate) fn asking(&self) -> (Asking, bool) {
        let word = self.inner().load();
        (Asking::new(&self.root, word), word.awaits_restore())
    }

    /// Returns true if calls go through and are counted, so that the gate (`circuit/gate.rs`) need not be evaluated.
    #[inline]
    pub(crate) fn is_flowing(&self) -> bool {
        self.inner().load().is_flowing()
    }

    /// Returns true while calls wait for the circuit to be restored.
    #[inline]
    pub(crate) fn awaits_restore(&self) -> bool {
        self.inner().load().awaits_restore()
    }

    /// Rejects a call whose inner service was not polled ready. `found` is the time at which `poll_ready` found that
    /// the circuit rejects calls. Zero stands for the present time.
    #[inline]
    pub(crate) fn reject_as_of(&self, found: Tick) -> Rejected {
        Branch::reject_as_of(&self.root, found)
    }

    /// Returns the time by the clock of the circuit.
    pub(crate) fn now(&self) -> Tick {
        self.inner().now()
    }

    /// Records that the `poll_ready` of the inner service returned an error or stayed pending too long. The `outcome`
    /// counts as if a call had ended with this outcome. A closed circuit counts the outcome in its window. A half-open
    /// circuit, and an open circuit whose open duration has passed, count the outcome as a probe.
    pub(crate) fn record_ready_error(&self, outcome: Outcome, text: Text<'_>) {
        // A circuit that would reject is skipped, because `admit` would count a rejection although no call was made.
        if self.would_admit()
            && let Ok(admission) = self.admit(Start::Untaken, || Drawn::No)
        {
            admission.permit().record_in_place(outcome, None, text);
        }
    }

    /// Returns true if `self` and `other` are handles to the same circuit.
    #[cfg(any(feature = "store", feature = "keyed"))]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// Returns true if the circuit is closed and in its configured mode. No act of an operator is then in force.
    #[cfg(feature = "store")]
    pub(crate) fn is_at_rest(&self) -> bool {
        let inner = self.inner();
        inner.is_at_rest(inner.load())
    }

    /// Returns true if an operator holds the circuit, or has changed its mode from the configured mode.
    #[cfg(feature = "keyed")]
    pub(crate) fn is_held(&self) -> bool {
        self.inner().load().mode() != self.config().first_mode()
    }

    /// Waits for the next transition. Returns the new standing (the state and the mode) and updates `era`.
    ///
    /// The end of the open duration is no transition and wakes no task. [`changed`](Self::changed) observes the end of
    /// the open duration too.
    ///
    /// Start with era 0 to get the present standing immediately. Every transition wakes the task, and so does the end
    /// of every probe. After the end of a probe the era may be unchanged, and the next poll then returns `Pending`
    /// again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the caller stops polling, because the next poll compares `era` with the present era. The task
    /// stays registered until the circuit wakes its tasks again, so this function is for tasks that live long.
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

    /// Registers the task of `context`, so that the next transition or the next free slot for a probe wakes the task.
    /// The caller must check the circuit again before the task waits, and give `place` back with
    /// [`leave`](Self::leave).
    pub(crate) fn register_at(&self, place: &mut Place, context: &Context<'_>) {
        self.inner().wakers.register_at(place, context.waker());
    }

    /// Removes the task that was registered at the place.
    pub(crate) fn leave(&self, place: Place) {
        self.inner().wakers.leave(place);
    }

    /// Returns a reference that does not keep the circuit alive.
    pub(crate) fn downgrade(&self) -> WeakCircuit {
        WeakCircuit(Arc::downgrade(&self.root))
    }

    #[inline]
    fn inner(&self) -> &Inner {
        &self.root.inner
    }
}

/// A reference that does not keep its circuit alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakCircuit(Weak<Branch>);

impl WeakCircuit {
    /// Returns a handle to the circuit. Returns `None` once the root branch is dropped. The root branch lives as long
    /// as a handle, a permit or a rejection refers to it.
    pub(crate) fn upgrade(&self) -> Option<Circuit> {
        self.0.upgrade().map(|root| Circuit { root })
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (era, standing) = self.inner().era_and_standing();
        let name = self.name();
        f.debug_struct("Circuit").field("name", &name).field("standing", &standing).field("era", &era).finish()
    }
}
