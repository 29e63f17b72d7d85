//! The status of a circuit with its state, numbers, totals and last transitions, for people, admin pages and tests.
//!
//! `status` takes the cold mutex, so that all parts of a status are of one era. The admission of a call never reads a
//! status, because calls would then wait for the mutex. The sentence of a status is in `status/text.rs`.

mod text;

use std::fmt;
use std::time::Duration;

use super::inner::Inner;
use super::{Circuit, Peek, trip_rules};
use crate::outcome::{number, score_from_units};
use crate::state::{FleetBrief, Generation, HealthStatus, Mode, Standing, State, Suppressed, Transition};
use crate::sync::{Acquire, AtomicU64, Relaxed};
use crate::window::Tally;

/// The state and the numbers of a circuit at one moment, for people and dashboards.
///
/// The `Display` of a status is one sentence for operators:
///
/// ```
/// use tower_circuit_breaker::{Circuit, Config};
///
/// let circuit = Circuit::new(Config::new("payments")?);
/// circuit.try_acquire()?.success();
/// assert_eq!(
///     circuit.status().to_string(),
///     "circuit `payments` is closed; calls: 1 succeeded, 0 failed, 0 rejected"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The name of the service that the circuit guards.
    pub name: String,
    /// The automatic state. While a mode such as forced open overrules the state, this field is the state beneath.
    pub state: State,
    /// The mode that an operator or the configuration has set.
    pub mode: Mode,
    /// True if `CIRCUIT_BREAKER_DISABLED` names the circuit, so that every call goes through in every state and mode.
    pub bypassed: bool,
    /// The version of the state in this process. Increases by one with each transition.
    pub era: u64,
    /// The generation (the version of the state) of the stored record that this instance has read or written last.
    pub generation: Generation,
    /// A number that increases with every change that an operator can observe. Such changes are the transitions of this
    /// circuit, and the transitions and acts of other instances that were loaded from the store. `Order::seen` takes
    /// this number.
    pub latest: Generation,
    /// The time since the era began, which is the time since the last transition or since the circuit was created.
    pub since: Duration,
    /// The time since the circuit left the closed state or was last tripped by an operator. `None` if neither happened,
    /// or if the circuit has closed since.
    pub tripped_for: Option<Duration>,
    /// The time until the hold of an operator (forced open or disabled) ends. Zero if this time is over but the mode
    /// has not changed yet, because an expired hold ends with the next call or the next successful health probe. `None`
    /// if no hold is in force, or if only an operator ends the hold.
    pub held_for: Option<Duration>,
    /// The rest of the cooldown, during which a registry refuses a reset that is not forced. `None` if the cooldown is
    /// over, or if the circuit is tripped neither in this process nor in the stored record.
    pub reset_in: Option<Duration>,
    /// The time until calls may pass again. `None` if calls are not rejected, or if the time is not known.
    pub retry_after: Option<Duration>,
    /// The answer that the next call would get. Decide about traffic and readiness by this field, and not by the state.
    pub next_call: NextCall,
    /// The time until the ramp is over. During a ramp a closed circuit admits only a share of the calls. `None` without
    /// a ramp.
    pub ramp_left: Option<Duration>,
    /// The share of the calls that the closed circuit admits at this moment, by its ramp and its throttle. The share is
    /// 1 if neither a ramp nor a throttle limits the calls, and for a circuit that is not closed, is held or is
    /// bypassed.
    pub admitted_share: f64,
    /// The share of the calls that the throttle of the closed circuit rejects at this moment. The share is 0 without a
    /// throttle, and for a circuit that is not closed, is held or is bypassed.
    pub throttled_share: f64,
    /// The number of openings in a row. Each further opening in a row doubles the open duration. The number stops
    /// growing when the open duration has reached its maximum, with the defaults at 5. The number was computed at the
    /// last opening. At the next opening, the number first decreases by one for each time that the last open duration
    /// fits into the time for which the circuit has been closed.
    pub attempt: u32,
    /// The sums over the window, which has the calls of this era only.
    pub tally: Tally,
    /// The weight of the failures since the last success. In a half-open circuit, the weight of the probes that ended
    /// without a verdict although a closed circuit would have counted them as failures.
    pub run: f64,
    /// The weighted share of failures in the window. `None` with fewer than `min_calls` calls, and if no rule needs a
    /// window.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in the window, with the calls that [hang](Self::hanging). `None` with fewer than
    /// `min_calls` calls, and without a slow-call rule.
    pub slow_call_rate: Option<f64>,
    /// The number of calls of this era that have been under way for `slower_than` or longer. `tally` does not contain
    /// these calls. A call may enter this number late, by at most a tenth of `slower_than` or a fiftieth of the window
    /// (200 ms for a window of calls), whichever is longer. Zero without a slow-call rule, and if the circuit counts no
    /// calls, because it is not closed or because a hold is in force.
    pub hanging: u64,
    /// The probes of a half-open circuit.
    pub probes: ProbeStatus,
    /// The decision of the fleet that this instance has loaded last. `None` for a circuit without a fleet, and before
    /// the store has answered.
    pub fleet: Option<FleetBrief>,
    /// The last opening that the [group](crate::Group) of the circuit has suppressed. `None` if no opening was
    /// suppressed in the last minute, or if the circuit has made a transition since.
    pub suppressed: Option<Suppressed>,
    /// The health probes of the circuit. `None` if the circuit has never had a health probe.
    pub health: Option<HealthStatus>,
    /// The counts since the circuit was created.
    pub totals: Totals,
    /// The last transitions, oldest first, at most 128.
    pub transitions: Vec<Transition>,
}

