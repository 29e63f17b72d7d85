//! The observer that turns events into counters, gauges and histograms of the `metrics` facade. [`MetricsObserver`] has
//! the table of all metrics of a circuit. Each metric comes from an event, so a new metric may need a new event in
//! `event.rs`.
//!
//! A handle of the facade belongs to the recorder that was installed when the handle was registered. A handle that was
//! registered before the installation of a recorder records nothing. Registering a handle for each call would cost ten
//! times as much time as the call. Therefore the observer keeps one set of handles for each recorder, and finds the set
//! by the address of the recorder. The set is registered when the circuit first uses the recorder. A refresh registers
//! all handles anew, so that series that an exporter has dropped appear again.
//!
//! Most calls take no lock in this module. A call takes a lock if the handles were refreshed since the last call of its
//! thread, or if its thread has no copy of the circuit's handles. A call also takes a lock if it causes a transition,
//! or if it fails with a kind that a classifier names. No code of a recorder runs under a lock.
//!
//! The file is longer than others, because a reader of the table of metrics also needs the events that change these
//! metrics.

mod born;
mod descriptions;
mod fleet;
mod group;
mod handles;
mod health;
mod kept;
mod last;
mod pool;
mod rare;
mod under;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::Tick;
use crate::event::{Ended, Event, Observer};
use crate::outcome::Failure;
use crate::state::{Mode, RejectReason, Standing, State};
use crate::sync::{AcqRel, Acquire, AtomicBool, AtomicU64, Relaxed};
use crate::telemetry::Label;
use crate::window::time::TimeWindow;
use crate::window::{Mark, Stamp};
pub(super) use group::GroupObserver;
use handles::Handles;
use kept::Kept;
use last::{Last, effective};
use pool::{Pool, Pooled};
use rare::Series;
use under::Under;

