//! The observer that speaks the `metrics` facade.
//!
//! A handle of that facade belongs for ever to the recorder it was registered with, and one registered before a recorder was
//! installed does nothing for ever. Registering anew for each call costs ten times the call. So handles are kept per
//! recorder, found again by its address, and registered when a circuit first meets a recorder.
//!
//! A call takes no lock here, and nothing of a recorder runs under one.

mod handles;
mod pool;

use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::Tick;
use crate::event::{Ended, Event, Observer};
use crate::outcome::Failure;
use crate::state::{Mode, RejectReason, Standing, State};
use crate::sync::{AcqRel, AtomicU64, Relaxed};
use crate::window::time::TimeWindow;
use crate::window::{Mark, Stamp};
use handles::Handles;
use pool::Pool;

/// Tells the `metrics` facade about one circuit.
///
/// Each metric has the label `service`, the name of the circuit, and those below.
///
/// | metric | labels | |
/// |---|---|---|
/// | `circuit_breaker_tripped` | | gauge: 1 from the trip until it closes, half-open included |
/// | `circuit_breaker_state` | `state` | gauge: 1 for the one that a caller meets (`closed`, `open`, `half_open`, `forced_open`, `disabled`), 0 for the others |
/// | `circuit_breaker_failures_1m` | | gauge: what the failures of the last minute weighed |
/// | `circuit_breaker_calls_total` | `outcome` | counter: `success`, `failure`, `ignored`, `cancelled` |
/// | `circuit_breaker_failures_total` | `kind` | counter: as [`FailureKind`](crate::outcome::FailureKind) spells it |
/// | `circuit_breaker_rejected_total` | `reason` | counter: `tripped`, `half_open`, `load_shed` |
/// | `circuit_breaker_transitions_total` | `from`, `to`, `reason` | counter |
/// | `circuit_breaker_stale_outcomes_total` | | counter: came in after their era, and were dropped |
/// | `circuit_breaker_call_duration_seconds` | `outcome` | histogram, where durations are measured |
/// | `circuit_breaker_system_load_ratio` | | gauge, behind a load-shedding layer: as its last look saw it; NaN while unknown |
///
/// They appear when the circuit is built, or with its first event after a recorder was installed. Without calls no gauge
/// moves: ask the circuit to refresh its metrics before each scrape, or the failures of the last minute stay what they were.
///
/// Successes and rejections come in [sums](Event::Sums). A sum goes to the recorder of the thread that reports the sum, which matters
/// only where threads have recorders of their own (`metrics::with_local_recorder`): refresh inside the scope of such a recorder.
///
/// A recorder may be installed at any time. It is known by its address: where a test drops one and makes the next, it should
/// make a new circuit too. The handles of four recorders are kept; with a fifth the numbers are right, but slow.
#[derive(Debug)]
pub struct MetricsObserver {
    /// The recorders met, in the order of meeting. A chain, so that a circuit without a recorder stays small.
    met: OnceLock<Handles>,
    /// What is known last of the circuit: a [`Last`].
    last: AtomicU64,
    /// What failed, for the last minute. Made by the first failure, as most circuits see none.
    failures: OnceLock<Box<TimeWindow>>,
    /// Those with which it shares a label, if it has none of its own.
    pool: Option<Arc<Pool>>,
}

impl MetricsObserver {
    /// Returns an observer for one circuit. Two circuits must not share it, their gauges would mix.
    #[must_use]
    pub fn new() -> Self {
        // A circuit starts closed, or tells how else.
        let last = Last::new(0, Standing::new(State::Closed, Mode::Automatic));
        Self { met: OnceLock::new(), last: AtomicU64::new(last.0), failures: OnceLock::new(), pool: None }
    }

    /// Returns an observer for one of the circuits that share that label.
    pub(super) fn with_label(label: &Arc<str>) -> Self {
        let (mut observer, pool) = (Self::new(), Pool::of(label));
        // Relaxed: nobody else has it yet.
        pool.moved(None, Some(Last(observer.last.load(Relaxed))));
        observer.pool = Some(pool);
        observer
    }

