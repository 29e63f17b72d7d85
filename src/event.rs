//! The events of a circuit, and the observers that receive the events. Metrics are calculated only from events.
//! Therefore, if no event reports a fact, a metric of this fact needs a new event here.
//!
//! An observer receives each event once, outside every lock. Usually the thread that caused the event calls the
//! observer. There are two exceptions. A thread that reports sums may also report calls of other threads. A thread that
//! reports a transition also reports the transitions that other threads make during the report. An observer therefore
//! receives all transitions of a circuit in their order. An observer takes no part in the decisions of the circuit. A
//! panic of an observer is caught and counted. An observer that blocks also blocks the caller of the circuit.
//!
//! There is no event for the start of a call, and no event shows that a call was a probe. A counter of these facts
//! needs a new event. A gauge of a number that the circuit knows at any time, such as the probes in flight, needs only
//! a field of [`Event::Refresh`], which `circuit/notify.rs` fills.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Tick;
use crate::outcome::Failure;
use crate::state::{FleetBrief, FleetProbe, HealthResult, Reason, RejectReason, Standing, Transition};

/// Receives the events of a circuit.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use tower_circuit_breaker::event::{Event, Observer};
///
/// #[derive(Debug)]
/// struct Pager(mpsc::Sender<String>);
///
/// impl Observer for Pager {
///     fn on_event(&self, circuit: &str, event: &Event<'_>) {
///         if let Event::Transition(edge) = event {
///             // The error of a closed channel is ignored, because an alert must not stop the caller.
///             self.0.send(format!("{circuit} is {} because {}", edge.to, edge.reason)).ok();
///         }
///     }
/// }
/// ```
#[doc(alias = "EventPublisher")]
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Receives one event of the named circuit. The function must not block, because a caller of the circuit waits
    /// until the function returns.
    ///
    /// The transitions of a circuit are reported one after another, in the order of [`Transition::era`]. A transition
    /// that happens during the report of an earlier transition is reported afterwards. If more than 128 transitions
    /// happen before the observers return, the oldest of them are not reported.
    fn on_event(&self, circuit: &str, event: &Event<'_>);

    /// Returns true if the observer receives the events of calls, which are [`Event::Finished`], [`Event::Rejected`],
    /// [`Event::Fallback`], [`Event::Stale`] and [`Event::Sums`].
    ///
    /// Each circuit calls this method once, when the circuit is created. The default is `false`, so that these events
    /// cost nothing.
    fn wants_calls(&self) -> bool {
        false
    }

    /// Returns true if successes and rejections may come in sums, as [`Event::Sums`], instead of one by one. If
    /// [`wants_calls`](Self::wants_calls) is false, the observer receives no successes and no rejections.
    ///
    /// Each circuit calls this method once, when the circuit is created. The default is `false`. With a time window, a
    /// call of a closed circuit costs as much as without the observer. A call of a circuit whose rules need no window
    /// costs 2 to 3 ns more than without the observer, and so does each rejection. A separate report of each call costs
    /// more, and makes threads wait for each other.
    ///
    /// An observer of sums must also count [`Finished`](Event::Finished) and [`Rejected`](Event::Rejected), because
    /// these calls are always reported one by one:
    ///
    /// * failures, and ignored and cancelled calls
    /// * slow successes
    /// * probes
    /// * calls of a disabled circuit, calls under the kill switch, calls that a probe makes through the same circuit,
    ///   and calls of a circuit in shadow that would have been rejected
    /// * calls that load shedding, a ramp or a throttle refuses
    /// * stale outcomes, which arrive after the state in which their call was admitted has ended
    /// * successes in a window of calls, or under
    ///   [`trip_on_any_outcome`](crate::config::ConfigBuilder::trip_on_any_outcome)
    /// * calls of threads that have no count of their own, see [`sharded`](crate::config::ConfigBuilder::sharded)
    ///
    /// All calls are reported one by one if the circuit measures durations, or if another observer wants calls and does
    /// not accept sums.
    fn accepts_sums(&self) -> bool {
        false
    }
}