/// Records the metrics of one circuit with the `metrics` facade.
///
/// Each metric has the label `service`, which is the name of the circuit, and the labels in this table. Keyed circuits
/// can share one `service`. The gauges `circuit_breaker_tripped` and `circuit_breaker_state` are then numbers of
/// circuits, and `circuit_breaker_failures_1m` and the gauges of a fleet are absent.
///
/// | metric | labels | |
/// |---|---|---|
/// | `circuit_breaker_tripped` | | gauge: 1 from the trip until the close, including half-open |
/// | `circuit_breaker_state` | `state` | gauge: 1 for the effective state (`closed`, `open`, `half_open`, `forced_open`, `disabled`), 0 for the others |
/// | `circuit_breaker_failures_1m` | | gauge: the total weight of the failures in the last minute |
/// | `circuit_breaker_calls_total` | `outcome` | counter: `success`, `failure`, `ignored`, `cancelled` |
/// | `circuit_breaker_failures_total` | `kind` | counter: as [`FailureKind`](crate::outcome::FailureKind) spells it |
/// | `circuit_breaker_rejected_total` | `reason` | counter: `tripped`, `half_open`, `load_shed`, `ramp`, `throttled` |
/// | `circuit_breaker_fallbacks_total` | `result` | counter: `answered`, `failed` |
/// | `circuit_breaker_transitions_total` | `from`, `to`, `reason` | counter |
/// | `circuit_breaker_stale_outcomes_total` | | counter: outcomes of calls that were admitted before the last transition; they count only in the totals |
/// | `circuit_breaker_call_duration_seconds` | `outcome` | histogram, if the circuit measures durations |
/// | `circuit_breaker_system_load_ratio` | | gauge, with a load-shedding layer: the last load that the layer polled; NaN if unknown |
/// | `circuit_breaker_admitted_ratio` | | gauge, with a ramp or a throttle: the share of the calls that the closed circuit admits, 1 in other states |
/// | `circuit_breaker_calls_hanging` | | gauge, with a slow-call rule: the calls that have been under way for `slower_than` or longer |
/// | `circuit_breaker_fleet_state` | `state` | gauge, with a fleet: 1 for the state that the fleet has decided (`closed`, `open`, `half_open`), 0 for the others |
/// | `circuit_breaker_fleet_votes` | | gauge, with a fleet: the votes for an opening while the fleet is closed, and otherwise the votes that opened the fleet |
/// | `circuit_breaker_fleet_votes_needed` | | gauge, with a fleet: the votes that open the fleet |
/// | `circuit_breaker_fleet_probes_total` | `result` | counter, with a fleet: probes of this instance, `passed`, `failed`, `returned`, `late`, `unleased` |
/// | `circuit_breaker_fleet_declined_total` | | counter, with a fleet: openings of the fleet that this instance declined |
/// | `circuit_breaker_openings_suppressed_total` | | counter, in a group: failures that met a rule while the group had no free open slot (permission to be open or half-open) |
/// | `circuit_breaker_group_open_ratio` | `group` | gauge, in a group and without `service`: the share of the circuits of the group that have left the closed state by themselves |
/// | `circuit_breaker_health_probes_total` | `result` | counter, from the first health probe: `passed`, `failed`, `timed_out`, `panicked` |
///
/// The metrics appear when the circuit is created, or with its first event after a recorder was installed. Every
/// counter whose labels are known in advance begins at 0, so that `increase()` sees the first event. Of the counters of
/// transitions, only the counters of transitions to open or forced open begin at 0. A failure kind that a classifier
/// names appears with the first failure of this kind. The metrics of a fleet appear when a circuit under
/// `Sharing::Quorum` or `Sharing::Follow` first knows the decision of the fleet. A circuit in a group has a second
/// observer for the metrics of the group, unless the shipped observers are omitted. A probe is `unleased` if it ended
/// without a lease while the fleet was not closed.
///
/// Gauges change only with events. Without calls, `circuit_breaker_failures_1m` would keep an old value. Therefore
/// refresh the metrics of the circuit before each scrape. A refresh also keeps the series of an exporter with an idle
/// timeout alive, and registers anew the series that the exporter has dropped. A dropped counter begins at 0 again.
///
/// Successes and rejections are reported in [sums](Event::Sums). A sum is recorded by the recorder of the thread that
/// reports the sum. If threads have recorders of their own (`metrics::with_local_recorder`), refresh inside the scope
/// of such a recorder.
///
/// A recorder may be installed at any time. The observer identifies a recorder by its address, and a new recorder can
/// have the address of a dropped recorder. Therefore a test that drops a recorder and creates another should create a
/// new circuit too. The observer keeps the handles of four recorders. With more recorders, the numbers are still right,
/// but an event may have to register its metrics again. Help texts are registered once for each recorder.
#[derive(Debug)]
pub struct MetricsObserver {
    /// The metric handles under the circuit's own label. Not used while the circuit shares a label with other circuits.
    own: Kept,
    /// True if the circuit measures the durations of its calls.
    measures: bool,
    /// True once the metrics have shown the decision of a fleet for this circuit.
    has_fleet: AtomicBool,
    /// True once a gauge has shown the share of the calls that the circuit admits.
    has_share: AtomicBool,
    /// True once a gauge has shown the hanging calls of the circuit.
    has_hanging: AtomicBool,
    /// True once the health probes of the circuit have begun.
    has_health: AtomicBool,
    /// The newest known standing (state and mode) of the circuit, as a [`Last`].
    last: AtomicU64,
    /// The failures of the last minute. Created by the first failure, because most circuits have no failures.
    failures: OnceLock<Box<TimeWindow>>,
    /// The label of a keyed circuit, and the pool in which the circuit was created. A pool counts the circuits that
    /// share a label. If the bit `OWN` of `last` is set, the circuit has left the pool.
    pool: Option<Box<Pooled>>,
    /// The pool's count `renewals`, as of the last refresh of this circuit.
    seen: AtomicU64,
    /// The last value of the gauge of the system load, as the bits of an `f64`. `NO_LOAD` if the gauge was never set.
    load: AtomicU64,
}

impl MetricsObserver {
    /// Returns an observer for one circuit. Two circuits must not share an observer, because they would overwrite each
    /// other's gauges.
    #[must_use]
    pub fn new() -> Self {
        // The first standing (state and mode) is closed, because most circuits start closed. A circuit that starts in
        // another standing reports that standing in its first event.
        let last = Last::new(0, Standing::new(State::Closed, Mode::Automatic));
        Self {
            own: Kept::new(),
            measures: false,
            has_fleet: AtomicBool::new(false),
            has_share: AtomicBool::new(false),
            has_hanging: AtomicBool::new(false),
            has_health: AtomicBool::new(false),
            last: AtomicU64::new(last.0 | Last::OWN),
            failures: OnceLock::new(),
            pool: None,
            seen: AtomicU64::new(u64::MAX),
            load: AtomicU64::new(NO_LOAD),
        }
    }

    /// Returns an observer for a circuit. `measures` is true if the circuit measures the durations of its calls. For a
    /// keyed circuit, `label` is the label, which other circuits may share.
    pub(super) fn of(label: Option<&Arc<Label>>, measures: bool) -> Self {
        let mut observer = Self::new();
        observer.measures = measures;
        if let Some(label) = label.filter(|label| !label.is_own()) {
            let pool = Pool::of(label.other());
            // Relaxed: no other thread has the observer yet.
            let last = Last(observer.last.fetch_and(!Last::OWN, Relaxed) & !Last::OWN);
            pool.moved(None, Some(last));
            observer.pool = Some(Box::new(Pooled { label: Arc::clone(label), pool }));
        }
        observer
    }

