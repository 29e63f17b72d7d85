//! The circuit breaker of one service ([`Circuit`]). A circuit is a shared object that admits or rejects calls, counts
//! the outcomes of the calls, and changes its state. The table below has all transitions.
//!
//! To admit a call, a thread loads one atomic word (`circuit/word.rs`). To record an outcome, a thread adds to a cell
//! (a counter with one writing thread), or to the window that all threads share. Admission and recording are on the
//! path of every call, so neither waits for a lock. A successful call of a closed circuit allocates memory only in two
//! cases: at the first use of the buckets of a time window, and when the circuit gives each thread cells of its own.
//!
//! A change of state is rare and takes the cold mutex (`circuit/cold.rs`). Each change begins a new era, which lasts
//! until the next change. The thread that holds the mutex decides, writes the data of the new era, and publishes the
//! state and the era with one store of the word. Every permit has the era in which the permit was given. An outcome
//! that arrives in a later era counts only in the totals, because the outcome is no evidence for the new state. There
//! is one exception, which is a failure that [trips at once](crate::Failure::trips_at_once) and has a time to wait
//! (`Retry-After`). Such a failure opens the circuit, or keeps the circuit open, for that time, even if the failure
//! arrives in a later era.
//!
//! ```text
//! try_acquire ── word ──┬─ flowing ───────────────▶ Permit ── outcome ──▶ window, run ── rule met? ──┐
//!                       ├─ a slot for a probe? ───▶ Permit (probe) ─────▶ verdict ───────── certain? ─┤
//!                       └─ else ──────────────────▶ Rejected                                          ▼
//!                                               observers ◀── word, era ◀── data of the era ◀── cold mutex
//! ```
//!
//! A circuit does not know tower or stores. Higher modules use [`status`](Circuit::status),
//! [`poll_changed`](Circuit::poll_changed), [`adopt`](Circuit::adopt) and [`advise`](Circuit::advise). Metrics and logs
//! are [`Observer`](crate::event::Observer)s, which the circuit creates and notifies.
//!
//! # The state machine
//!
//! Each row of the table is one transition. A circuit in shadow mode makes the same transitions as a circuit in
//! automatic mode. During a hold (forced open or disabled), only the end of the hold, an operator or a snapshot causes
//! a transition. A snapshot is a saved state of the circuit, or the state of the circuit on another instance. If the
//! kill switch is set, only an operator or a snapshot causes a transition. The circuit has no timer. The first call
//! after a deadline makes the transition that is due. A successful health probe makes a transition without a call.
//!
//! The state and the mode *beneath* a hold are the state and the mode that the circuit has after the hold.
//!
//! Some callers only wait for the circuit, or only check the circuit with a method such as
//! [`would_admit`](Circuit::would_admit). If a half-open circuit is due to change back to open, these callers make this
//! change. While the instances of a fleet share the probes, these callers also make an open circuit half-open after the
//! open duration. Without these two transitions, a caller that only waits or checks would never be admitted.
//!
//! The adoption of a snapshot is a transition only if the state, the mode or a deadline changes, or if a restore adds
//! successful probes.
//!
//! | from | to | cause | [`Reason`](crate::state::Reason) |
//! |---|---|---|---|
//! | closed | open | An outcome meets a rule. | `ConsecutiveFailures`, `FailureRate`, `FailureScore`, `SlowCallRate` |
//! | closed | open | Hanging calls meet the slow-call rule. A call, a status read or another event checks for hanging calls (`circuit/hanging.rs`). | `SlowCallRate` |
//! | closed, on trust | open | Failures weigh 0.5 together before the first success. | `Unproven` |
//! | closed | open | A failure is marked with [`trips_at_once`](crate::Failure::trips_at_once). | `AtOnce` |
//! | closed, half-open, open | open until a later time | A failure is marked with `trips_at_once` and has a time to wait, but its era has ended or its call is not counted. | `AtOnce` |
//! | closed | open | An outcome or hanging calls meet a rule whose thresholds a ramp has lowered. | `Relapsed` |
//! | closed | open | An outcome or hanging calls meet a rule whose thresholds advice has lowered. | `Advised` |
//! | open | half-open | A call comes after the open duration. | `WaitElapsed` |
//! | open | half-open | A health probe succeeds (`circuit/health.rs`). | `HealthProbe` |
//! | half-open | open | More probes have failed than are tolerated, or a failure is marked with `trips_at_once`. A slow probe counts as failed if the slow-call rule is on. | `ProbeFailed` |
//! | half-open | open | A call comes at least twice the probe deadline after the start of the era, a probe is overdue and no probe has succeeded. | `NoSuccess` |
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
//! | any | half-open in its configured mode | An operator resets the circuit to [`To::HalfOpen`]. If the order goes to every instance, an instance whose circuit is already closed in its configured mode keeps the circuit closed, because the order is meant for the tripped circuits. | `Operator`, `Act::Reset` |
//! | any | closed in its configured mode | An operator resets the circuit to [`To::Closed`]. | `Operator`, `Act::Reset` |
//! | any | closed in its configured mode | An operator forgets the circuit. | `Operator`, `Act::Forget` |
//! | any | the state and the mode of a snapshot | The circuit is restored. | `Restored` |
//! | any | the state of a snapshot, in the same mode | The circuit follows a newer state that an instance without a fleet has published. | `Followed` |
//! | any | the state of a snapshot, in the same mode | The circuit adopts a decision of the fleet. | `Fleet` |
//! | closed | the same | `CIRCUIT_BREAKER_DISABLED` contains the name of the new circuit. | `KillSwitch` |
//!
//! In a [group](crate::Group), a circuit needs an *open slot* (a permission of the group not to be closed) to change
//! from closed to open or to half-open, unless an operator changes the circuit (`circuit/in_group.rs`).
//!
//! A circuit is closed *on trust* if the circuit has closed although some or all of its probes ended without a verdict.
//! A probe has no verdict if the caller gives up early or drops the permit, or if the classifier ignores the result.
//! The first success ends the trust. A change of the mode or a restart also ends the trust, because each of these
//! begins a new era. Time in the closed state reduces the number of openings in a row. The time on trust does not
//! reduce this number if the circuit opens before the first success. An outcome without weight, such as the outcome of
//! a call that is cancelled early, changes nothing. Therefore impatient callers do not open the circuit of a healthy
//! service. Other instances do not know of the trust.
//!
//! A closed circuit *ramps* while it admits only a growing share of the calls. A ramp begins when probes have closed
//! the circuit, if a [ramp](crate::config::ConfigBuilder::ramp) is set. When a fleet has closed the circuit, a ramp
//! begins by default. A change of the mode during the ramp begins no new ramp, and the end of the ramp begins no era.
//!
//! A *doubt* is a probe without a verdict that has perhaps failed. A closed circuit would have counted a call with the
//! same end as a failure. A dropped permit is a doubt of weight 0.5, and a deadline of the caller is a doubt of less
//! weight.
//!
//! The file is longer than most files, because the table of transitions and the public methods of a circuit belong
//! together.

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