/// The answer that the next call would get, at the moment of a [`Status`].
///
/// The state alone does not determine the answer. An open circuit whose open duration is over admits the next call as a
/// probe, and stays open until that call comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a call is admitted, a probe or rejected")]
pub enum NextCall {
    /// The call is admitted.
    Admitted,
    /// The call is admitted as a probe, if no other call comes first.
    Probe,
    /// The call is rejected.
    Rejected,
}

impl NextCall {
    /// Returns `admitted`, `probe` or `rejected`, as on the admin page and in its JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Probe => "probe",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for NextCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Status {
    /// Returns state and mode together.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing::new(self.state, self.mode)
    }
}

/// The probes of a half-open circuit. All numbers are zero in other states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProbeStatus {
    /// The number of probes under way.
    pub in_flight: usize,
    /// The number of probes that succeeded.
    pub successes: u32,
    /// The number of probes that failed and were tolerated.
    pub failures: u32,
}

/// The counts since the circuit was created, over all eras. One count can be a moment older than another, because calls
/// may end while the counts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed, panicked or were dropped late. Includes the dropped permits that count as a failure, see
    /// [`Permit`](super::Permit).
    pub failures: u64,
    /// Calls whose outcome was ignored.
    pub ignored: u64,
    /// Calls that were cancelled or dropped without counting as a failure.
    pub cancelled: u64,
    /// Calls whose outcome arrived after the end of their era. The outcome is also in one of the counts above, and in
    /// no window and no verdict.
    pub stale: u64,
    /// Calls that were rejected.
    pub rejected: u64,
    /// Calls that went through in shadow, although they would have been rejected or shed without the shadow.
    pub would_reject: u64,
    /// Calls that load shedding refused. `rejected` does not include these calls.
    pub load_shed: u64,
    /// Calls that the throttle rejected. `rejected` includes these calls.
    pub throttled: u64,
    /// Openings that the [group](crate::Group) of the circuit has suppressed. Each outcome that meets a rule counts as
    /// one opening. Calls that [hang](Status::hanging) count as at most one opening in ten seconds.
    pub suppressed: u64,
    /// Panics of observers, which the circuit caught.
    pub observer_panics: u64,
}

impl Circuit {
    /// Returns the status of the circuit at this moment.
    ///
    /// Like [`would_admit`](Self::would_admit), this method can make a half-open circuit open again, and can make an
    /// open circuit half-open. Without these transitions, a caller that calls only if `next_call` allows the call would
    /// never call again. A closed circuit whose [hanging](Status::hanging) calls meet the slow-call rule also opens.
    #[must_use]
    pub fn status(&self) -> Status {
        // The caller of `status` may want to make a call next. Therefore an open circuit whose next probe needs a lease
        // becomes half-open here, so that a lease is requested. The admin page and the coordinator make no call, and
        // must not cause a request for a lease. They use only `status_with`.
        self.inner().await_grant_if_due(self.now());
        self.status_with(usize::MAX)
    }