    /// Registers again the series that the exporter has dropped. Does nothing for a circuit that has left its registry.
    fn renew(&self, under: Under<'_>) {
        if self.is_gone() || under.pool.is_some_and(|pool| !pool.renews(&self.seen)) {
            return;
        }
        under.kept.renew(under.label, |recorder| under.register(recorder, self.measures));
        // Relaxed: a number, publishes nothing.
        let load = self.load.load(Relaxed);
        if load != NO_LOAD {
            handles::show_load(under.label, f64::from_bits(load));
        }
    }

    fn finished(&self, handles: &Handles, under: Under<'_>, ended: Ended, at: Option<Tick>) {
        match ended {
            Ended::Success => handles.success.increment(1),
            Ended::Failure(failure) => {
                let others = handles.others(under.label);
                others.failure.increment(1);
                match others.kind(failure.kind()) {
                    Some(kind) => kind.increment(1),
                    None => under.kept.rare.count(under.label, Series::Failures { kind: failure.kind().as_str() }),
                }
                if let (Some(at), Some(failures_1m), false) = (at, &others.failures_1m, self.is_gone()) {
                    self.remember(failure, at);
                    failures_1m.set(self.last_minute(at));
                }
            }
            Ended::Ignored => handles.others(under.label).ignored.increment(1),
            Ended::Cancelled => handles.others(under.label).cancelled.increment(1),
        }
    }

    fn remember(&self, failure: Failure, at: Tick) {
        let failures = self.failures.get_or_init(|| Box::new(TimeWindow::new(MINUTE, 12, false)));
        failures.record(Stamp { era: 0, now: at }, Mark { units: failure.weight().units(), slow: false });
    }

    fn last_minute(&self, now: Tick) -> f64 {
        self.failures.get().map_or(0.0, |failures| failures.tally(0, now).score())
    }

    /// Stores the standing (state and mode) that an event reports, and updates the gauges of the standing and of the
    /// failures. Does nothing if a later standing is known already.
    fn change(&self, circuit: &str, news: Last, at: Tick) {
        let newer = |last| {
            let news = news.shown_like(Last(last));
            (last <= news.0).then_some(news.0)
        };
        // AcqRel: pairs with the exchange in `show`.
        let Ok(last) = self.last.fetch_update(AcqRel, Acquire, newer) else { return };
        // The value before the exchange decides where the change is shown, which is either the pool or the circuit's
        // own label. The label that this event read at its beginning may be out of date. With that label, a change
        // could be shown twice.
        match self.pool.as_deref().filter(|_| !Last(last).is_own()) {
            Some(Pooled { pool, .. }) => {
                pool.moved(Some(Last(last)), Some(news));
                pool.show();
            }
            None => {
                self.show(circuit);
                handles::show_failures(circuit, self.last_minute(at));
            }
        }
    }

    /// Removes the circuit from its gauges, because the circuit has left its registry. A recorder cannot remove a
    /// metric. Therefore a circuit with its own label sets the gauges of the standing, the failures, the hanging calls
    /// and the fleet to 0 and the admitted share to 1. A circuit with a shared label is subtracted from the counts of
    /// its pool. Later events of the circuit do not change these gauges.
    fn go(&self, circuit: &str) {
        // AcqRel: pairs with the exchange in `show`.
        let last = Last(self.last.fetch_or(Last::GONE, AcqRel));
        if last.is_gone() {
            return;
        }
        match self.pool.as_deref().filter(|_| !last.is_own()) {
            Some(Pooled { pool, .. }) => {
                pool.moved(Some(last), None);
                pool.show();
            }
            None => {
                self.show(circuit);
                handles::show_failures(circuit, 0.0);
                // Relaxed: the flag publishes nothing.
                if self.has_share.load(Relaxed) {
                    handles::show_share(circuit, 1.0);
                }
                self.leave_fleet(circuit);
                self.end_hanging(circuit);
            }
        }
    }

    /// Sets the gauge of the share of the calls that the closed circuit admits. `share` is `None` if the circuit has
    /// neither a ramp nor a throttle. In this case the gauge becomes 1 if it was set before. Circuits that share a
    /// label do not have this gauge, because they would overwrite each other's value.
    fn show_share(&self, under: Under<'_>, share: Option<f64>) {
        if under.pool.is_some() || self.is_gone() {
            return;
        }
        // Relaxed: the flag publishes nothing.
        if share.is_some() {
            self.has_share.store(true, Relaxed);
        }
        if self.has_share.load(Relaxed) {
            handles::show_share(under.label, share.unwrap_or(1.0));
        }
    }

    /// Sets the gauge of hanging calls. Circuits that share a label do not have this gauge, because they would
    /// overwrite each other's value.
    fn show_hanging(&self, under: Under<'_>, hanging: Option<u64>) {
        if let (Some(hanging), None, false) = (hanging, under.pool, self.is_gone()) {
            // Relaxed: the flag publishes nothing.
            self.has_hanging.store(true, Relaxed);
            handles::show_hanging(under.label, hanging);
        }
    }