/// A circuit breaker for one service. All clones are handles to the same circuit.
///
/// # Examples
///
/// To guard a future, use [`call`](Self::call). For other calls without tower, take a permit for each call, and record
/// the outcome of the call on the permit:
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
    /// Creates a circuit in the closed state. The circuit is in shadow mode if the configuration requires shadow mode.
    ///
    /// The environment variable `CIRCUIT_BREAKER_DISABLED` is a kill switch. If the variable contains the name of the
    /// circuit, the circuit admits every call for the life of the process, and reports the kill switch to its
    /// observers. The names are separated by commas. `host:*` stands for all circuits whose names begin with `host:`,
    /// and `*` stands for all circuits.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let circuit = Self::unreported(config, None);
        circuit.introduce();
        circuit
    }

    /// Creates a circuit, but does not report the circuit to its observers. If calls will use the circuit, the caller
    /// must call [`introduce`](Self::introduce) afterwards. The caller must hold no lock then, because observers are
    /// foreign code.
    ///
    /// `also` is the observer of a registry. The configuration does not contain this observer.
    pub(crate) fn unreported(config: Config, also: Option<Arc<dyn event::Observer>>) -> Self {
        let killed = kill_switch::names(config.name());
        let is_spread = config.sharded;
        Self { root: Branch::root(Arc::new(Inner::new(config, killed, also)), is_spread) }
    }

    /// Reports the new circuit to its observers. The caller must hold no lock, because observers are foreign code.
    pub(crate) fn introduce(&self) {
        self.inner().introduce();
    }

    /// Cleans up for a circuit that has left its registry, or was never added to the registry. Ends the wait for a
    /// restore, removes the circuit from its group, and reports `Forgotten` to the observers. The caller must hold no
    /// lock, because observers and wakers are foreign code.
    #[cfg(feature = "keyed")]
    pub(crate) fn report_forgotten(&self) {
        #[cfg(feature = "store")]
        self.restored();
        self.inner().leave_group();
        self.inner().report_sums();
        self.inner().notify(&event::Event::Forgotten);
    }

    /// Returns true if the circuit holds an open slot of the group (the permission to leave the closed state). `None`
    /// if the circuit is not a member of the group.
    #[cfg(feature = "keyed")]
    pub(crate) fn holds_slot_of(&self, group: &crate::group::Group) -> Option<bool> {
        self.inner().holds_slot_of(group)
    }

    /// Reports to the observers the calls that the cells (counters with one writing thread) have counted since the last
    /// report. Also opens the circuit if hanging calls meet the slow-call rule. The caller must hold no lock, because
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

    /// Returns a permit for one call.
    ///
    /// Record the outcome of the call on the permit before an early return with `?`. A permit that is dropped without
    /// an outcome counts as a failure of weight 0.5, see [`Permit`].
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the circuit is open or forced open, if the circuit is half-open and admits no further probe, or
    /// if a ramp or a throttle rejects the call. Do not make a rejected call.
    #[doc(alias = "tryAcquirePermission")]
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.admit(Start::Coarse, || Drawn::YES).map(Admission::permit)
    }

    /// Returns a permit for one call of this criticality. During a [ramp](crate::config::ConfigBuilder::ramp) or a
    /// [throttle](crate::config::ConfigBuilder::throttle) the circuit rejects less critical calls first. A half-open
    /// circuit prefers less critical calls as probes.
    ///
    /// Use the permit to make the call:
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

    /// Admits or rejects one call. `drawn` returns the criticality of the call, by which a ramp, a throttle or a
    /// half-open circuit may reject the call. `drawn` is called only if the atomic word of the circuit does not admit
    /// the call at once. The caller converts the admission to a permit when the call has begun.
    #[inline(always)]
    pub(crate) fn admit(&self, start: Start, drawn: impl FnOnce() -> Drawn) -> Result<Admission<'_>, Rejected> {
        Branch::admit(&self.root, start, drawn)
    }

    /// Returns a reference with which a call acquires a permit later. Also returns true if calls must wait until the
    /// circuit is restored from its store.
    #[inline]
    pub(crate) fn asking(&self) -> (Asking, bool) {
        let word = self.inner().load();
        (Asking::new(&self.root, word), word.awaits_restore())
    }

    /// Returns true if the circuit admits and counts all calls, so that no further check is needed.
    #[inline]
    pub(crate) fn is_flowing(&self) -> bool {
        self.inner().load().is_flowing()
    }

    /// Returns true while calls wait until the circuit is restored from its store.
    #[inline]
    pub(crate) fn awaits_restore(&self) -> bool {
        self.inner().load().awaits_restore()
    }

    /// Rejects a call whose inner service was not polled ready. `found` is the time at which `poll_ready` observed that
    /// the circuit rejects calls. A `found` of zero stands for the present time.
    #[inline]
    pub(crate) fn reject_as_of(&self, found: Tick) -> Rejected {
        Branch::reject_as_of(&self.root, found)
    }

    /// Returns the present time on the clock of the circuit.
    pub(crate) fn now(&self) -> Tick {
        self.inner().now()
    }

    /// Records an outcome for the `poll_ready` of the inner service, which has returned an error or stayed pending too
    /// long. A closed circuit counts the outcome in its window, as if a call had ended. A half-open circuit, or an open
    /// circuit whose open duration has passed, counts the outcome as a probe.
    pub(crate) fn record_ready_error(&self, outcome: Outcome, text: Text<'_>) {
        // The check comes first, because a failed `admit` would count a rejection although no call was made.
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

    /// Returns true if the circuit is closed and in its configured mode. In this case no operator has changed the mode
    /// or holds the circuit.
    #[cfg(feature = "store")]
    pub(crate) fn is_at_rest(&self) -> bool {
        let inner = self.inner();
        inner.is_at_rest(inner.load())
    }

    /// Returns true if the circuit is not in its configured mode, because an operator holds the circuit or has changed
    /// the mode.
    #[cfg(feature = "keyed")]
    pub(crate) fn is_held(&self) -> bool {
        self.inner().load().mode() != self.config().first_mode()
    }

    /// Waits for the next transition. Returns the new standing (the state and the mode) and updates `era`.
    ///
    /// The end of the open duration is not a transition and does not wake the task. To observe the end of the open
    /// duration too, use [`changed`](Self::changed).
    ///
    /// Start with era 0 to get the present standing immediately. Every transition and the end of every probe wake the
    /// task. After the end of a probe, the next poll may return `Pending` again, because there was no transition.
    ///
    /// # Cancel safety
    ///
    /// No transition is lost if the caller stops polling, because the next poll compares `era` with the present era. A
    /// task that stops polling stays registered until the circuit wakes its tasks again. Therefore only a long-lived
    /// task should use this method.
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

    /// Registers the task of `context`. The next transition or the next free probe slot wakes the task. Before the task
    /// waits, the caller must check the circuit again. At the end of the wait, the caller must remove the registration
    /// with [`leave`](Self::leave).
    pub(crate) fn register_at(&self, place: &mut Place, context: &Context<'_>) {
        self.inner().wakers.register_at(place, context.waker());
    }

    /// Removes the registration at `place`, so that the circuit does not wake the task.
    pub(crate) fn leave(&self, place: Place) {
        self.inner().wakers.leave(place);
    }

    /// Returns a weak reference, which does not keep the circuit alive.
    pub(crate) fn downgrade(&self) -> WeakCircuit {
        WeakCircuit(Arc::downgrade(&self.root))
    }

    #[inline]
    fn inner(&self) -> &Inner {
        &self.root.inner
    }
}

/// A weak reference to a circuit, which does not keep the circuit alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakCircuit(Weak<Branch>);

impl WeakCircuit {
    /// Returns a handle to the circuit. `None` if no handle is left, and no permit or rejection holds the root branch
    /// (`circuit/branch.rs`), which all handles hold.
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
