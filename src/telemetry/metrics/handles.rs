//! The metrics by name. Metrics of calls have handles, and rare metrics have functions.
//!
//! Rare metrics are registered on every use, so that a gauge is never set through the handle of an earlier recorder.

use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::event::Ended;
use crate::outcome::FailureKind;
use crate::state::{RejectReason, Transition};

use super::STANDINGS;

/// The handles of one recorder.
#[derive(Debug)]
pub(super) struct Handles {
    /// The address of the recorder.
    pub(super) recorder: usize,
    /// True if the circuit has its own label, and false if it shares the label with others.
    own: bool,
    pub(super) success: Counter,
    /// The handles that a healthy circuit does not need. They are registered at their first use and kept from then on.
    others: OnceLock<Box<Others>>,
    /// The handles of the next recorder in the chain.
    pub(super) next: OnceLock<Box<Self>>,
}

impl Handles {
    /// Registers the handles of a circuit. If `own` is true, the circuit has its own label and all gauges.
    pub(super) fn register(recorder: usize, circuit: &str, own: bool) -> Self {
        describe();
        // The other handles are registered and dropped at once, so that all counters begin at zero.
        drop(Others::register(circuit, own));
        let success = counter!(CALLS, "service" => circuit.to_owned(), "outcome" => "success");
        Self { recorder, own, success, others: OnceLock::new(), next: OnceLock::new() }
    }

    pub(super) fn others(&self, circuit: &str) -> &Others {
        get_or_register(&self.others, || Others::register(circuit, self.own))
    }
}

#[derive(Debug)]
pub(super) struct Others {
    pub(super) failure: Counter,
    pub(super) ignored: Counter,
    pub(super) cancelled: Counter,
    /// The counters of the kinds in `KINDS`, in their order.
    kinds: [Counter; KINDS.len()],
    /// `None` if the circuit shares its label, because circuits with one label would overwrite each other's gauge.
    pub(super) failures_1m: Option<Gauge>,
    tripped: Counter,
    half_open: Counter,
    load_shed: Counter,
    pub(super) stale: Counter,
    /// Registered by the first fallback, because most circuits have none.
    fallbacks: OnceLock<Box<Fallbacks>>,
    /// Registered by the first measured call, because many circuits measure none.
    durations: OnceLock<Box<Durations>>,
}

impl Others {
    fn register(circuit: &str, own: bool) -> Self {
        let service: Arc<str> = circuit.into();
        let calls = |outcome| counter!(CALLS, "service" => Arc::clone(&service), "outcome" => outcome);
        let kind = |kind| counter!(FAILURES, "service" => Arc::clone(&service), "kind" => kind);
        let rejected = |reason| counter!(REJECTED, "service" => Arc::clone(&service), "reason" => reason);
        Self {
            failure: calls("failure"),
            ignored: calls("ignored"),
            cancelled: calls("cancelled"),
            kinds: KINDS.map(|known| kind(known.as_str())),
            failures_1m: own.then(|| gauge!(FAILURES_1M, "service" => Arc::clone(&service))),
            tripped: rejected(RejectReason::Tripped.as_str()),
            half_open: rejected(RejectReason::HalfOpen.as_str()),
            load_shed: rejected(RejectReason::LoadShed.as_str()),
            stale: counter!(STALE, "service" => Arc::clone(&service)),
            fallbacks: OnceLock::new(),
            durations: OnceLock::new(),
        }
    }

    pub(super) fn count_kind(&self, circuit: &str, kind: FailureKind) {
        match KINDS.iter().position(|known| *known == kind) {
            Some(known) => self.kinds[known].increment(1),
            None => counter!(FAILURES, "service" => circuit.to_owned(), "kind" => kind.as_str()).increment(1),
        }
    }

    pub(super) fn rejected(&self, reason: RejectReason) -> &Counter {
        match reason {
            RejectReason::Tripped => &self.tripped,
            RejectReason::HalfOpen => &self.half_open,
            RejectReason::LoadShed => &self.load_shed,
        }
    }

    pub(super) fn fallbacks(&self, circuit: &str) -> &Fallbacks {
        get_or_register(&self.fallbacks, || Fallbacks::register(circuit))
    }

    pub(super) fn durations(&self, circuit: &str) -> &Durations {
        get_or_register(&self.durations, || Durations::register(circuit))
    }
}

#[derive(Debug)]
pub(super) struct Fallbacks {
    answered: Counter,
    failed: Counter,
}

impl Fallbacks {
    fn register(circuit: &str) -> Self {
        let fallbacks = |result| counter!(FALLBACKS, "service" => circuit.to_owned(), "result" => result);
        Self { answered: fallbacks("answered"), failed: fallbacks("failed") }
    }

    pub(super) const fn of(&self, answered: bool) -> &Counter {
        if answered { &self.answered } else { &self.failed }
    }
}

#[derive(Debug)]
pub(super) struct Durations {
    success: Histogram,
    failure: Histogram,
    ignored: Histogram,
    cancelled: Histogram,
}

impl Durations {
    fn register(circuit: &str) -> Self {
        let calls = |outcome| histogram!(DURATION, "service" => circuit.to_owned(), "outcome" => outcome);
        Self {
            success: calls("success"),
            failure: calls("failure"),
            ignored: calls("ignored"),
            cancelled: calls("cancelled"),
        }
    }