/// Creates an observer from a closure.
///
/// The closure receives all events that are not about calls, such as transitions and summaries.
/// [`ObserverFn::with_calls`] adds the events of calls.
///
/// ```
/// use tower_circuit_breaker::Config;
/// use tower_circuit_breaker::event::{Event, observer_fn};
///
/// let alert = observer_fn(|circuit, event| {
///     if let Event::Transition(edge) = event {
///         eprintln!("{circuit} is {} because {}", edge.to, edge.reason);
///     }
/// });
/// let config = Config::builder("payments").observer(alert).build()?;
/// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
/// ```
pub const fn observer_fn<F>(f: F) -> ObserverFn<F>
where
    // The bound is on this function, because the compiler infers the lifetimes of a closure's arguments from the
    // function that receives the closure.
    F: Fn(&str, &Event<'_>) + Send + Sync + 'static,
{
    ObserverFn { f, wants_calls: false }
}

/// An observer that is a closure, created by [`observer_fn`].
#[derive(Clone, Copy)]
#[must_use = "an observer observes nothing until a configuration has it"]
pub struct ObserverFn<F> {
    f: F,
    wants_calls: bool,
}

impl<F> ObserverFn<F> {
    /// Lets the closure also receive the events of calls, one by one.
    pub const fn with_calls(mut self) -> Self {
        self.wants_calls = true;
        self
    }
}

impl<F: Fn(&str, &Event<'_>) + Send + Sync + 'static> Observer for ObserverFn<F> {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        (self.f)(circuit, event);
    }

    fn wants_calls(&self) -> bool {
        self.wants_calls
    }
}

impl<F> fmt::Debug for ObserverFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverFn").field("wants_calls", &self.wants_calls).finish_non_exhaustive()
    }
}