    /// Returns the status with at most `transitions` of the last transitions, because a list of thousands of circuits
    /// needs only one transition of each circuit.
    pub(crate) fn status_with(&self, transitions: usize) -> Status {
        let inner = self.inner();
        // The changes are made before the lock is taken, because a transition takes the lock and notifies observers.
        inner.give_up_if_due(inner.now());
        inner.open_if_hanging();
        // The lock is held so that no transition comes between the reads of the parts.
        let cold = inner.cold.lock();
        let (word, now) = (inner.load(), inner.now());
        let era = word.era();
        let tally = inner.tally(era, now);
        let rules = &inner.config.rules;
        // The hanging calls are read after the window, so that a call that ends meanwhile is not counted twice.
        let (lately, hanging) = (inner.hanging_lately(word, now), inner.hanging(word, now));
        let rate =
            |part: f64, calls: u64| (calls >= u64::from(rules.min_calls)).then(|| trip_rules::share(part, calls));
        let verdict = inner.probes.verdict(era);
        Status {
            name: inner.config.name().to_owned(),
            state: word.state(),
            mode: word.mode(),
            bypassed: word.bypassed(),
            era,
            generation: cold.generation,
            latest: cold.latest(),
            since: now.saturating_since(inner.entered()),
            tripped_for: cold.tripped_for(now),
            held_for: inner.held_for(word, now),
            reset_in: inner.cooldown(&cold, now),
            retry_after: match inner.peek_at(word, now) {
                Peek::Rejecting(retry_after) => retry_after,
                Peek::MayPass | Peek::ProbesTaken(_) | Peek::AwaitsRestore => None,
            },
            next_call: inner.next_call(word, now),
            ramp_left: inner.ramp_left(now).filter(|_| word.counts_calls()),
            admitted_share: if word.counts_calls() { inner.admitted_share(era, now) } else { 1.0 },
            throttled_share: if word.counts_calls() { inner.throttled_share(era, now) } else { 0.0 },
            attempt: cold.attempt,
            tally,
            run: score_from_units(inner.run.get(era).weight),
            failure_rate: if rules.need_window() { rate(tally.score(), tally.calls) } else { None },
            slow_call_rate: rules.slow_call_rate.and_then(|_| {
                let (slow, calls) = trip_rules::with_hanging(inner.config.window, tally, lately);
                rate(number(slow), calls)
            }),
            hanging,
            probes: ProbeStatus {
                in_flight: inner.probes.in_flight(era),
                successes: verdict.successes,
                failures: verdict.failures,
            },
            fleet: cold.fleet(),
            suppressed: inner.suppressed(&cold, word, now),
            health: inner.health_status(&cold, now),
            totals: inner.totals(),
            transitions: cold.history.iter().skip(cold.history.len().saturating_sub(transitions)).cloned().collect(),
        }
    }

    /// Returns the counts since the circuit was created.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let inner = self.inner();
        // The totals do not include restored evidence. A restore first adds its evidence to the counts of the window,
        // and then to a number that the totals subtract. The lock is held so that no reader comes between the two
        // steps.
        let _cold = inner.cold.lock();
        inner.totals()
    }

    /// Reports the standing (state and mode together) to the observers, so that every gauge is up to date. A closed
    /// circuit whose [hanging](Status::hanging) calls meet the slow-call rule opens first.
    ///
    /// Call this function in the handler of `/metrics`, because some gauges change with time, and because the metrics
    /// recorder may have been installed after the circuit was created.
    pub fn refresh_metrics(&self) {
        let inner = self.inner();
        inner.open_if_hanging();
        inner.count_absent();
        inner.report_standing();
    }
}

impl Inner {
    /// Returns the counts. If the caller does not hold the cold mutex, the counts may contain evidence that a restore
    /// is just adding.
    pub(super) fn totals(&self) -> Totals {
        let counts = &self.counts;
        // Relaxed, because these counts publish no other data.
        let count = |count: &AtomicU64| count.load(Relaxed);
        // The failures are read first, because a failed call enters the window before the count of failures. So the
        // window never has fewer calls than the failures that were read. Acquire, which pairs with the Release in
        // `count_failure`.
        let failures = counts.failures.load(Acquire);
        Totals {
            successes: (self.evidence.recorded() + self.cells.successes()).saturating_sub(failures)
                + count(&counts.other_successes),
            failures: failures + count(&counts.other_failures),
            ignored: count(&counts.ignored),
            cancelled: count(&counts.cancelled),
            stale: count(&counts.stale),
            rejected: self.rejected(),
            would_reject: count(&counts.would_reject),
            load_shed: count(&counts.load_shed),
            throttled: self.throttled(),
            suppressed: self.suppressed_openings(),
            observer_panics: count(&counts.observer_panics),
        }
    }
}
