//! The JSON of circuits and transitions in the answers and events of the admin interface.
//!
//! These types are separate from the types of the circuit, so that a renamed field of the circuit changes no name in
//! the JSON. The names of times and durations end in `_ms` for milliseconds.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::circuit::{Circuit, Status};
use crate::outcome::FailureKind;
use crate::record::Timestamp;
use crate::state::{FleetBrief, HealthStatus, Reason, Snapshot, State, Suppressed, Transition};
use crate::window::Tally;

/// The JSON of one circuit, for lists, answers and events.
#[derive(Debug, Serialize)]
pub(super) struct CircuitJson {
    name: String,
    /// The mode if the mode overrides the state (forced open, disabled), otherwise the state.
    standing: String,
    state: &'static str,
    mode: &'static str,
    bypassed: bool,
    tripped: bool,
    since_ms: u64,
    retry_after_ms: Option<u64>,
    /// The result that the next call would have: `admitted`, `probe` or `rejected`.
    next_call: &'static str,
    /// The time until the end of a ramp, when the circuit admits all calls again. `null` without a ramp.
    ramp_left_ms: Option<u64>,
    /// The share of the calls that the closed circuit admits, from 0 to 1, with the effect of the ramp and of the
    /// throttle. The share is 1 for a circuit that is not closed, is held or is bypassed.
    admitted_share: f64,
    /// The share of the calls that the throttle of the closed circuit rejects, from 0 to 1, without the effect of the
    /// ramp. The share is 0 for a circuit that is not closed, is held or is bypassed.
    throttled_share: f64,
    /// The time until the hold of an operator ends. `null` without a hold, and for a hold without an end.
    held_for_ms: Option<u64>,
    tripped_for_ms: Option<u64>,
    reset_in_ms: Option<u64>,
    attempt: u32,
    era: u64,
    generation: u64,
    latest: u64,
    #[serde(flatten)]
    evidence: Evidence,
    run: f64,
    failure_rate: Option<f64>,
    slow_call_rate: Option<f64>,
    /// The number of calls that have been under way for `slower_than_ms` or longer.
    hanging: u64,
    limits: Limits,
    probes: Probes,
    /// The decision of the fleet about the circuit. `null` for a circuit without a fleet.
    fleet: Option<FleetBrief>,
    /// The last opening that the group of the circuit has suppressed. `null` if the group suppressed no opening in the
    /// last minute, or if the circuit has made a transition since the suppressed opening.
    suppressed: Option<Suppressed>,
    /// The status of the health probes. `null` for a circuit that has never had health probes.
    health: Option<HealthStatus>,
    totals: Totals,
    /// The reason for which the circuit opened, perhaps before a restart or on another instance. `null` for a closed
    /// circuit.
    opened_because: Option<String>,
    opened_for_ms: Option<u64>,
    last: Option<Edge>,
}

#[derive(Debug, Serialize)]
struct Evidence {
    calls: u64,
    score: f64,
    slow: u64,
}

impl From<&Tally> for Evidence {
    fn from(tally: &Tally) -> Self {
        Self { calls: tally.calls(), score: tally.score(), slow: tally.slow() }
    }
}

/// The limit of each trip rule. `null` for a rule that is not set.
#[derive(Debug, Serialize)]
struct Limits {
    failure_rate: Option<f64>,
    min_calls: u32,
    consecutive_failures: Option<u32>,
    failure_score: Option<f64>,
    slow_call_rate: Option<f64>,
    slower_than_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Probes {
    in_flight: usize,
    successes: u32,
    failures: u32,
    needed: u32,
}

#[derive(Debug, Serialize)]
struct Totals {
    successes: u64,
    failures: u64,
    ignored: u64,
    cancelled: u64,
    stale: u64,
    rejected: u64,
    would_reject: u64,
    load_shed: u64,
    throttled: u64,
    suppressed: u64,
}

impl CircuitJson {
    /// Copies the present state of a circuit. The lock of the circuit is free again before the JSON is written.
    pub(super) fn of(circuit: &Circuit) -> Self {
        Self::new(circuit, circuit.status_with(1))
    }

