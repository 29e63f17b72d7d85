//! The metrics by name: handles for what comes with calls, and functions for what is rare.
//!
//! The rare ones are registered anew each time. That also spares the gauges a recorder taken for another.

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
    /// Its address.
    pub(super) recorder: usize,
    own: bool,
    pub(super) success: Counter,
    /// What a healthy circuit does not need. Kept when it is first needed.
    others: OnceLock<Box<Others>>,
    /// Those of the recorder that was met next.
    pub(super) next: OnceLock<Box<Self>>,
}

impl Handles {
    /// With a label of its own, a circuit has all gauges.
    pub(super) fn register(recorder: usize, circuit: &str, own: bool) -> Self {
        describe();
        // Not kept, only so that all counters begin at zero.
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
    /// In the order of `KINDS`.
    kinds: [Counter; KINDS.len()],
    /// None where the label is shared: each would overwrite the others'.
    pub(super) failures_1m: Option<Gauge>,
    tripped: Counter,
    half_open: Counter,
    load_shed: Counter,
    pub(super) stale: Counter,
    /// Registered by the first call that was measured: there may never be one.
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

    pub(super) fn durations(&self, circuit: &str) -> &Durations {
        get_or_register(&self.durations, || Durations::register(circuit))
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

/// Registers before it takes the place, so that no other thread waits for a recorder.
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

/// Shows numbers of circuits, in the order of `STANDINGS`.
pub(super) fn show_counts(label: &Arc<str>, standings: [u64; STANDINGS.len()], tripped: u64) {
    // Exact to 2^32 circuits. Below zero, where one was taken out before another thread has put it in, it is none.
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(0));
    gauge!(TRIPPED, "service" => Arc::clone(label)).set(number(tripped));
    for (state, count) in STANDINGS.into_iter().zip(standings) {
        gauge!(STATE, "service" => Arc::clone(label), "state" => state).set(number(count));
    }
}

/// An unknown load is no number: a graph then has a gap, not a value of some time ago.
pub(super) fn show_load(circuit: &str, load: Option<f64>) {
    gauge!(SYSTEM_LOAD, "service" => circuit.to_owned()).set(load.unwrap_or(f64::NAN));
}

/// Gives the recorder the help texts. Saying them again for the next circuit changes nothing.
fn describe() {
    describe_gauge!(TRIPPED, "1 from the trip of the circuit until it closes, half-open included.");
    describe_gauge!(STATE, "1 for the state that a caller of the circuit meets, 0 for the others.");
    describe_gauge!(FAILURES_1M, "What the failures of the last minute weighed.");
    describe_counter!(CALLS, "Admitted calls, by how they ended.");
    describe_counter!(FAILURES, "Failed calls, by the kind of failure.");
    describe_counter!(REJECTED, "Calls that were rejected before they happened.");
    describe_counter!(TRANSITIONS, "Changes of the circuit, by what it was, what it became and why.");
    describe_counter!(STALE, "Outcomes that came in after the state they belong to had ended, and were dropped.");
    describe_gauge!(SYSTEM_LOAD, "The load of the system as load shedding saw it last; 1 is all that it can do.");
    describe_histogram!(DURATION, Unit::Seconds, "How long admitted calls took.");
    // What `telemetry::store` and `telemetry::keyed` count: there is a circuit before either does.
    describe_counter!("circuit_breaker_store_operations_total", "Operations of a store, by how they ended.");
    let took = "How long operations of a store took.";
    describe_histogram!("circuit_breaker_store_operation_duration_seconds", Unit::Seconds, took);
    describe_counter!("circuit_breaker_evictions_total", "Keyed circuits that were evicted.");
    describe_counter!(
        "circuit_breaker_unguarded_calls_total",
        "Calls of keys without a circuit, by why they have none."
    );
}

/// The kinds whose number is known; a kind of the user's own is registered each time.
const KINDS: [FailureKind; 6] = [
    FailureKind::Error,
    FailureKind::Timeout,
    FailureKind::Deadline,
    FailureKind::Cancelled,
    FailureKind::Panicked,
    FailureKind::NotReady,
];

const TRIPPED: &str = "circuit_breaker_tripped";
const STATE: &str = "circuit_breaker_state";
const FAILURES_1M: &str = "circuit_breaker_failures_1m";
const CALLS: &str = "circuit_breaker_calls_total";
const FAILURES: &str = "circuit_breaker_failures_total";
const REJECTED: &str = "circuit_breaker_rejected_total";
const TRANSITIONS: &str = "circuit_breaker_transitions_total";
const STALE: &str = "circuit_breaker_stale_outcomes_total";
const SYSTEM_LOAD: &str = "circuit_breaker_system_load_ratio";
const DURATION: &str = "circuit_breaker_call_duration_seconds";
