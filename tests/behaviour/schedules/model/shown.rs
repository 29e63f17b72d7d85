//! What is compared: everything that a circuit shows of itself, in one form for circuit and model.

use std::time::Duration;

use tower_circuit_breaker::circuit::{ProbeStatus, Totals};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Generation, Mode, Reason, RejectReason, State, Transition};
use tower_circuit_breaker::window::Tally;
use tower_circuit_breaker::{Rejected, Status};

use super::evidence::{NANOS_PER_MILLI, Sums, rates, run, score, tally};
use super::{Model, Refusal};
use crate::rig::millis;

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Shown {
    state: State,
    mode: Mode,
    era: u64,
    generation: Generation,
    since: Duration,
    retry_after: Option<Duration>,
    ramp_left: Option<Duration>,
    /// In billionths.
    throttled_share: f64,
    attempt: u32,
    tally: ShownTally,
    run: f64,
    failure_rate: Option<f64>,
    slow_call_rate: Option<f64>,
    hanging: u64,
    probes: ProbeStatus,
    /// The time since the last suppressed opening, the taken slots and the members.
    suppressed: Option<(Duration, u32, u32)>,
    totals: Totals,
    transitions: usize,
    /// An operation makes fewer, and what is past does not change.
    last_transitions: Vec<Edge>,
}

impl Shown {
    /// Returns the lines in which they differ.
    pub(in super::super) fn difference(&self, model: &Self) -> String {
        let pairs = self.lines().into_iter().zip(model.lines()).filter(|(circuit, model)| circuit != model);
        pairs.map(|(circuit, model)| format!("\n  circuit {circuit}\n  model   {model}")).collect()
    }

    fn lines(&self) -> Vec<String> {
        let Self { state, mode, era, generation, since, retry_after, ramp_left, attempt, tally, run, .. } = self;
        let Self {
            failure_rate,
            slow_call_rate,
            hanging,
            throttled_share,
            probes,
            suppressed,
            totals,
            transitions,
            last_transitions,
            ..
        } = self;
        let mut lines = vec![
            format!(
                "{state} {mode} era {era} generation {generation} since {since:?} {retry_after:?} ramp {ramp_left:?} attempt {attempt}"
            ),
            format!(
                "{tally:?} run {run} failure_rate {failure_rate:?} slow_call_rate {slow_call_rate:?} hanging {hanging}"
            ),
            format!("{probes:?} throttled {throttled_share}"),
            format!("suppressed {suppressed:?}"),
            format!("{totals:?}"),
            format!("{transitions} transitions"),
        ];
        lines.extend(last_transitions.iter().map(|edge| format!("{edge:?}")));
        lines
    }
}

/// One transition.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Edge {
    pub(super) from: (State, Mode),
    pub(super) to: (State, Mode),
    pub(super) reason: Reason,
    pub(super) era: u64,
    pub(super) generation: Generation,
    /// In milliseconds.
    pub(super) at: u64,
    pub(super) lasts: Option<Duration>,
    pub(super) attempt: u32,
    pub(super) tally: ShownTally,
    pub(super) failure: Option<FailureKind>,
    pub(super) rejected: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct ShownTally {
    calls: u64,
    score: f64,
    slow: u64,
}

/// What a rejected caller is told.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct ShownRefusal {
    reason: RejectReason,
    /// What its sentence says that the circuit is.
    says: Option<String>,
    retry_after: Option<Duration>,
    why: Option<Edge>,
}

impl From<Status> for Shown {
    fn from(status: Status) -> Self {
        Self {
            state: status.state,
            mode: status.mode,
            era: status.era,
            generation: status.generation,
            since: status.since,
            retry_after: status.retry_after,
            ramp_left: status.ramp_left,
            throttled_share: (status.throttled_share * 1e9).round(),
            attempt: status.attempt,
            tally: status.tally.into(),
            run: status.run,
            failure_rate: status.failure_rate,
            slow_call_rate: status.slow_call_rate,
            hanging: status.hanging,
            probes: status.probes,
            suppressed: status.suppressed.map(|suppressed| (suppressed.ago, suppressed.open, suppressed.members)),
            totals: status.totals,
            transitions: status.transitions.len(),
            last_transitions: status.transitions.into_iter().rev().take(LAST).map(Edge::from).collect(),
        }
    }
}

impl From<&Model> for Shown {
    fn from(model: &Model) -> Self {
        let era = model.era();
        let sums = tally(&model.settings, &model.seen, era.number, model.now);
        let (failure_rate, slow_call_rate) = rates(&model.settings, sums, model.hanging_lately());
        let (successes, failures) = model.verdict();
        let mut probes = ProbeStatus::default();
        (probes.in_flight, probes.successes, probes.failures) = (model.in_flight().count(), successes, failures);
        Self {
            state: era.state,
            mode: era.mode,
            era: era.number,
            generation: model.generation,
            since: millis(model.now - era.began),
            retry_after: model.retry_after(),
            ramp_left: model.ramp_left(),
            throttled_share: (model.throttled_share() * 1e9).round(),
            attempt: model.attempt,
            tally: sums.into(),
            run: score(run(&model.seen, era.number) + model.doubts()),
            failure_rate,
            slow_call_rate,
            hanging: model.hanging(),
            probes,
            suppressed: model.suppressed(),
            totals: model.totals,
            transitions: model.edges.len().min(REMEMBERED),
            last_transitions: model.edges.iter().rev().take(LAST).cloned().collect(),
        }
    }
}

impl From<Transition> for Edge {
    fn from(edge: Transition) -> Self {
        Self {
            from: (edge.from.state, edge.from.mode),
            to: (edge.to.state, edge.to.mode),
            reason: edge.reason,
            era: edge.era,
            generation: edge.generation,
            at: edge.at.as_nanos() / NANOS_PER_MILLI,
            lasts: edge.lasts,
            attempt: edge.attempt,
            tally: edge.tally.into(),
            failure: edge.failure,
            rejected: edge.rejected,
        }
    }
}

impl From<Tally> for ShownTally {
    fn from(tally: Tally) -> Self {
        Self { calls: tally.calls(), score: tally.score(), slow: tally.slow() }
    }
}

impl From<Sums> for ShownTally {
    fn from(sums: Sums) -> Self {
        Self { calls: sums.calls, score: score(sums.units), slow: sums.slow }
    }
}

impl From<&Rejected> for ShownRefusal {
    fn from(rejected: &Rejected) -> Self {
        let sentence = rejected.to_string();
        let is = sentence.strip_prefix("circuit `random` is ").and_then(|is| is.split([' ', ':']).next());
        Self {
            reason: rejected.reason(),
            says: is.map(str::to_owned),
            retry_after: rejected.retry_after(),
            why: rejected.why().map(Edge::from),
        }
    }
}

impl From<Refusal> for ShownRefusal {
    fn from(Refusal { reason, retry_after, why }: Refusal) -> Self {
        let says = match reason {
            RejectReason::HalfOpen => Some("half-open"),
            RejectReason::Ramp | RejectReason::Throttled => None,
            RejectReason::Tripped | _ => Some("open"),
        };
        Self { reason, says: says.map(str::to_owned), retry_after, why }
    }
}

/// How many transitions a circuit remembers.
pub(super) const REMEMBERED: usize = 128;
const LAST: usize = 4;
