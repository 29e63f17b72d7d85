//! The names and the handles of the metrics, and the functions that set the gauges. The events that change the metrics
//! are in `metrics.rs`.
//!
//! The functions register a gauge on every use, so that a gauge is never set through the handle of an earlier recorder.
//! The only exception is the gauge of failures. Its handle is kept for each recorder, because every failed call sets
//! this gauge.

use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::event::Ended;
use crate::outcome::FailureKind;
use crate::state::RejectReason;

use super::last::STANDINGS;
use super::{born, descriptions};

/// The handles of the metrics of one label, registered with one recorder.
#[derive(Debug)]
pub(super) struct Handles {
    /// The address of the recorder with which the handles were registered.
    pub(super) recorder: usize,
    /// True if the label belongs to one circuit, and false if several circuits share the label.
    own: bool,
    pub(super) success: Counter,
    /// The handles that a healthy circuit does not need. They are registered at their first use and then kept.
    others: OnceLock<Box<Others>>,
    /// While this value exists, the help texts are not registered again for the recorder.
    _described: Arc<()>,
}

impl Handles {
    /// Registers the handles of a label. If `own` is true, the label belongs to one circuit and has all gauges. If
    /// `measures` is true, the label also has the histograms of the durations of calls.
    pub(super) fn register(recorder: usize, label: &str, own: bool, measures: bool) -> Self {
        let described = descriptions::register(recorder);
        // The other handles are registered and then dropped unused. The recorder keeps their series, so that all series
        // exist before their first event.
        drop(Others::register(label, own));
        if measures {
            drop(Durations::register(label));
        }
        born::transitions(label);
        let success = born::counter(counter!(CALLS, "service" => label.to_owned(), "outcome" => "success"));
        Self { recorder, own, success, others: OnceLock::new(), _described: described }
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
    /// The counters of failures, one for each kind, in the order of `KINDS`.
    kinds: [Counter; KINDS.len()],
    /// The gauge of the failures in the last minute. `None` for a shared label, because circuits with one label would
    /// overwrite each other's gauge.
    pub(super) failures_1m: Option<Gauge>,
    tripped: Counter,
    half_open: Counter,
    load_shed: Counter,
    ramp: Counter,
    throttled: Counter,
    pub(super) stale: Counter,
    answered: Counter,
    answer_failed: Counter,
    /// The histograms of the durations of calls. They are registered at the first measured call, because many circuits
    /// measure no call. Afterwards they are kept.
    durations: OnceLock<Box<Durations>>,
}

impl Others {
    fn register(circuit: &str, own: bool) -> Self {
        let service: Arc<str> = circuit.into();
        let born = born::counter;
        let calls = |outcome| born(counter!(CALLS, "service" => Arc::clone(&service), "outcome" => outcome));
        let kind = |kind| born(counter!(FAILURES, "service" => Arc::clone(&service), "kind" => kind));
        let rejected = |reason| born(counter!(REJECTED, "service" => Arc::clone(&service), "reason" => reason));
        let fallbacks = |result| born(counter!(FALLBACKS, "service" => Arc::clone(&service), "result" => result));
        Self {
            failure: calls("failure"),
            ignored: calls("ignored"),
            cancelled: calls("cancelled"),
            kinds: KINDS.map(|known| kind(known.as_str())),
            failures_1m: own.then(|| gauge!(FAILURES_1M, "service" => Arc::clone(&service))),
            tripped: rejected(RejectReason::Tripped.as_str()),
            half_open: rejected(RejectReason::HalfOpen.as_str()),
            load_shed: rejected(RejectReason::LoadShed.as_str()),
            ramp: rejected(RejectReason::Ramp.as_str()),
            throttled: rejected(RejectReason::Throttled.as_str()),
            stale: born(counter!(STALE, "service" => Arc::clone(&service))),
            answered: fallbacks("answered"),
            answer_failed: fallbacks("failed"),
            durations: OnceLock::new(),
        }
    }

