//! The help texts of all metrics (`# HELP`), which are registered once for each recorder.
//!
//! A recorder may keep each registered text until its first scrape. If each new circuit registered the texts, the
//! memory of the recorder could grow without a limit.

use std::sync::{Arc, LazyLock, Weak};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use super::fleet::{FLEET_DECLINED, FLEET_PROBES, FLEET_STATE, FLEET_VOTES, FLEET_VOTES_NEEDED};
use super::group::{GROUP_OPEN, SUPPRESSED};
use super::handles::{
    ADMITTED, CALLS, DURATION, FAILURES, FAILURES_1M, FALLBACKS, HANGING, REJECTED, STALE, STATE, SYSTEM_LOAD,
    TRANSITIONS, TRIPPED,
};
use super::health::HEALTH_PROBES;
use crate::sync::Mutex;

/// Registers the help texts with the recorder of this thread, whose address is `recorder`, and returns a token. While a
/// token of this recorder exists, further calls return the same token and register nothing.
///
/// When the last copy of the token is dropped, the recorder is forgotten, so that a later recorder at the same address
/// gets its help texts.
pub(super) fn register(recorder: usize) -> Arc<()> {
    static RECORDERS: LazyLock<Mutex<Recorders>> = LazyLock::new(Mutex::default);
    let mut recorders = RECORDERS.lock();
    let known = recorders.iter().find(|(known, _)| *known == recorder).and_then(|(_, described)| described.upgrade());
    if let Some(described) = known {
        return described;
    }
    let described = Arc::new(());
    recorders.retain(|(_, described)| described.strong_count() > 0);
    recorders.push((recorder, Arc::downgrade(&described)));
    // The lock is released first, because `describe` calls the recorder, which is foreign code.
    drop(recorders);
    describe();
    described
}

fn describe() {
    describe_gauge!(TRIPPED, "1 from the trip of the circuit until it closes, half-open included.");
    describe_gauge!(STATE, "1 for the effective state of the circuit, 0 for the others.");
    describe_gauge!(FAILURES_1M, "Total weight of the failures in the last minute.");
    describe_counter!(CALLS, "Admitted calls, by outcome.");
    describe_counter!(FAILURES, "Failed calls, by the kind of failure.");
    describe_counter!(REJECTED, "Calls that were rejected before they happened.");
    describe_counter!(FALLBACKS, "Answers of a fallback to rejected calls, by their result.");
    describe_counter!(TRANSITIONS, "Transitions of the circuit, by old state, new state and reason.");
    describe_counter!(STALE, "Outcomes that arrived after their era had ended, and count for the totals only.");
    describe_gauge!(ADMITTED, "Share of the calls that the closed circuit admits, by its ramp and its throttle.");
    describe_gauge!(HANGING, "Calls that have been under way for `slower_than` of the slow-call rule, or longer.");
    describe_gauge!(SYSTEM_LOAD, "The last load of the system that load shedding polled; 1 is the capacity.");
    describe_histogram!(DURATION, Unit::Seconds, "Duration of admitted calls.");
    describe_gauge!(FLEET_STATE, "1 for the state that the fleet has decided, 0 for the others.");
    describe_gauge!(FLEET_VOTES, "Votes for an opening of the fleet, or the votes that opened the fleet.");
    describe_gauge!(FLEET_VOTES_NEEDED, "Votes that open the fleet.");
    describe_counter!(HEALTH_PROBES, "Health probes, which are no calls, by result.");
    describe_counter!(FLEET_PROBES, "Probes of this instance while the fleet was not closed, by result.");
    describe_counter!(
        FLEET_DECLINED,
        "Openings of the fleet that this instance declined, because its calls succeeded or its group had no open slot."
    );
    describe_counter!(SUPPRESSED, "Openings that the group of the circuit has suppressed.");
    describe_gauge!(GROUP_OPEN, "Share of the circuits of a group that have left closed by themselves.");
    // The metrics of `telemetry::store` and `telemetry::keyed` are described here too. Every application with a store
    // or with keyed circuits has circuits, and the first metric of a circuit registers these texts.
    describe_counter!("circuit_breaker_store_operations_total", "Operations of a store, by result.");
    let took = "Duration of a store's operations.";
    describe_histogram!("circuit_breaker_store_operation_duration_seconds", Unit::Seconds, took);
    describe_gauge!("circuit_breaker_instances", "Live instances of the fleet; NaN if unknown.");
    describe_counter!("circuit_breaker_evictions_total", "Keyed circuits that were evicted.");
    describe_counter!("circuit_breaker_unguarded_calls_total", "Calls of keys without a circuit, by reason.");
}

/// The addresses of recorders, each with the token that `register` has returned.
type Recorders = Vec<(usize, Weak<()>)>;