/// An occurrence in a circuit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The circuit has changed its state or mode.
    Transition(&'a Transition),
    /// A summary of the rejections for logs, because one line for each rejection would flood a log. A rejected call
    /// reports the summary, at most every 10 s. In a tower service, the time of a rejection is the time at which
    /// `poll_ready` found that the circuit rejects calls.
    #[non_exhaustive]
    Rejections {
        /// The number of rejections since the last summary. The first summary counts from the time at which the circuit
        /// began to reject calls. At that time the circuit opened, became half-open by a reset or a restore, or began
        /// to admit only a share of the calls.
        rejected: u64,
        /// The duration in which these rejections happened.
        over: Duration,
        /// The time until the circuit admits calls again. `None` if the time is not known, or if the circuit admits a
        /// share of the calls.
        retry_after: Option<Duration>,
    },
    /// The circuit is new, or [`refresh_metrics`](crate::Circuit::refresh_metrics) was called. An observer should
    /// update its gauges.
    #[non_exhaustive]
    Refresh {
        /// The state and mode of the circuit, as a caller would find them. An open circuit whose next call is a
        /// probe appears as half-open.
        standing: Standing,
        /// True if `CIRCUIT_BREAKER_DISABLED` names the circuit, so that all calls go through in every state.
        bypassed: bool,
        /// The present era (version of the state) of the circuit, as in [`Transition::era`].
        era: u64,
        /// The time of the refresh, by the clock of the circuit.
        at: Tick,
        /// The last decision of the fleet that this instance knows. `None` for a circuit without a fleet.
        fleet: Option<FleetBrief>,
        /// The share of the calls that the closed circuit admits, by its ramp and its throttle. `None` if the circuit
        /// is configured with neither of them, and no ramp of the fleet is under way.
        admitted_share: Option<f64>,
        /// The number of calls that have been under way for `slower_than` or longer, see
        /// [`Status::hanging`](crate::circuit::Status::hanging). `None` without a slow-call rule.
        hanging: Option<u64>,
        /// The number of openings that the group has suppressed since the circuit was created. `None` without a group.
        suppressed: Option<u64>,
    },
    /// An admitted call has ended.
    #[non_exhaustive]
    Finished {
        /// The way in which the call ended.
        ended: Ended,
        /// The time at which the call ended. A failure always has the time. For any other call, `None` if the clock was
        /// not read, because nothing needed the time.
        at: Option<Tick>,
        /// The duration of the call, if it was measured.
        elapsed: Option<Duration>,
    },
    /// A call was rejected.
    #[non_exhaustive]
    Rejected {
        /// The reason of the rejection.
        reason: RejectReason,
    },
    /// Calls that were not reported one by one, for observers that [accept sums](Observer::accepts_sums).
    ///
    /// A thread reports its sums with its first call, with every 256th call, and with the first call that comes 1 ms or
    /// more after the last report. The time is measured by the clock of the circuit. With the coarse default clock, the
    /// time between two reports is 1 to 10 ms. For a rejection by a tower service, this clock is read in
    /// `poll_ready`.
    ///
    /// The sums of all threads are reported before each transition, with each
    /// [`refresh_metrics`](crate::Circuit::refresh_metrics), when a keyed circuit is evicted, and when the circuit is
    /// dropped. The task of a registry with a store also reports all sums once a second. If the clock stands still, as
    /// in a test, time causes no report.
    #[non_exhaustive]
    Sums {
        /// The number of successful calls of the closed circuit.
        successes: u64,
        /// The number of calls rejected with [`RejectReason::Tripped`].
        tripped: u64,
        /// The number of calls rejected with [`RejectReason::HalfOpen`].
        half_open: u64,
    },
    /// A fallback for a rejected call has ended. The rejection itself is reported as [`Rejected`](Self::Rejected) or in
    /// a sum.
    #[non_exhaustive]
    Fallback {
        /// True if the fallback has returned an answer, false if the fallback has returned an error.
        answered: bool,
    },
    /// An outcome arrived after the circuit had left the state in which the call was admitted. The outcome counts only
    /// in the totals. The call is also reported as `Finished`.
    Stale,
    /// The circuit has left its registry, so that gauges and pages should no longer show the circuit. Calls under way
    /// still end, and may still change the circuit.
    Forgotten,
    /// The decision of the fleet about the circuit, the number of votes, or the number of probes has changed. The task
    /// of the registry reports this event. The first report comes after the first answer of the store for the circuit.
    #[non_exhaustive]
    Fleet {
        /// The latest decision of the fleet about the circuit, as far as this instance knows.
        brief: FleetBrief,
    },
    /// Probes of this instance have ended while the fleet was not closed. The task of the registry reports this event.
    #[non_exhaustive]
    FleetProbes {
        /// The result of the probes. The results of probes without a lease are not in the record of the circuit.
        result: FleetProbe,
        /// The number of probes with this result.
        number: u32,
    },
    /// The [group](crate::Group) of the circuit has suppressed openings, because as many circuits of the group are open
    /// as the group allows. The circuit stays closed. The event is reported at the first suppressed opening, and then
    /// at most every 10 s while failures meet a rule.
    #[non_exhaustive]
    Suppressed {
        /// The name of the group.
        group: &'a str,
        /// The reason that the suppressed opening would have had.
        reason: &'a Reason,
        /// The number of suppressed openings since the last event of this kind. Each outcome that would have opened the
        /// circuit is one suppressed opening.
        number: u64,
        /// The number of suppressed openings since the circuit was created.
        total: u64,
        /// The number of members of the group that have opened by themselves and have not closed since.
        open: u32,
        /// The number of members of the group. These are the circuits of the group, without keyed circuits whose keys
        /// are no longer in use.
        members: u32,
    },
    /// This instance stays closed although the fleet has opened. Its own calls succeed, or its group allows no more
    /// open circuits. The event is reported once for each opening of the fleet.
    FleetDeclined,
    /// The health probes of the circuit have begun. This event lets an observer prepare for their results.
    HealthBegan,
    /// A health probe has ended. The task that runs the probe reports this event. A health probe is not a call, and no
    /// window counts its failure.
    #[non_exhaustive]
    HealthProbe {
        /// The result of the health probe.
        result: HealthResult,
    },
    /// A load-shedding layer has measured the load of the system, at most every 250 ms. The call that measured the load
    /// reports this event.
    #[non_exhaustive]
    SystemLoad {
        /// The load, where 1.0 means that the system is fully used. `None` if the load is not known. Then nothing is
        /// shed.
        load: Option<f64>,
        /// True while heavy operations are shed.
        shedding: bool,
        /// True if shedding began or ended since the last event with `news`. An event has `news` at most every 10 s.
        /// Therefore an observer can log each event with `news`.
        news: bool,
    },
}

/// The way in which an admitted call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The call succeeded.
    Success,
    /// The call failed. A call that panicked has failed, and so has a call that was cancelled after
    /// [`cancelled_counts_after`](crate::config::ConfigBuilder::cancelled_counts_after).
    Failure(Failure),
    /// The outcome of the call says nothing about the service.
    Ignored,
    /// The call was dropped too early to say anything about the service.
    Cancelled,
}

/// Runs foreign code, such as an observer, a waker or a function of the configuration. Catches a panic of the code, so
/// that the panic does not reach the caller. Returns the result, or `None` if the code panicked.
pub(crate) fn guarded<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    // `AssertUnwindSafe` is correct, because the foreign code borrows no data of this crate mutably. Foreign code that
    // panics has to keep its own data consistent.
    match catch_unwind(AssertUnwindSafe(foreign)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // The value of the panic is never dropped, because its drop may panic again. A second panic during the
            // unwinding of another panic would abort the process.
            std::mem::forget(panic);
            None
        }
    }
}
