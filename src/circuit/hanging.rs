//! Hanging calls, which count as slow calls before they end.
//!
//! Without this module a call would count as slow only when the call ends. If a service stops answering, no call ends
//! until the first callers time out, which can take half a minute. Therefore a circuit with a slow-call rule counts
//! hanging calls too. A call hangs if it has been under way for `slower_than` or longer. When the call ends, it enters
//! the window and no longer counts as hanging. A call that ends after its era (the time between two transitions)
//! changes nothing. A hanging call is no failure yet, so no other rule counts hanging calls. A call that has hung for
//! the duration of the window no longer counts. Otherwise long polls would outnumber the other calls. A window over a
//! number of calls has no duration. With such a window, a hanging call counts for ten seconds.
//!
//! `window/under_way.rs` counts the calls under way, and this file decides when the slow-call rule is checked. A timer
//! for each circuit would cost too much. Therefore the rule is checked by the first call of each time bucket, and by
//! every outcome that may trip the circuit. If no calls come, the rule is still checked by each read of the status, by
//! each refresh of the metrics, by the runner of a health probe, and once a second by the task of a registry with a
//! store. If the start of a call checks the rule and opens the circuit, that call is rejected, unless the circuit is in
//! shadow.
//!
//! Only calls of a closed circuit count as hanging. Probes have a deadline of their own. Calls whose outcome enters no
//! window do not count as hanging. A call stops counting as hanging when the service answers, even if the body is still
//! streamed, because a slow reader or a stream without end says nothing about the service.
//!
//! A circuit without a slow-call rule does not count the calls under way, and its calls need no additional test. The
//! rule sets a bit in the word of the circuit. The shortest path of a call tests the word once
//! ([`Word::passes_at_once`]), and this test includes the bit. If the bit is set, the call takes a longer path, which
//! counts the call.

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
    /// Adds a call to the calls under way. If the call is the first of its time bucket, also opens the circuit if the
    /// hanging calls meet the slow-call rule. Returns true if the era of `word` is over afterwards. The gate must then
    /// decide on the call again, in the new era.
    pub(super) fn note_start(&self, word: Word, started: Tick) -> bool {
        let Some(under_way) = self.under_way() else { return false };
        under_way.start(Stamp { era: word.era(), now: started }) && self.opens_by_hanging(word, started)
    }

    /// Removes a call of the present era from the calls under way. Runs when the service answers, and when the call
    /// ends. Does nothing at the end if the answer has removed the call already. The outcome must enter the window only
    /// after the removal, so that no reader counts the call twice.
    #[inline]
    pub(super) fn note_end(&self, word: Word, mark: Mark, started: Tick) {
        if let Some(under_way) = self.under_way().filter(|_| mark.awaits_answer()) {
            under_way.end(Stamp { era: word.era(), now: started });
            // Release, which pairs with the Acquire in `under_way_after_window`. A thread that finds the call in the
            // window no longer finds the call among the hanging calls, and so does not count the call twice.
            fence(Release);
        }
    }

    /// Returns the number of calls of the era of `word` that have been under way for `slower_than` or longer. Code that
    /// also reads the window must read the window first. Otherwise a call that ends between the two reads is counted
    /// twice.
    pub(super) fn hanging(&self, word: Word, now: Tick) -> u64 {
        self.under_way_after_window(word).map_or(0, |under_way| under_way.hanging(word.era(), now))
    }

    /// Returns the number of calls of the era of `word` that have begun to hang within the last window duration. The
    /// slow-call rule counts these calls as slow. Code that also reads the window must read the window first. Otherwise
    /// a call that ends between the two reads is counted twice.
    pub(super) fn hanging_lately(&self, word: Word, now: Tick) -> u64 {
        self.under_way_after_window(word).map_or(0, |under_way| under_way.hanging_lately(word.era(), now))
    }

    fn under_way_after_window(&self, word: Word) -> Option<&UnderWay> {
        let under_way = self.under_way().filter(|_| word.counts_calls())?;
        // Acquire, which pairs with the Release in `note_end`.
        fence(Acquire);
        Some(under_way)
    }

    /// Opens the circuit if the hanging calls meet the slow-call rule. Runs when there is no new outcome, for example
    /// for a status or a refresh of the metrics.
    pub(super) fn open_if_hanging(&self) {
        let word = self.load();
        if word.is_watched() {
            self.opens_by_hanging(word, self.now());
        }
    }

    /// Opens the circuit if the calls that hang at the time `at` meet the slow-call rule. Returns true if calls hang
    /// and the era of `word` is over afterwards.
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

    /// Resets the counts of the calls under way for a new era. The caller holds the cold mutex, and publishes the new
    /// era afterwards.
    pub(super) fn begin_under_way(&self, era: u64) {
        if let Some(under_way) = self.under_way() {
            under_way.begin(era);
        }
    }
}

/// The shortest interval at which the runner of a health probe checks the hanging calls.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
