//! The observer that speaks the `metrics` facade.
//!
//! A handle of that facade belongs for ever to the recorder it was registered with, and one registered before a recorder was
//! installed does nothing for ever. Registering anew for each call costs ten times the call. So handles are kept per
//! recorder, found again by its address, and registered when a circuit first meets a recorder.
//!
//! A call takes no lock here, and nothing of a recorder runs under one.

use core::ptr;
use core::time::Duration;
use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::clock::Tick;
use crate::event::{Ended, Event, Observer};
use crate::outcome::{Failure, FailureKind};
use crate::state::{Mode, RejectReason, Standing, State, Transition};
use crate::sync::Mutex;
use crate::window::time::TimeWindow;
use crate::window::{Mark, Stamp};

/// Tells the `metrics` facade about one circuit.
///
/// Each metric has the label `service`, the name of the circuit, and those below.
///
/// | metric | labels | |
/// |---|---|---|
/// | `circuit_breaker_tripped` | | gauge: 1 from the trip until it closes, half-open included |
/// | `circuit_breaker_state` | `state` | gauge: 1 for the one that a caller meets, 0 for the others |
/// | `circuit_breaker_failures_1m` | | gauge: what the failures of the last minute weighed |
/// | `circuit_breaker_calls_total` | `outcome` | counter: `success`, `failure`, `ignored`, `cancelled` |
/// | `circuit_breaker_failures_total` | `kind` | counter: as [`FailureKind::as_str`] |
/// | `circuit_breaker_rejected_total` | `reason` | counter: as [`RejectReason::as_str`] |
/// | `circuit_breaker_transitions_total` | `from`, `to`, `reason` | counter |
/// | `circuit_breaker_stale_outcomes_total` | | counter: came in after their era, and were dropped |
/// | `circuit_breaker_call_duration_seconds` | `outcome` | histogram, where durations are measured |
///
/// They appear when the circuit first has something to tell. Without calls no gauge moves: ask the circuit to refresh its
/// metrics before each scrape, or the failures of the last minute stay what they were.
///
/// A recorder may be installed at any time. It is known by its address: where a test drops one and makes the next, it should
/// make a new circuit too. The handles of four recorders are kept; with a fifth the numbers are right, but slow.
#[derive(Debug)]
pub struct MetricsObserver {
    met: [OnceLock<Arc<Handles>>; RECORDERS],
    last: Mutex<Last>,
    /// What failed, for the last minute. Made by the first failure, as most circuits see none.
    failures: OnceLock<TimeWindow>,
}

/// The latest that is known of the circuit itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    era: u64,
    standing: Standing,
}

impl MetricsObserver {
    /// Returns an observer for one circuit. Two circuits must not share it, their gauges would mix.
    #[must_use]
    pub fn new() -> Self {
        // A circuit starts closed, or tells how else.
        let last = Last { era: 0, standing: Standing::new(State::Closed, Mode::Automatic) };
        Self { met: [const { OnceLock::new() }; RECORDERS], last: Mutex::new(last), failures: OnceLock::new() }
    }

    /// Acts on the handles of this thread's recorder.
    fn with_handles(&self, circuit: &str, act: impl FnOnce(&Handles)) {
        let recorder = metrics::with_recorder(|recorder| ptr::from_ref(recorder).addr());
        let mut met = self.met.iter().map_while(OnceLock::get);
        match met.find(|handles| handles.recorder == recorder) {
            Some(handles) => act(handles),
            None => act(&self.meet(recorder, circuit)),
        }
    }

    #[cold]
    fn meet(&self, recorder: usize, circuit: &str) -> Arc<Handles> {
        let handles = Arc::new(Handles::register(recorder, circuit));
        self.show(&handles);
        // Where another thread met the same recorder meanwhile, its handles stay: both do the same.
        for place in &self.met {
            let same = |there: &Arc<Handles>| there.recorder == recorder;
            if place.set(Arc::clone(&handles)).is_ok() || place.get().is_some_and(same) {
                break;
            }
        }
        handles
    }

    fn finished(&self, handles: &Handles, ended: Ended, at: Option<Tick>, elapsed: Option<Duration>) {
        handles.calls.of(ended).increment(1);
        if let Ended::Failure(failure) = ended {
            handles.count_failure(failure.kind());
            if let Some(at) = at {
                self.remember(failure, at);
                handles.failures_1m.set(self.last_minute(at));
            }
        }
        if let Some(elapsed) = elapsed {
            handles.durations().of(ended).record(elapsed);
        }
    }

    fn remember(&self, failure: Failure, at: Tick) {
        let failures = self.failures.get_or_init(|| TimeWindow::new(MINUTE, 12, false, 1));
        failures.record(Stamp { era: 0, now: at, shard: 0 }, Mark { units: failure.weight().units(), slow: false });
    }

    fn last_minute(&self, now: Tick) -> f64 {
        self.failures.get().map_or(0.0, |failures| failures.tally(0, now).score())
    }

    /// Brings all gauges up to date, unless something later is known.
    fn change(&self, handles: &Handles, news: Last, at: Tick) {
        {
            let mut last = self.last.lock();
            if news.era < last.era {
                return;
            }
            *last = news;
        }
        self.show(handles);
        handles.show_failures(self.last_minute(at));
    }