    /// Acts on the handles of this thread's recorder.
    fn with_handles(&self, circuit: &str, act: impl FnOnce(&Handles)) {
        let recorder = metrics::with_recorder(|recorder| ptr::from_ref(recorder).addr());
        let mut place = self.met.get();
        while let Some(handles) = place {
            if handles.recorder == recorder {
                return act(handles);
            }
            place = handles.next.get().map(Box::as_ref);
        }
        self.meet(recorder, circuit, act);
    }

    #[cold]
    fn meet(&self, recorder: usize, circuit: &str, act: impl FnOnce(&Handles)) {
        let handles = Handles::register(recorder, circuit, self.pool.is_none());
        self.show(circuit);
        match self.keep(handles) {
            Ok(kept) => act(kept),
            Err(not_kept) => act(&not_kept),
        }
    }

    /// Puts them at the end of the chain, unless that is full. Handles that another thread made of the same recorder are as
    /// good.
    fn keep(&self, handles: Handles) -> Result<&Handles, Handles> {
        let recorder = handles.recorder;
        let mut new = Some(handles);
        let mut take = || new.take().expect("once kept, they are found and the search ends");
        let mut place = self.met.get_or_init(&mut take);
        for _ in 1..RECORDERS {
            if place.recorder == recorder {
                break;
            }
            place = place.next.get_or_init(|| Box::new(take()));
        }
        if place.recorder == recorder { Ok(place) } else { Err(new.expect("no place took them")) }
    }

    fn finished(&self, handles: &Handles, circuit: &str, ended: Ended, at: Option<Tick>) {
        match ended {
            Ended::Success => handles.success.increment(1),
            Ended::Failure(failure) => {
                let others = handles.others(circuit);
                others.failure.increment(1);
                others.count_kind(circuit, failure.kind());
                if let (Some(at), Some(failures_1m), false) = (at, &others.failures_1m, self.is_gone()) {
                    self.remember(failure, at);
                    failures_1m.set(self.last_minute(at));
                }
            }
            Ended::Ignored => handles.others(circuit).ignored.increment(1),
            Ended::Cancelled => handles.others(circuit).cancelled.increment(1),
        }
    }

    fn remember(&self, failure: Failure, at: Tick) {
        let failures = self.failures.get_or_init(|| Box::new(TimeWindow::new(MINUTE, 12, false)));
        failures.record(Stamp { era: 0, now: at }, Mark { units: failure.weight().units(), slow: false });
    }

    fn last_minute(&self, now: Tick) -> f64 {
        self.failures.get().map_or(0.0, |failures| failures.tally(0, now).score())
    }

    /// Brings all gauges up to date, unless something later is known.
    fn change(&self, circuit: &str, news: Last, at: Tick) {
        // AcqRel: pairs with the exchange in `show`.
        let last = Last(self.last.fetch_max(news.0, AcqRel));
        if last.0 <= news.0 {
            match &self.pool {
                Some(pool) => {
                    pool.moved(Some(last), Some(news));
                    pool.show();
                }
                None => {
                    self.show(circuit);
                    handles::show_failures(circuit, self.last_minute(at));
                }
            }
        }
    }

    /// Shows a circuit that is in no state any more: no recorder can forget it. Whatever happens to it later shows nothing.
    fn go(&self, circuit: &str) {
        // AcqRel: pairs with the exchange in `show`.
        let last = Last(self.last.fetch_max(Last::GONE.0, AcqRel));
        if last == Last::GONE {
            return;
        }
        if let Some(pool) = &self.pool {
            pool.moved(Some(last), None);
        }
        self.show(circuit);
        if self.pool.is_none() {
            handles::show_failures(circuit, 0.0);
        }
    }

    fn is_gone(&self) -> bool {
        // Relaxed: a call that ends at the same time may show its failure, as if it had ended before.
        self.last.load(Relaxed) == Last::GONE.0
    }

