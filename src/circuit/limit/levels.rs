//! The effect of criticality in a limited or half-open circuit. Less critical calls are rejected first, and are the
//! first probes.
//!
//! A limited circuit makes a random draw for each call. A lost draw requires one rejection, but perhaps of a later
//! call. Until then the circuit *owes* a rejection. A call *pays* if it is rejected for a lost draw. If the circuit
//! owes a rejection, the next sheddable call pays. A more critical call pays at once only if no less critical call has
//! come lately. Otherwise a more critical call pays only when many rejections are owed, because the less critical calls
//! are then too few to pay for all lost draws. So the share of admitted calls stays the same, and critical calls are
//! rejected last.
//!
//! A half-open circuit takes its probes from less critical calls, because a probe may fail. A more critical call leaves
//! a free slot to less critical calls while they come, for 5 s at most. There is one exception. Once the circuit has
//! opened again from half-open, every call may be a probe until the circuit closes, because perhaps only the less
//! critical calls fail.
//!
//! ```text
//! word   63..48 owed rejections | 47..32 calls of the limit
//!        31..16 calls since the last sheddable call | 15..0 calls since the last standard call
//! ```

use std::time::Duration;

use crate::clock::Tick;
use crate::state::{Criticality, State};
use crate::sync::{AtomicBool, AtomicU64, Relaxed};

/// The number of owed rejections (lost draws for which no call was rejected yet), and the criticality of the last
/// calls.
#[derive(Debug, Default)]
pub(super) struct Levels {
    word: AtomicU64,
    /// True once a limited or half-open circuit has had a call that is not standard. A limit then begins with the
    /// assumption that every criticality has calls.
    has_levels: AtomicBool,
    /// True if the circuit has opened from half-open since the circuit was last closed.
    has_failed_round: AtomicBool,
    /// The time of the last sheddable call, and the time of the last standard call, while the circuit was half-open. In
    /// nanoseconds of the clock.
    seen: [AtomicU64; 2],
}

impl Levels {
    /// Returns true if this call, or an earlier call of the circuit, is not standard.
    fn expects(&self, criticality: Criticality) -> bool {
        // Relaxed, because the flag publishes no other data.
        if self.has_levels.load(Relaxed) {
            return true;
        }
        if criticality == Criticality::Standard {
            return false;
        }
        // Relaxed, for the same reason.
        self.has_levels.store(true, Relaxed);
        self.begin();
        true
    }

    /// Drops the owed rejections (lost draws for which no call was rejected yet), because a limit is over.
    pub(super) fn end(&self) {
        // Relaxed, because the flag publishes no other data.
        if self.has_levels.load(Relaxed) {
            self.begin();
        }
    }

    /// Drops the owed rejections (lost draws for which no call was rejected yet), because a limit begins.
    pub(super) fn begin(&self) {
        // Relaxed, because the word publishes no other data. A thread that still counts a call of the previous limit
        // changes the new number of owed rejections by at most one.
        self.word.store(if self.has_levels.load(Relaxed) { ALL_LATELY } else { NONE_LATELY }, Relaxed);
    }

    /// Counts a call, and returns true if the call pays for a lost draw (is rejected). `is_lost` is true if the draw of
    /// this call was lost, and `is_ramp` is true during a ramp.
    pub(super) fn pays(&self, criticality: Criticality, is_lost: bool, is_ramp: bool) -> bool {
        if !self.expects(criticality) {
            return is_lost;
        }
        let mut pays = false;
        // Relaxed, because the word publishes no other data.
        let _before = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let (next, paid) = counted(word, criticality, is_lost, is_ramp);
            pays = paid;
            Some(next)
        });
        pays
    }

    /// Notes in `has_failed_round` if a transition opens the circuit from half-open, or closes the circuit.
    pub(super) fn moved(&self, from: State, to: State) {
        // Relaxed, because the flag publishes no other data.
        match (from, to) {
            (_, State::Closed) => self.has_failed_round.store(false, Relaxed),
            (State::HalfOpen, State::Open) => self.has_failed_round.store(true, Relaxed),
            _ => {}
        }
    }

    /// Returns true if the call must leave a free slot of a half-open circuit to less critical calls. Also notes the
    /// time of a sheddable or standard call.
    pub(super) fn leaves_probe(&self, criticality: Criticality, half_open_for: Duration, now: Tick) -> bool {
        // Relaxed, because the flag publishes no other data.
        if !self.expects(criticality) || half_open_for > PROBES_LEFT_FOR || self.has_failed_round.load(Relaxed) {
            return false;
        }
        // Relaxed, because the times publish no other data.
        let is_recent = |seen: &AtomicU64| {
            let seen = Tick::from_nanos(seen.load(Relaxed));
            seen != Tick::ZERO && now.saturating_since(seen) < PROBES_LATELY
        };
        let [sheddable, standard] = &self.seen;
        // Relaxed, for the same reason.
        match criticality {
            Criticality::Sheddable => {
                sheddable.store(now.as_nanos(), Relaxed);
                false
            }
            Criticality::Standard => {
                // Relaxed, as the store above.
                standard.store(now.as_nanos(), Relaxed);
                half_open_for < PROBES_FIRST || is_recent(sheddable)
            }
            Criticality::Critical => half_open_for < PROBES_FIRST || is_recent(sheddable) || is_recent(standard),
        }
    }
}