    pub(super) fn of(&self, ended: Ended) -> &Histogram {
        match ended {
            Ended::Success => &self.success,
            Ended::Failure(_) => &self.failure,
            Ended::Ignored => &self.ignored,
            Ended::Cancelled => &self.cancelled,
        }
    }
}

/// Returns the value of `place`, and registers a missing value first. The value is registered outside of `get_or_init`,
/// so that no other thread waits while the recorder registers.
fn get_or_register<T>(place: &OnceLock<Box<T>>, register: impl FnOnce() -> T) -> &T {
    place.get().unwrap_or_else(|| {
        let registered = Box::new(register());
        place.get_or_init(|| registered)
    })
}

pub(super) fn count_transition(circuit: &str, edge: &Transition) {
    let (from, to, reason) = (edge.from.as_str(), edge.to.as_str(), edge.reason.as_str());
    let service = circuit.to_owned();
    counter!(TRANSITIONS, "service" => service, "from" => from, "to" => to, "reason" => reason).increment(1);
}

pub(super) fn show_standing(circuit: &str, standing: &str, tripped: bool) {
    let service: Arc<str> = circuit.into();
    gauge!(TRIPPED, "service" => Arc::clone(&service)).set(f64::from(tripped));
    for state in STANDINGS {
        let is = state == standing;
        gauge!(STATE, "service" => Arc::clone(&service), "state" => state).set(f64::from(is));
    }
}

pub(super) fn show_failures(circuit: &str, score: f64) {
    gauge!(FAILURES_1M, "service" => circuit.to_owned()).set(score);
}

/// Sets the gauges of a shared label to numbers of circuits, in the order of `STANDINGS`.
pub(super) fn show_counts(label: &Arc<str>, standings: [u64; STANDINGS.len()], tripped: u64) {
    // A number is exact up to 2^32 circuits. A count wraps below zero, and is shown as 0, if one thread has removed a
    // circuit that another thread has not added yet.
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(0));
    gauge!(TRIPPED, "service" => Arc::clone(label)).set(number(tripped));
    for (state, count) in STANDINGS.into_iter().zip(standings) {
        gauge!(STATE, "service" => Arc::clone(label), "state" => state).set(number(count));
    }
}

/// Sets the gauge of the load. An unknown load is NaN, so that a graph has a gap instead of an old value.
pub(super) fn show_load(circuit: &str, load: Option<f64>) {
    gauge!(SYSTEM_LOAD, "service" => circuit.to_owned()).set(load.unwrap_or(f64::NAN));
}

/// Registers the help texts. A repetition for the next circuit changes nothing.
fn describe() {
    describe_gauge!(TRIPPED, "1 from the trip of the circuit until it closes, half-open included.");
    describe_gauge!(STATE, "1 for the effective state of the circuit, 0 for the others.");
    describe_gauge!(FAILURES_1M, "Total weight of the failures in the last minute.");
    describe_counter!(CALLS, "Admitted calls, by outcome.");
    describe_counter!(FAILURES, "Failed calls, by the kind of failure.");
    describe_counter!(REJECTED, "Calls that were rejected before they happened.");
    describe_counter!(FALLBACKS, "Answers of a fallback to rejected calls, by their result.");
    describe_counter!(TRANSITIONS, "Transitions of the circuit, by old state, new state and reason.");
    describe_counter!(STALE, "Outcomes that arrived after their era had ended, and were dropped.");
    describe_gauge!(SYSTEM_LOAD, "The last load of the system that load shedding polled; 1 is the capacity.");
    describe_histogram!(DURATION, Unit::Seconds, "Duration of admitted calls.");
    // The metrics of `telemetry::store` and `telemetry::keyed` are described here too. Both modules are used only after
    // a circuit was created, and each new circuit calls this function.
    describe_counter!("circuit_breaker_store_operations_total", "Operations of a store, by result.");
    let took = "Duration of a store's operations.";
    describe_histogram!("circuit_breaker_store_operation_duration_seconds", Unit::Seconds, took);
    describe_counter!("circuit_breaker_evictions_total", "Keyed circuits that were evicted.");
    describe_counter!("circuit_breaker_unguarded_calls_total", "Calls of keys without a circuit, by reason.");
}

/// The kinds that have a handle. A kind that the user defines is registered on each use.
const KINDS: [FailureKind; 12] = [
    FailureKind::Error,
    FailureKind::Connect,
    FailureKind::Dns,
    FailureKind::Tls,
    FailureKind::Reset,
    FailureKind::Body,
    FailureKind::Timeout,
    FailureKind::Deadline,
    FailureKind::Cancelled,
    FailureKind::Panicked,
    FailureKind::NotReady,
    FailureKind::Slow,
];

const TRIPPED: &str = "circuit_breaker_tripped";
const STATE: &str = "circuit_breaker_state";
const FAILURES_1M: &str = "circuit_breaker_failures_1m";
const CALLS: &str = "circuit_breaker_calls_total";
const FAILURES: &str = "circuit_breaker_failures_total";
const REJECTED: &str = "circuit_breaker_rejected_total";
const TRANSITIONS: &str = "circuit_breaker_transitions_total";
const FALLBACKS: &str = "circuit_breaker_fallbacks_total";
const STALE: &str = "circuit_breaker_stale_outcomes_total";
const SYSTEM_LOAD: &str = "circuit_breaker_system_load_ratio";
const DURATION: &str = "circuit_breaker_call_duration_seconds";
