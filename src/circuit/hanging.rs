//! Calls that hang, which count as slow before they end.
//!
//! A slow call is known only at its end. A service that answers nothing would therefore be called until the first
//! timeouts of the callers, which can be half a minute. So with a slow-call rule, a call that has been under way for
//! `slower_than` or longer counts as a call and as a slow call, in addition to the calls that have ended. When the call
//! ends, its place in the window replaces its place among the hanging calls. An end in a later era changes nothing.
//! Only the slow-call rule counts hanging calls, because a hanging call is no failure yet. The rule counts a hanging
//! call for the length of the window, which is as long as a call that has ended counts. So long polls do not outnumber
//! other calls. A window of the last calls has no length, and then the rule counts a hanging call for ten seconds.
//!
//! `window/under_way.rs` counts the calls, and this file decides when the rule is checked. Time makes calls hang, but a
//! timer for each circuit would cost more than the rule is worth. Therefore the first call of each bucket checks the
//! rule, and so does every outcome that is weighed. Without any calls the rule is checked by a status, a refresh of the
//! metrics, the runner of a health probe, and once a second the task of a registry with a store. If a call opens the
//! circuit by this check, the gate decides on the call, and rejects the call unless the circuit is in shadow.
//!
//! Only calls of a closed circuit hang. Probes have a deadline of their own, and calls that count in no window do not
//! count as hanging either. A call whose service has answered, and whose body is still streamed, does not hang, because
//! a slow reader or a stream without end says nothing about the service.
//!
//! A circuit without the rule has no counts. The admission of its calls needs no further test, because one bit of the
//! word keeps the calls of a circuit with the rule from the shortest path ([`Word::passes_at_once`]).

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
    /// Counts the start of a call whose outcome will count, and checks the hanging calls if the call is the first of
    /// its bucket of time. Returns true if the era is over after this check, so that the gate must decide on the call
    /// in the new era.
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

    /// Returns the number of calls of the era that have begun to hang within the length of the window, which are
    /// evidence for the slow-call rule. A caller that also reads the window must read the window first.
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

    /// Opens the circuit if the calls that hang at the time `at` meet the slow-call rule. Returns true if the era is
    /// over after this check. Without hanging calls, returns false.
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

    /// Begins an era with no calls under way. The caller holds the cold mutex and publishes the era after this call.
    pub(super) fn begin_under_way(&self, era: u64) {
        if let Some(under_way) = self.under_way() {
            under_way.begin(era);
        }
    }
}

/// The shortest interval at which the runner of a health probe checks the hanging calls.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
