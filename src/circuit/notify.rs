//! Notification of observers about events of a circuit, with summaries of rejections for logs and sums of calls for
//! metrics.
//!
//! An event for each call would slow every call down, and a line for each rejection would flood the log in an outage.
//! Observers can be code of the application. Therefore no lock is held while an observer runs, and a panic of an
//! observer is caught and counted.

use std::time::Duration;

use super::change::Plan;
use super::inner::Inner;
use crate::clock::Tick;
use crate::event::{Event, Observer, guarded};
use crate::state::Reason;
use crate::sync::{Relaxed, seat};
use crate::window::cells::Sums;

impl Inner {
    /// Reports to the observers the number of rejections since the last summary. `due` is the time in nanoseconds at
    /// which this summary was due. If several threads find the summary due, one of them reports.
    #[cold]
    pub(super) fn summarise(&self, due: u64, retry_after: Option<Duration>, now: Tick) {
        let rejected = self.rejected();
        let next = now.saturating_add(SUMMARY_EVERY).as_nanos();
        // Relaxed, because the exchange only chooses one thread and publishes no other data.
        if self.counts.next_summary.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        let before = self.counts.summarised.swap(rejected, Relaxed);
        if let Some(rejected) = rejected.checked_sub(before).filter(|count| *count > 0) {
            let over = SUMMARY_EVERY.saturating_add(now.saturating_since(Tick::from_nanos(due)));
            self.notify(&Event::Rejections { rejected, over, retry_after });
        }
    }

    /// Begins the summaries of rejections. The first rejection after ten seconds causes the first summary. Runs when
    /// the circuit opens, becomes half-open without having been open (from closed or disabled), or starts to limit its
    /// calls.
    pub(super) fn begin_summaries(&self, now: Tick) {
        // Relaxed, because time and count publish no other data.
        self.counts.next_summary.store(now.saturating_add(SUMMARY_EVERY).as_nanos(), Relaxed);
        self.counts.summarised.store(self.rejected(), Relaxed);
    }

    /// Returns the number of rejections since the circuit was created.
    pub(super) fn rejected(&self) -> u64 {
        // Relaxed, because the count publishes no other data.
        self.counts.rejected.load(Relaxed) + self.cells.rejections()
    }

    /// Reports sums of calls to the observers that accept sums. A sum has the calls that all threads have counted in
    /// their cells (the counters of single threads) since the last report.
    pub(super) fn report_sums(&self) {
        self.report(self.cells.take_sums());
    }

    /// Reports the sum of the calls that this thread has counted in its cell since the last report.
    #[cold]
    #[inline(never)]
    pub(super) fn report_own_sums(&self) {
        self.report(self.cells.take_sums_of(seat()));
    }

    fn report(&self, Sums { successes, tripped, half_open }: Sums) {
        if successes + tripped + half_open > 0 {
            self.notify_of_call(&Event::Sums { successes, tripped, half_open });
        }
    }

    /// Notifies the observers of the transitions that were not reported yet, in the order of the eras.
    ///
    /// One thread at a time reports, and also reports the transitions that other threads make meanwhile. Otherwise a
    /// thread that reopens a circuit could overtake the thread that has made the circuit half-open, and a log would
    /// have the two lines in the wrong order. The transitions are read from the history, which keeps the last 128
    /// transitions. If more transitions happen while an observer blocks, the oldest are not reported.
    pub(super) fn report_transitions(&self) {
        let mut is_first = true;
        loop {
            let mut cold = self.cold.lock();
            let reported = cold.past().map_or(0, |past| past.reported);
            if is_first && cold.past().is_some_and(|past| past.is_reporting) {
                return;
            }
            let next = cold.history.iter().find(|edge| edge.era > reported).cloned();
            let past = cold.past_mut();
            past.is_reporting = next.is_some();
            past.reported = next.as_ref().map_or(reported, |edge| edge.era);
            drop(cold);
            is_first = false;
            let Some(edge) = next else { return };
            // The sums are reported before the transition, so that observers count the sums in the era that has ended.
            self.report_sums();
            self.notify(&Event::Transition(&edge));
        }
    }

    /// Notifies every observer.
    pub(super) fn notify(&self, event: &Event<'_>) {
        for observer in &self.observers {
            self.notify_one(&**observer, event);
        }
    }

    /// Notifies the observers that want an event for every call.
    // Not inlined, because most circuits report their calls in sums. An inlined loop would take registers from every
    // caller.
    #[inline(never)]
    pub(super) fn notify_of_call(&self, event: &Event<'_>) {
        for observer in &self.call_observers {
            self.notify_one(&**observer, event);
        }
    }

    fn notify_one(&self, observer: &dyn Observer, event: &Event<'_>) {
        if guarded(|| observer.on_event(&self.config.name, event)).is_none() {
            // Relaxed, because the count publishes no other data.
            self.counts.observer_panics.fetch_add(1, Relaxed);
        }
    }

    /// Reports a new circuit to the observers, so that the gauges of the circuit appear before its first call. If the
    /// kill switch (`CIRCUIT_BREAKER_DISABLED`) names the circuit, makes and reports a transition to the same state
    /// instead. The reason of this transition is the kill switch.
    pub(super) fn introduce(&self) {
        let word = self.load();
        if word.bypassed() {
            self.change(word, |_| Some(Plan::new(word.standing(), Reason::KillSwitch, self.now())));
        } else {
            self.report_standing();
        }
    }

    /// Reports the standing (state and mode together), so that observers bring their gauges up to date. The sums of
    /// calls are reported first, so that counters are as new as gauges.
    pub(super) fn report_standing(&self) {
        self.report_sums();
        let word = self.load();
        let (era, standing, bypassed) = (word.era(), self.effective_standing(word), word.bypassed());
        let mut fleet = self.cold.lock().fleet();
        loop {
            let at = self.now();
            let admitted_share = self.shown_share(word, at);
            let hanging = word.is_watched().then(|| self.hanging(word, at));
            let suppressed = self.in_group().map(|_| self.suppressed_openings());
            self.notify(&Event::Refresh { standing, bypassed, era, at, fleet, admitted_share, hanging, suppressed });
            // The decision of the fleet may have changed during the report, and an observer may have received the newer
            // decision before this report. The report is repeated, so that each observer receives the newest decision
            // last.
            let now = self.cold.lock().fleet();
            if now == fleet {
                return;
            }
            fleet = now;
        }
    }
}

/// The shortest time between two summaries of rejections.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);