    /// Shows what is known last, also where another thread shows something else meanwhile.
    fn show(&self, handles: &Handles) {
        let mut shown = *self.last.lock();
        loop {
            handles.show(shown.standing);
            // Whoever showed what was outdated by then finds so here, and shows again.
            let last = *self.last.lock();
            if last == shown {
                return;
            }
            shown = last;
        }
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        self.with_handles(circuit, |handles| match *event {
            Event::Finished { ended, at, elapsed } => self.finished(handles, ended, at, elapsed),
            Event::Rejected { reason } => handles.rejected(reason).increment(1),
            Event::Stale => handles.stale.increment(1),
            Event::Transition(edge) => {
                handles.count_transition(edge);
                self.change(handles, Last { era: edge.era, standing: edge.to }, edge.at);
            }
            Event::Refresh { standing, era, at } => self.change(handles, Last { era, standing }, at),
            // Each of them was told before, as `Rejected`.
            Event::Rejections { .. } => {}
        });
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

/// What is told of calls, registered with one recorder.
///
/// The rest is rare and registered anew each time, which also spares the gauges a mistaken recorder.
#[derive(Debug)]
struct Handles {
    recorder: usize,
    service: Arc<str>,
    calls: PerOutcome<Counter>,
    /// In the order of `KINDS`.
    failures: [Counter; KINDS.len()],
    failures_1m: Gauge,
    tripped: Counter,
    half_open: Counter,
    stale: Counter,
    /// Registered by the first call that was measured: there may never be one.
    durations: OnceLock<Box<PerOutcome<Histogram>>>,
}

impl Handles {
    fn register(recorder: usize, circuit: &str) -> Self {
        describe();
        let service: Arc<str> = circuit.into();
        let name = || Arc::clone(&service);
        Self {
            recorder,
            calls: PerOutcome::new(|outcome| counter!(CALLS, "service" => name(), "outcome" => outcome)),
            failures: KINDS.map(|kind| counter!(FAILURES, "service" => name(), "kind" => kind.as_str())),
            failures_1m: gauge!(FAILURES_1M, "service" => name()),
            tripped: counter!(REJECTED, "service" => name(), "reason" => RejectReason::Tripped.as_str()),
            half_open: counter!(REJECTED, "service" => name(), "reason" => RejectReason::HalfOpen.as_str()),
            stale: counter!(STALE, "service" => name()),
            durations: OnceLock::new(),
            service,
        }
    }

    fn count_failure(&self, kind: FailureKind) {
        match KINDS.iter().position(|known| *known == kind) {
            Some(known) => self.failures[known].increment(1),
            None => counter!(FAILURES, "service" => self.service(), "kind" => kind.as_str()).increment(1),
        }
    }

    fn rejected(&self, reason: RejectReason) -> &Counter {
        match reason {
            RejectReason::Tripped => &self.tripped,
            RejectReason::HalfOpen => &self.half_open,
        }
    }

    fn durations(&self) -> &PerOutcome<Histogram> {
        let register = |outcome| histogram!(DURATION, "service" => self.service(), "outcome" => outcome);
        self.durations.get_or_init(|| Box::new(PerOutcome::new(register)))
    }

    fn count_transition(&self, edge: &Transition) {
        let (from, to, reason) = (edge.from.as_str(), edge.to.as_str(), edge.reason.as_str());
        counter!(TRANSITIONS, "service" => self.service(), "from" => from, "to" => to, "reason" => reason).increment(1);
    }

    fn show(&self, standing: Standing) {
        gauge!(TRIPPED, "service" => self.service()).set(f64::from(standing.is_tripped()));
        for state in STANDINGS {
            let is = state == standing.as_str();
            gauge!(STATE, "service" => self.service(), "state" => state).set(f64::from(is));
        }
    }

    fn show_failures(&self, score: f64) {
        gauge!(FAILURES_1M, "service" => self.service()).set(score);
    }

    fn service(&self) -> Arc<str> {
        Arc::clone(&self.service)
    }
}

/// One of each for every way in which a call ends.
#[derive(Debug)]
struct PerOutcome<T> {
    success: T,
    failure: T,
    ignored: T,
    cancelled: T,
}

impl<T> PerOutcome<T> {
    fn new(one: impl Fn(&'static str) -> T) -> Self {
        Self { success: one("success"), failure: one("failure"), ignored: one("ignored"), cancelled: one("cancelled") }
    }

    fn of(&self, ended: Ended) -> &T {
        match ended {
            Ended::Success => &self.success,
            Ended::Failure(_) => &self.failure,
            Ended::Ignored => &self.ignored,
            Ended::Cancelled => &self.cancelled,
        }
    }
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
    describe_histogram!(DURATION, Unit::Seconds, "How long admitted calls took.");
}

/// None, an application's, and two of tests.
const RECORDERS: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// The kinds whose number is known; a kind of the user's own is registered each time.
const KINDS: [FailureKind; 5] =
    [FailureKind::Error, FailureKind::Timeout, FailureKind::Cancelled, FailureKind::Panicked, FailureKind::NotReady];
/// What [`Standing::as_str`] can say.
const STANDINGS: [&str; 5] = [
    State::Closed.as_str(),
    State::Open.as_str(),
    State::HalfOpen.as_str(),
    Mode::ForcedOpen.as_str(),
    Mode::Disabled.as_str(),
];

const TRIPPED: &str = "circuit_breaker_tripped";
const STATE: &str = "circuit_breaker_state";
const FAILURES_1M: &str = "circuit_breaker_failures_1m";
const CALLS: &str = "circuit_breaker_calls_total";
const FAILURES: &str = "circuit_breaker_failures_total";
const REJECTED: &str = "circuit_breaker_rejected_total";
const TRANSITIONS: &str = "circuit_breaker_transitions_total";
const STALE: &str = "circuit_breaker_stale_outcomes_total";
const DURATION: &str = "circuit_breaker_call_duration_seconds";
