//! What happens to a circuit, and who is told.
//!
//! Observers are told after the fact, outside every lock, by the thread that made it happen and once. They decide nothing.
//! A panic of an observer is caught and counted; one that blocks, blocks a caller.

use core::fmt;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::clock::Tick;
use crate::outcome::Failure;
use crate::state::{RejectReason, Standing, Transition};

/// Someone who is told what happens to a circuit.
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
///             // A closed channel must not stop a caller, so its error goes nowhere.
///             self.0.send(format!("{circuit} is {} because {}", edge.to, edge.reason)).ok();
///         }
///     }
/// }
/// ```
#[doc(alias = "EventPublisher")]
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Is told of one event of the named circuit. Must not block.
    ///
    /// Two transitions in quick succession may be told by two threads in either order; [`Transition::era`] orders them.
    fn on_event(&self, circuit: &str, event: &Event<'_>);

    /// Returns whether it wants [`Event::Finished`], [`Event::Rejected`] and [`Event::Stale`], which come with every call.
    ///
    /// Asked once, when the circuit is built; `false` unless overridden, and then these cost nothing.
    fn wants_calls(&self) -> bool {
        false
    }

    /// Returns whether successes and rejections may come in sums, as [`Event::Sums`], instead of one by one. It only matters to
    /// an observer that [wants calls](Self::wants_calls).
    ///
    /// Asked once, when the circuit is built; `false` unless overridden. Sums cost a call nothing, where a report of each call
    /// costs a few nanoseconds and makes threads wait for each other. Calls that a sum cannot carry still come one by one: those
    /// of a circuit that measures durations or has an observer that does not accept sums, and those of a window of calls.
    fn accepts_sums(&self) -> bool {
        false
    }
}

/// Something that happened to a circuit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An edge was taken.
    Transition(&'a Transition),
    /// Calls are being rejected: told at most every 10 s, by a rejected call. A summary, where one line each would flood.
    #[non_exhaustive]
    Rejections {
        /// How many since the last summary, or since the circuit tripped.
        rejected: u64,
        /// The time they came in.
        over: Duration,
        /// When the circuit will probe, if it is known.
        retry_after: Option<Duration>,
    },
    /// The circuit is new, or someone asked to have gauges brought up to date.
    #[non_exhaustive]
    Refresh {
        /// What the circuit is now.
        standing: Standing,
        /// Whether `CIRCUIT_BREAKER_DISABLED` names it: then calls go through, whatever it is.
        bypassed: bool,
        /// The local epoch of `standing`.
        era: u64,
        /// The time now.
        at: Tick,
    },
    /// An admitted call ended.
    #[non_exhaustive]
    Finished {
        /// How.
        ended: Ended,
        /// When, if the circuit had reason to look at its clock; always for a failure.
        at: Option<Tick>,
        /// How long it took, if that was measured.
        elapsed: Option<Duration>,
    },
    /// A call was rejected.
    #[non_exhaustive]
    Rejected {
        /// Why.
        reason: RejectReason,
    },
    /// Calls that were not reported one by one, for observers that [accept sums](Observer::accepts_sums).
    ///
    /// A thread reports its sums after 256 calls, and with its first call 1 ms or more after its last report. The rest is
    /// reported with each transition, with each refresh, once a second by the task of a registry with a store, and when the
    /// circuit is dropped.
    #[non_exhaustive]
    Sums {
        /// Calls of the closed circuit that succeeded.
        successes: u64,
        /// Calls that were rejected because the circuit was tripped.
        tripped: u64,
        /// Calls that were rejected because the probes were taken.
        half_open: u64,
    },
    /// An outcome came in after its era had ended, and was dropped.
    Stale,
    /// The circuit has left its registry. Calls under way still end, and may still change it, but nobody is to be shown that.
    Forgotten,
    /// A load-shedding layer has looked at the load of the system: told by the call that did, at most every 250 ms.
    #[non_exhaustive]
    SystemLoad {
        /// The load, where 1.0 is all that the system can do. `None`: nobody knows, and nothing is shed.
        load: Option<f64>,
        /// Whether heavy operations are shed now.
        shedding: bool,
        /// Whether shedding began or ended since this was set last: at most every 10 s, so that it may be a line in a log.
        news: bool,
    },
}

/// How an admitted call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// With a success.
    Success,
    /// With a failure; a panic and a late cancellation are failures too.
    Failure(Failure),
    /// With an outcome that says nothing about the service.
    Ignored,
    /// It was dropped, too early to say anything about the service.
    Cancelled,
}

/// Runs foreign code that must not take down what it is called from: an observer, a waker, a function of the configuration.
/// Returns `None` if it panicked.
pub(crate) fn guarded<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    // AssertUnwindSafe: nothing of ours is borrowed mutably, and what the foreign code broke is its own.
    match catch_unwind(AssertUnwindSafe(foreign)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // Dropping what it threw may panic again, perhaps in a drop, and that would abort after all.
            core::mem::forget(panic);
            None
        }
    }
}