/// Returns the word with the call counted, and true if the call pays for a lost draw (is rejected).
fn counted(word: u64, criticality: Criticality, is_lost: bool, is_ramp: bool) -> (u64, bool) {
    let (owed, calls) = (word >> OWED_SHIFT, word >> CALLS_SHIFT & SINCE);
    let (sheddable, standard) = (word >> SHEDDABLE_SHIFT & SINCE, word & SINCE);
    let is_recent = |since: u64| since < LATELY;
    let less_critical = match criticality {
        Criticality::Sheddable => 0,
        Criticality::Standard => u64::from(is_recent(sheddable)),
        Criticality::Critical => u64::from(is_recent(sheddable)) + u64::from(is_recent(standard)),
    };
    let owed = owed + u64::from(is_lost);
    let patience = if is_ramp { patience_in_ramp(calls) } else { PATIENCE };
    let pays = owed > less_critical * patience;
    let since = |since: u64, is_of: bool| if is_of { 0 } else { (since + 1).min(SINCE) };
    let next = (owed - u64::from(pays)).min(SINCE) << OWED_SHIFT
        | (calls + 1).min(SINCE) << CALLS_SHIFT
        | since(sheddable, criticality == Criticality::Sheddable) << SHEDDABLE_SHIFT
        | since(standard, criticality == Criticality::Standard);
    (next, pays)
}

/// Returns the value that replaces [`PATIENCE`] during a ramp. `calls` is the number of calls that the limit has
/// counted. Each owed rejection is a call that passed although its draw was lost. A ramp must admit few calls at its
/// start, so the value is small for the first calls.
fn patience_in_ramp(calls: u64) -> u64 {
    (calls / 16).clamp(4, PATIENCE)
}

/// The number of owed rejections (lost draws for which no call was rejected yet) above which a more critical call is
/// rejected, if one less critical level has had a call lately. If two less critical levels have had calls lately, the
/// number is twice as large. A smaller number would let chance reject critical calls. A larger number would let more
/// calls through before a rejection.
const PATIENCE: u64 = 64;
/// The number of calls after which a level (a criticality) counts as absent, if none of the calls had that level.
const LATELY: u64 = 64;
/// The time, after a less critical call, during which more critical calls leave a free slot to less critical calls.
const PROBES_LATELY: Duration = Duration::from_secs(1);
/// The time, at the start of a half-open era, during which a more critical call leaves a free slot even if no less
/// critical call has come.
const PROBES_FIRST: Duration = Duration::from_millis(100);
/// The age of a half-open era from which every call may be a probe.
const PROBES_LEFT_FOR: Duration = Duration::from_secs(5);
const OWED_SHIFT: u32 = 48;
const CALLS_SHIFT: u32 = 32;
const SHEDDABLE_SHIFT: u32 = 16;
const SINCE: u64 = 0xFFFF;
/// The initial word if the circuit has had a call that is not standard. No rejection is owed. Each level counts as
/// present for the next 16 calls, even if no call of that level comes. Otherwise an early critical call could be
/// rejected before a less critical call comes.
const ALL_LATELY: u64 = (LATELY - 16) << SHEDDABLE_SHIFT | (LATELY - 16);
/// The initial word if the circuit has had only standard calls. No rejection is owed, and no level has had a call
/// lately.
const NONE_LATELY: u64 = SINCE << SHEDDABLE_SHIFT | SINCE;