    /// Shows what is known last, also where another thread shows something else meanwhile.
    fn show(&self, circuit: &str) {
        if let Some(pool) = &self.pool {
            return pool.show();
        }
        let mut shown = None;
        loop {
            // AcqRel, and an exchange that changes nothing rather than a load: it comes either after the one in `change`, and
            // sees the news, or before it, and then what was shown here is overwritten by whoever brings the news.
            let last = Last(self.last.fetch_max(0, AcqRel));
            if shown == Some(last) {
                return;
            }
            handles::show_standing(circuit, last.standing(), last.is_tripped());
            shown = Some(last);
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
        let circuit = self.pool.as_ref().map_or(circuit, |pool| &*pool.label);
        self.with_handles(circuit, |handles| match *event {
            Event::Finished { ended, at, elapsed } => {
                self.finished(handles, circuit, ended, at);
                if let Some(elapsed) = elapsed {
                    handles.others(circuit).durations(circuit).of(ended).record(elapsed);
                }
            }
            Event::Sums { successes, tripped, half_open } => {
                if successes > 0 {
                    handles.success.increment(successes);
                }
                for (reason, count) in [(RejectReason::Tripped, tripped), (RejectReason::HalfOpen, half_open)] {
                    if count > 0 {
                        handles.others(circuit).rejected(reason).increment(count);
                    }
                }
            }
            Event::Rejected { reason } => handles.others(circuit).rejected(reason).increment(1),
            Event::Stale => handles.others(circuit).stale.increment(1),
            Event::Transition(edge) => {
                handles::count_transition(circuit, edge);
                self.change(circuit, Last::new(edge.era, met(edge.to, edge.bypassed)), edge.at);
            }
            Event::Refresh { standing, bypassed, era, at } => {
                self.change(circuit, Last::new(era, met(standing, bypassed)), at);
            }
            Event::Forgotten => self.go(circuit),
            Event::SystemLoad { load, .. } => handles::show_load(circuit, load),
            // Each of them was told before, as `Rejected`.
            Event::Rejections { .. } => {}
        });
    }

    fn wants_calls(&self) -> bool {
        true
    }

    fn accepts_sums(&self) -> bool {
        true
    }
}

/// A circuit that is gone is no longer counted.
impl Drop for MetricsObserver {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.as_ref().filter(|_| !self.is_gone()) {
            // Relaxed: nobody else has it any more.
            pool.moved(Some(Last(self.last.load(Relaxed))), None);
            pool.show();
        }
    }
}

/// What a caller meets: under the kill switch, a circuit that is disabled whatever lies over it.
const fn met(standing: Standing, bypassed: bool) -> Standing {
    if bypassed { Standing::new(standing.state, Mode::Disabled) } else { standing }
}

/// What the gauges show, in a word that grows with the era.
///
/// ```text
/// word   63..4 era | 3..1 index in STANDINGS | 0 tripped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last(u64);

impl Last {
    /// Of a circuit that is shown no more: later than all eras.
    const GONE: Self = Self(u64::MAX);

    fn new(era: u64, standing: Standing) -> Self {
        let index = (0..).zip(STANDINGS).find(|(_, known)| *known == standing.as_str());
        let (index, _) = index.expect("STANDINGS has all that a standing can be");
        Self(era << 4 | index << 1 | u64::from(standing.is_tripped()))
    }

    /// Empty if it is gone.
    fn standing(self) -> &'static str {
        if self == Self::GONE { "" } else { STANDINGS[self.index()] }
    }

    /// Its place in `STANDINGS`.
    fn index(self) -> usize {
        let index = self.0 >> 1 & 0b111;
        (0..STANDINGS.len()).zip(0..).find(|(_, known)| *known == index).map_or(0, |(index, _)| index)
    }

    const fn is_tripped(self) -> bool {
        self.0 & 1 == 1 && self.0 != Self::GONE.0
    }
}

/// None, an application's, and two of tests.
const RECORDERS: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// What [`Standing::as_str`] can say.
const STANDINGS: [&str; 5] = [
    State::Closed.as_str(),
    State::Open.as_str(),
    State::HalfOpen.as_str(),
    Mode::ForcedOpen.as_str(),
    Mode::Disabled.as_str(),
];
