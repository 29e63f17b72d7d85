//! What a circuit tells whoever asks: for people, admin pages and tests. Not for the call path.

use std::time::Duration;

use super::inner::Inner;
use super::{Circuit, Peek, decide};
use crate::outcome::score_from_units;
use crate::state::{Generation, Mode, Standing, State, Transition};
use crate::sync::{Acquire, AtomicU64, Relaxed};
use crate::window::Tally;

/// A circuit at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The name of the service.
    pub name: String,
    /// The automatic state; under a mode that overrules it, the state beneath.
    pub state: State,
    /// What lies over it.
    pub mode: Mode,
    /// Whether `CIRCUIT_BREAKER_DISABLED` names the circuit: then every call goes through, whatever the rest says.
    pub bypassed: bool,
    /// The local epoch; it grows by one with each transition.
    pub era: u64,
    /// The generation of the record that was adopted last.
    pub generation: Generation,
    /// Grows with everything that an operator can see change: transitions here, and transitions and acts elsewhere that were
    /// heard of. What `Order::seen` takes.
    pub latest: Generation,
    /// How long the era has lasted.
    pub since: Duration,
    /// How long ago it left closed, or was last tripped by hand; `None` if it has closed since.
    pub tripped_for: Option<Duration>,
    /// How long a registry still refuses a reset that is not forced; `None` if it would not.
    pub reset_in: Option<Duration>,
    /// How long calls will be rejected, if they are and it is known.
    pub retry_after: Option<Duration>,
    /// The number of openings in a row.
    pub attempt: u32,
    /// The evidence of the era.
    pub tally: Tally,
    /// The weight of the failures since the last success.
    pub run: f64,
    /// The weighted share of failures in the window; `None` below `min_calls`, and where no rule looks at a window.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in the window; `None` below `min_calls`, and where no slow-call rule is set.
    pub slow_call_rate: Option<f64>,
    /// The probes of a half-open circuit.
    pub probes: ProbeStatus,
    /// Counts since the start.
    pub totals: Totals,
    /// The last transitions, oldest first, at most 128.
    pub transitions: Vec<Transition>,
}

impl Status {
    /// Returns state and mode together.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing::new(self.state, self.mode)
    }
}

/// The probes of a half-open circuit; all zero otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProbeStatus {
    /// Probes under way.
    pub in_flight: usize,
    /// Probes that succeeded.
    pub successes: u32,
    /// Probes that failed and were tolerated.
    pub failures: u32,
}

/// Counts since the start, over all eras. Each can be a moment older than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed, panicked or were dropped late.
    pub failures: u64,
    /// Calls whose outcome was ignored.
    pub ignored: u64,
    /// Calls that were dropped early.
    pub cancelled: u64,
    /// Calls whose outcome came in after their era had ended. The outcome is counted above, too, and nowhere else.
    pub stale: u64,
    /// Calls that were rejected.
    pub rejected: u64,
    /// Calls that went through in shadow and would have been rejected, or shed.
    pub would_reject: u64,
    /// Calls that load shedding refused; they are not among the rejected ones.
    pub load_shed: u64,
    /// Panics of observers, which were caught.
    pub observer_panics: u64,
}

impl Circuit {
    /// Returns the circuit as it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_with(usize::MAX)
    }

    /// Returns the circuit as it is now, with so many of the last transitions: a list of thousands of circuits needs one of each.
    pub(crate) fn status_with(&self, transitions: usize) -> Status {
        let inner = self.inner();
        // Under the lock no transition comes between the parts.
        let cold = inner.cold.lock();
        let (word, now) = (inner.load(), inner.now());
        let era = word.era();
        let tally = inner.tally(era, now);
        let rules = &inner.config.rules;
        let rate = |part: f64| (tally.calls >= u64::from(rules.min_calls)).then(|| decide::share(part, tally.calls));
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
            reset_in: inner.cooldown(&cold, now),
            retry_after: match inner.peek_at_gate(word) {
                Peek::Rejecting(retry_after) => retry_after,
                Peek::MayPass | Peek::ProbesTaken(_) | Peek::AwaitsRestore => None,
            },
            attempt: cold.attempt,
            tally,
            run: score_from_units(inner.run.weight(era)),
            failure_rate: if rules.need_window() { rate(tally.score()) } else { None },
            slow_call_rate: rules.slow_call_rate.and_then(|_| rate(score_from_units(tally.slow * 256))),
            probes: ProbeStatus {
                in_flight: inner.probes.in_flight(era),
                successes: verdict.successes,
                failures: verdict.failures,
            },
            totals: inner.totals(),
            transitions: cold.history.iter().skip(cold.history.len().saturating_sub(transitions)).cloned().collect(),
        }
    }

    /// Returns the counts since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let inner = self.inner();
        // Evidence that a restore brings along is taken out of the count again: under the lock nobody sees it in between.
        let _cold = inner.cold.lock();
        inner.totals()
    }

    /// Brings every gauge up to date, for a `/metrics` handler: gauges that decay, and recorders that were installed late.
    pub fn refresh_metrics(&self) {
        self.inner().report_standing();
    }
}

impl Inner {
    /// Under the cold mutex.
    fn totals(&self) -> Totals {
        let counts = &self.counts;
        // Relaxed: counts, they publish nothing.
        let count = |count: &AtomicU64| count.load(Relaxed);
        // Failures first: a call is in the window before it is among the failures, so the difference is never negative.
        // Acquire: pairs with the Release in `count_failure`.
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
            observer_panics: count(&counts.observer_panics),
        }
    }
}
