//! Calls that hang, which count as slow before they end.
//!
//! A slow call is known only at its end. If a service stops answering, a circuit without this module would notice the
//! fault only when the first callers time out, which can take half a minute. Therefore a circuit with a slow-call rule
//! counts hanging calls too. A call that has been under way for `slower_than` or longer counts as a slow call before it
//! ends. When the call ends, it enters the window and no longer counts as hanging. A call that ends after its era (the
//! time between two transitions) changes nothing. Only the slow-call rule counts hanging calls, because a hanging call
//! is no failure yet. A hanging call counts only for the duration of the window, as a call that has ended does.
//! Otherwise long polls would outnumber the other calls. A window over a number of calls has no duration. With such a
//! window, a hanging call counts for ten seconds.
//!
//! `window/under_way.rs` counts the calls under way, and this file decides when the rule is checked. Time makes calls
//! hang, but a timer for each circuit would cost more than the rule is worth. Therefore the first call of each time
//! bucket checks the rule, and so does every outcome that may trip the circuit. Even if no calls come, the rule is
//! checked by each read of the status, by each refresh of the metrics, by the runner of a health probe, and once a
//! second by the task of a registry with a store. If the check of a new call opens the circuit, the gate then decides
//! on this call, and rejects it unless the circuit is in shadow.
//!
//! Only calls of a closed circuit hang. Probes have a deadline of their own, and calls that count in no window do not
//! count as hanging either. A call whose service has answered, and whose body is still streamed, does not hang, because
//! a slow reader or a stream without end says nothing about the service.
//!
//! A circuit without the rule does not count the calls under way, and the admission of its calls needs no additional
//! test. A circuit with the rule sets a bit in its word. If this bit is set, the one test of the word on the shortest
//! path ([`Word::passes_at_once`]) fails.

use std::time::Duration;

use super::inner::Inner;
use super::mark::Mark;
use super::trip_rules::Situation;
use super::word::Word;
use crate::clock::Tick;
use crate::sync::{Acquire, Release, fence};
use crate::window::Stamp;
use crate::window::under_way::UnderWay;

impl Inner {
    /// Counts the start of a call whose outcome will count. If the call is the first of its time bucket, also checks
    /// the hanging calls. Returns true if the era of `word` is over after this check. The gate must then decide on the
    /// call in the new era.
    pub(super) fn note_start(&self, word: Word, started: Tick) -> bool {
        let Some(under_way) = self.under_way() else { return false };
        under_way.start(Stamp { era: word.era(), now: started }) && self.opens_by_hanging(word, started)
    }

    /// Removes a call of the present era from the calls under way, because the service has answered or the call has
    /// ended. The caller adds the outcome to the window only afterwards, so that no call is counted twice. Does nothing
    /// if the answer has removed the call already.
    #[inline]
    pub(super) fn note_end(&self, word: Word, mark: Mark, started: Tick) {
        if let Some(under_way) = self.under_way().filter(|_| mark.awaits_answer()) {
            under_way.end(Stamp { era: word.era(), now: started });
            // Release, which pairs with the Acquire in `under_way_after_window`. A thread that sees the call in the
            // window does not see the call among the hanging calls, so that the call is never counted twice.
            fence(Release);
        }
    }

    /// Returns the number of calls of the era that have been under way for `slower_than` or longer. A caller that also
    /// reads the window must read the window first, so that no call is counted twice.
    pub(super) fn hanging(&self, word: Word, now: Tick) -> u64 {
        self.under_way_after_window(word).map_or(0, |under_way| under_way.hanging(word.era(), now))
    }

    /// Returns the number of calls of the era that began to hang no longer ago than the duration of the window. These
    /// calls are evidence for the slow-call rule. A caller that also reads the window must read the window first, so
    /// that no call is counted twice.
    pub(super) fn hanging_lately(&self, word: Word, now: Tick) -> u64 {
        self.under_way_after_window(word).map_or(0, |under_way| under_way.hanging_lately(word.era(), now))
    }

    fn under_way_after_window(&self, word: Word) -> Option<&UnderWay> {
        let under_way = self.under_way().filter(|_| word.counts_calls())?;
        // Acquire, which pairs with the Release in `note_end`.
        fence(Acquire);
        Some(under_way)
    }

    /// Opens the circuit if the hanging calls meet the slow-call rule. For callers that have no outcome to weigh, such
    /// as a status or a refresh of the metrics.
    pub(super) fn open_if_hanging(&self) {
        let word = self.load();
        if word.is_watched() {
            self.opens_by_hanging(word, self.now());
        }
    }

    /// Opens the circuit if the calls that hang at the time `at` meet the slow-call rule. Returns true if the era of
    /// `word` is over afterwards. Returns false if no call hangs.
    #[cold]
    #[inline(never)]
    fn opens_by_hanging(&self, word: Word, at: Tick) -> bool {
        if self.hanging_lately(word, at) == 0 {
            return false;
        }
        let (era, now) = (word.era(), self.now());
        let tally = self.tally(era, now);
        let age = now.saturating_since(self.entered());
        let hanging = self.hanging_lately(word, at);
        let seen = Situation { run: self.run.get(era), tally, hanging, age, has_outcome: false };
        if let Some(reason) = self.met(&seen, now) {
            self.count_absent();
            if !self.is_suppressed_again(word, now) {
                self.trip(word, now, reason, || None);
            }
        }
        self.load().era() != era
    }

    /// Returns the interval at which the runner of a health probe checks the hanging calls of a closed circuit. `None`
    /// without a slow-call rule.
    pub(super) fn looks_every(&self) -> Option<Duration> {
        self.config.rules.slow_call_rate.map(|(_, slower_than)| slower_than.max(SHORTEST_LOOK))
    }

    /// Resets the counts of the calls under way for a new era. The caller holds the cold mutex and publishes the era
    /// after this call.
    pub(super) fn begin_under_way(&self, era: u64) {
        if let Some(under_way) = self.under_way() {
            under_way.begin(era);
        }
    }
}

/// The shortest interval at which the runner of a health probe checks the hanging calls.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