    /// Sets the gauge of hanging calls to 0 if the gauge was set before. Called when the circuit has left its registry,
    /// and after each transition, because no calls are counted in the new state yet.
    fn end_hanging(&self, label: &str) {
        // Relaxed: the flag publishes nothing.
        if self.has_hanging.load(Relaxed) {
            handles::show_hanging(label, 0);
        }
    }

    fn is_gone(&self) -> bool {
        // Relaxed: a call that ends while the circuit leaves its registry may still set a gauge, as if the call had
        // ended before that.
        Last(self.last.load(Relaxed)).is_gone()
    }

    /// Sets the gauges of the circuit's own label to the newest standing. If another thread changes the standing
    /// meanwhile, sets the gauges again, so that they show the newest standing in the end.
    fn show(&self, circuit: &str) {
        let mut shown = None;
        loop {
            // An exchange that changes nothing is used instead of a load. AcqRel: pairs with the exchange in `change`.
            // If the exchange in `change` is earlier, this exchange returns the new standing. If the exchange in
            // `change` is later, the thread in `change` sets the gauges afterwards and overwrites the old standing.
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
        self.leave_pool(circuit);
        let under = self.under(circuit);
        if let Event::Refresh { .. } = event {
            self.renew(under);
        }
        let register = |recorder| under.register(recorder, self.measures);
        under.kept.with(
            register,
            || under.pool.map_or_else(|| self.show(circuit), Pool::show),
            |handles| match *event {
                Event::Finished { ended, at, elapsed } => {
                    self.finished(handles, under, ended, at);
                    if let Some(elapsed) = elapsed {
                        handles.others(under.label).durations(under.label).of(ended).record(elapsed);
                    }
                }
                Event::Sums { successes, tripped, half_open } => {
                    if successes > 0 {
                        handles.success.increment(successes);
                    }
                    for (reason, count) in [(RejectReason::Tripped, tripped), (RejectReason::HalfOpen, half_open)] {
                        if count > 0 {
                            handles.others(under.label).rejected(reason).increment(count);
                        }
                    }
                }
                Event::Rejected { reason } => handles.others(under.label).rejected(reason).increment(1),
                Event::Fallback { answered } => handles.others(under.label).fallbacks(answered).increment(1),
                Event::Stale => handles.others(under.label).stale.increment(1),
                Event::Transition(edge) => {
                    under.kept.rare.count(under.label, Series::of(edge));
                    self.change(circuit, Last::new(edge.era, effective(edge.to, edge.bypassed)), edge.at);
                    self.end_hanging(under.label);
                }
                Event::Refresh { standing, bypassed, era, at, fleet, admitted_share, hanging, .. } => {
                    self.show_share(under, admitted_share);
                    self.show_hanging(under, hanging);
                    self.change(circuit, Last::new(era, effective(standing, bypassed)), at);
                    if let Some(brief) = fleet {
                        self.show_fleet(under, brief);
                    }
                    self.renew_health(under);
                }
                Event::Fleet { brief } => self.show_fleet(under, brief),
                Event::FleetProbes { result, number } => fleet::probes(under.label, result).increment(number.into()),
                Event::HealthBegan => self.begin_health(under),
                Event::HealthProbe { result } => health::probes(under.label, result).increment(1),
                Event::FleetDeclined => fleet::declined(under.label).increment(1),
                Event::Forgotten => self.go(circuit),
                Event::SystemLoad { load, .. } => {
                    let load = load.unwrap_or(f64::NAN);
                    // Relaxed: a number, publishes nothing.
                    self.load.store(load.to_bits(), Relaxed);
                    handles::show_load(under.label, load);
                }
                // `Rejections` is a summary of rejections, each of which was counted already, by `Rejected` or `Sums`.
                // The observer of groups counts the suppressed openings.
                Event::Rejections { .. } | Event::Suppressed { .. } => {}
            },
        );
    }

    fn wants_calls(&self) -> bool {
        true
    }

    fn accepts_sums(&self) -> bool {
        true
    }
}

/// Removes the circuit from the counts of its pool (the circuits that share its label).
impl Drop for MetricsObserver {
    fn drop(&mut self) {
        // Relaxed: no other thread has the observer any more.
        let last = Last(self.last.load(Relaxed));
        if let Some(Pooled { pool, .. }) = self.pool.as_deref().filter(|_| !last.is_gone() && !last.is_own()) {
            pool.moved(Some(last), None);
            pool.show();
        }
    }
}

/// The bits of a NaN that no computation returns.
const NO_LOAD: u64 = u64::MAX;
const MINUTE: Duration = Duration::from_secs(60);