    fn new(circuit: &Circuit, status: Status) -> Self {
        let config = circuit.config();
        let rules = &config.rules;
        let is_closed = status.state == State::Closed && !status.mode.is_hold();
        let past = if is_closed { Snapshot::closed() } else { circuit.snapshot() };
        Self {
            standing: status.standing().to_string(),
            state: status.state.as_str(),
            mode: status.mode.as_str(),
            bypassed: status.bypassed,
            tripped: status.standing().is_tripped(),
            since_ms: millis(status.since),
            retry_after_ms: status.retry_after.map(millis),
            next_call: status.next_call.as_str(),
            ramp_left_ms: status.ramp_left.map(millis),
            admitted_share: status.admitted_share,
            throttled_share: status.throttled_share,
            held_for_ms: status.held_for.map(millis),
            tripped_for_ms: status.tripped_for.map(millis),
            reset_in_ms: status.reset_in.map(millis),
            attempt: status.attempt,
            era: status.era,
            generation: status.generation.get(),
            latest: status.latest.get(),
            evidence: (&status.tally).into(),
            run: status.run,
            failure_rate: status.failure_rate,
            slow_call_rate: status.slow_call_rate,
            hanging: status.hanging,
            limits: Limits {
                failure_rate: rules.failure_rate,
                min_calls: rules.min_calls,
                consecutive_failures: rules.consecutive_failures,
                failure_score: rules.failure_score,
                slow_call_rate: rules.slow_call_rate.map(|(rate, _)| rate),
                slower_than_ms: rules.slow_call_rate.map(|(_, slower_than)| millis(slower_than)),
            },
            probes: Probes {
                in_flight: status.probes.in_flight,
                successes: status.probes.successes,
                failures: status.probes.failures,
                needed: config.probes.successes,
            },
            fleet: status.fleet,
            suppressed: status.suppressed,
            health: status.health,
            totals: Totals {
                successes: status.totals.successes,
                failures: status.totals.failures,
                ignored: status.totals.ignored,
                cancelled: status.totals.cancelled,
                stale: status.totals.stale,
                rejected: status.totals.rejected,
                would_reject: status.totals.would_reject,
                load_shed: status.totals.load_shed,
                throttled: status.totals.throttled,
                suppressed: status.totals.suppressed,
            },
            opened_because: past.earlier.map(|earlier| earlier.reason().to_owned()),
            opened_for_ms: past.earlier_for.map(millis),
            last: status.transitions.last().map(Edge::from),
            name: status.name,
        }
    }
}

/// The JSON of a transition, with the numbers that decided the transition.
#[derive(Debug, Serialize)]
pub(super) struct Edge {
    from: String,
    to: String,
    at_ms: u64,
    /// The reason as one word, which is also the value of the label in the metrics.
    reason: &'static str,
    /// The reason in words for people, with the last failure.
    because: String,
    numbers: Value,
    user: Option<String>,
    era: u64,
    generation: u64,
    lasts_ms: Option<u64>,
    attempt: u32,
    #[serde(flatten)]
    evidence: Evidence,
    failure: Option<&'static str>,
    failure_text: Option<String>,
    rejected: u64,
    bypassed: bool,
    order: Option<String>,
}

impl From<&Transition> for Edge {
    fn from(edge: &Transition) -> Self {
        let user = if let Reason::Operator { by, .. } = &edge.reason { Some(by.user().to_owned()) } else { None };
        Self {
            from: edge.from.to_string(),
            to: edge.to.to_string(),
            at_ms: Timestamp::from(edge.wall).as_millis(),
            reason: edge.reason.as_str(),
            because: edge.because().to_string(),
            numbers: numbers(&edge.reason),
            user,
            era: edge.era,
            generation: edge.generation.get(),
            lasts_ms: edge.lasts.map(millis),
            attempt: edge.attempt,
            evidence: (&edge.tally).into(),
            failure: edge.failure.as_ref().map(FailureKind::as_str),
            failure_text: edge.failure_text.as_deref().map(ToOwned::to_owned),
            rejected: edge.rejected,
            bypassed: edge.bypassed,
            order: edge.order.as_deref().map(ToOwned::to_owned),
        }
    }
}

/// Returns the numbers that decided a transition, under the names of the fields of [`Reason`].
fn numbers(reason: &Reason) -> Value {
    match reason {
        Reason::ConsecutiveFailures { score, limit, set } if limit.total_cmp(set).is_eq() => {
            json!({ "score": score, "limit": limit })
        }
        Reason::ConsecutiveFailures { score, limit, set } => json!({ "score": score, "limit": limit, "set": set }),
        Reason::FailureRate { rate, limit, score, calls } => {
            json!({ "rate": rate, "limit": limit, "score": score, "calls": calls })
        }
        Reason::FailureScore { score, limit, calls } => json!({ "score": score, "limit": limit, "calls": calls }),
        Reason::SlowCallRate { rate, limit, slow, calls, slower_than, hanging } => json!({
            "rate": rate, "limit": limit, "slow": slow, "calls": calls, "slower_than_ms": millis(*slower_than),
            "hanging": hanging,
        }),
        Reason::Unproven { score } => json!({ "score": score }),
        Reason::ProbeFailed { failures, tolerated, successes } => {
            json!({ "failures": failures, "tolerated": tolerated, "successes": successes })
        }
        Reason::NoSuccess { half_open_for } | Reason::NoVerdict { half_open_for } => {
            json!({ "half_open_for_ms": millis(*half_open_for) })
        }
        Reason::ProbesPassed { successes, half_open_for } | Reason::QuietService { successes, half_open_for } => {
            json!({ "successes": successes, "half_open_for_ms": millis(*half_open_for) })
        }
        Reason::WaitElapsed { waited } | Reason::HealthProbe { waited } => json!({ "waited_ms": millis(*waited) }),
        Reason::HoldEnded { held } => json!({ "held_ms": millis(*held) }),
        Reason::Operator { act, by } => json!({ "act": act.as_str(), "user": by.user(), "reason": by.reason() }),
        Reason::Advised { rule } | Reason::Relapsed { rule } => numbers(rule),
        Reason::AtOnce | Reason::Restored | Reason::Followed | Reason::Fleet | Reason::KillSwitch => json!({}),
    }
}

pub(super) fn json_response(status: StatusCode, kind: &'static str, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Converts a duration to milliseconds. The result is rounded up. Therefore a client that waits for the result never
/// retries too early.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
