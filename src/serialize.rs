//! The implementations of serde's `Serialize` for status, transitions and totals, with which an endpoint of an
//! application can return these values as JSON.
//!
//! Users rely on the names of the fields, so these names must not change when a name in the source changes. Therefore
//! the implementations are written by hand and not derived. A field that also occurs in the JSON of the admin page has
//! the same name there. A duration is written in whole milliseconds, rounded up. A state or a reason is written as the
//! same word as in the metrics. The types implement no `Deserialize`, because a circuit is never created from a status.

use std::time::Duration;
use std::time::UNIX_EPOCH;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::circuit::{NextCall, ProbeStatus, Status, Totals};
use crate::outcome::FailureKind;
use crate::state::{FleetBrief, Generation, HealthResult, HealthStatus, Mode, Standing, State, Suppressed, Transition};
use crate::window::Tally;

/// Implements `Serialize` for each type as one word or one number.
macro_rules! plain {
    ($($type:ty: $as:expr;)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let plain: fn(&Self) -> _ = $as;
                plain(self).serialize(to)
            }
        }
    )*};
}

plain! {
    State: |state| state.as_str();
    Mode: |mode| mode.as_str();
    Standing: |standing| standing.as_str();
    FailureKind: |kind| kind.as_str();
    NextCall: |next_call| next_call.as_str();
    HealthResult: |result| result.as_str();
    Generation: |generation| generation.get();
}

/// Implements `Serialize` for each type as an object with the listed fields.
macro_rules! objects {
    ($($type:ident: $value:ident { $($field:ident: $as:expr,)* })*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                let fields = [$(stringify!($field)),*].len();
                let mut object = to.serialize_struct(stringify!($type), fields)?;
                $(object.serialize_field(stringify!($field), &$as)?;)*
                object.end()
            }
        }
    )*};
}

objects! {
    Tally: tally {
        calls: tally.calls(),
        score: tally.score(),
        slow: tally.slow(),
    }
    Totals: totals {
        successes: totals.successes,
        failures: totals.failures,
        ignored: totals.ignored,
        cancelled: totals.cancelled,
        stale: totals.stale,
        rejected: totals.rejected,
        would_reject: totals.would_reject,
        load_shed: totals.load_shed,
        throttled: totals.throttled,
        suppressed: totals.suppressed,
        observer_panics: totals.observer_panics,
    }
    ProbeStatus: probes {
        in_flight: probes.in_flight,
        successes: probes.successes,
        failures: probes.failures,
    }
    FleetBrief: fleet {
        state: fleet.state,
        votes: fleet.votes,
        needed: fleet.needed,
        live: fleet.live,
        leases: fleet.leases,
        passed: fleet.passed,
    }
    Suppressed: suppressed {
        group: &*suppressed.group,
        open: suppressed.open,
        members: suppressed.members,
        openings: suppressed.openings,
        ago_ms: millis(suppressed.ago),
        reason: suppressed.reason.as_str(),
        because: suppressed.reason.to_string(),
    }
    HealthStatus: health {
        running: health.running,
        required: health.required,
        holds_back: health.holds_back,
        last: health.last,
        last_for_ms: health.last_for.map(millis),
        last_text: health.last_text.as_deref(),
        passed: health.passed,
        failed: health.failed,
    }
    Transition: edge {
        from: edge.from,
        to: edge.to,
        at_ms: edge.wall.duration_since(UNIX_EPOCH).map_or(0, millis),
        reason: edge.reason.as_str(),
        because: edge.because().to_string(),
        era: edge.era,
        generation: edge.generation,
        lasts_ms: edge.lasts.map(millis),
        attempt: edge.attempt,
        tally: edge.tally,
        failure: edge.failure,
        failure_text: edge.failure_text.as_deref(),
        rejected: edge.rejected,
        bypassed: edge.bypassed,
        order: edge.order.as_deref(),
    }
    Status: status {
        name: status.name,
        standing: status.standing(),
        state: status.state,
        mode: status.mode,
        bypassed: status.bypassed,
        era: status.era,
        generation: status.generation,
        latest: status.latest,
        since_ms: millis(status.since),
        tripped_for_ms: status.tripped_for.map(millis),
        held_for_ms: status.held_for.map(millis),
        reset_in_ms: status.reset_in.map(millis),
        retry_after_ms: status.retry_after.map(millis),
        next_call: status.next_call,
        ramp_left_ms: status.ramp_left.map(millis),
        admitted_share: status.admitted_share,
        throttled_share: status.throttled_share,
        attempt: status.attempt,
        tally: status.tally,
        run: status.run,
        failure_rate: status.failure_rate,
        slow_call_rate: status.slow_call_rate,
        hanging: status.hanging,
        probes: status.probes,
        fleet: status.fleet,
        suppressed: status.suppressed,
        health: status.health,
        totals: status.totals,
        transitions: status.transitions,
    }
}

/// Returns the duration in milliseconds, rounded up, so that a client that waits for this time does not retry too
/// early.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