    /// Returns the counter of a kind in `KINDS`. Returns `None` for a [named](FailureKind::Named) kind.
    pub(super) fn kind(&self, kind: FailureKind) -> Option<&Counter> {
        KINDS.iter().position(|known| *known == kind).map(|known| &self.kinds[known])
    }

    pub(super) fn rejected(&self, reason: RejectReason) -> &Counter {
        match reason {
            RejectReason::Tripped => &self.tripped,
            RejectReason::HalfOpen => &self.half_open,
            RejectReason::LoadShed => &self.load_shed,
            RejectReason::Ramp => &self.ramp,
            RejectReason::Throttled => &self.throttled,
        }
    }

    pub(super) const fn fallbacks(&self, answered: bool) -> &Counter {
        if answered { &self.answered } else { &self.answer_failed }
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

/// Returns the value in `place`. If there is no value, first registers the value. This happens outside of
/// `get_or_init`, so that no other thread waits while the recorder registers.
fn get_or_register<T>(place: &OnceLock<Box<T>>, register: impl FnOnce() -> T) -> &T {
    place.get().unwrap_or_else(|| {
        let registered = Box::new(register());
        place.get_or_init(|| registered)
    })
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

/// Sets the gauges of a shared label, which show numbers of circuits. `standings` has the number of circuits in each
/// standing (state or mode), in the order of `STANDINGS`. `tripped` is the number of tripped circuits.
pub(super) fn show_counts(label: &Arc<str>, standings: [u64; STANDINGS.len()], tripped: u64) {
    // A count wraps below zero if one thread removes a circuit before another thread has added the circuit. Such a
    // count does not fit into 32 bits, and is shown as 0.
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(0));
    gauge!(TRIPPED, "service" => Arc::clone(label)).set(number(tripped));
    for (state, count) in STANDINGS.into_iter().zip(standings) {
        gauge!(STATE, "service" => Arc::clone(label), "state" => state).set(number(count));
    }
}

/// Sets the gauge of the share of the calls that the closed circuit admits.
pub(super) fn show_share(circuit: &str, share: f64) {
    gauge!(ADMITTED, "service" => circuit.to_owned()).set(share);
}

/// Sets the gauge of hanging calls. The gauge shows at most 2^32 - 1 calls.
pub(super) fn show_hanging(circuit: &str, hanging: u64) {
    gauge!(HANGING, "service" => circuit.to_owned()).set(f64::from(u32::try_from(hanging).unwrap_or(u32::MAX)));
}

/// Sets the gauge of the system load. An unknown load is NaN, so that a graph has a gap instead of an old value.
pub(super) fn show_load(circuit: &str, load: f64) {
    gauge!(SYSTEM_LOAD, "service" => circuit.to_owned()).set(load);
}

/// The kinds of failures that have a counter in [`Others`]. The module `rare` counts the failures of
/// [named](FailureKind::Named) kinds.
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

pub(super) const TRIPPED: &str = "circuit_breaker_tripped";
pub(super) const STATE: &str = "circuit_breaker_state";
pub(super) const FAILURES_1M: &str = "circuit_breaker_failures_1m";
pub(super) const CALLS: &str = "circuit_breaker_calls_total";
pub(super) const FAILURES: &str = "circuit_breaker_failures_total";
pub(super) const REJECTED: &str = "circuit_breaker_rejected_total";
pub(super) const TRANSITIONS: &str = "circuit_breaker_transitions_total";
pub(super) const FALLBACKS: &str = "circuit_breaker_fallbacks_total";
pub(super) const STALE: &str = "circuit_breaker_stale_outcomes_total";
pub(super) const ADMITTED: &str = "circuit_breaker_admitted_ratio";
pub(super) const HANGING: &str = "circuit_breaker_calls_hanging";
pub(super) const SYSTEM_LOAD: &str = "circuit_breaker_system_load_ratio";
pub(super) const DURATION: &str = "circuit_breaker_call_duration_seconds";
