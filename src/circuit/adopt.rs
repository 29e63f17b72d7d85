//! The seam to what outlives a process: a snapshot out, a snapshot in.

use core::time::Duration;

use super::Circuit;
use super::change::Plan;
use super::word::Word;
use crate::clock::Tick;
use crate::config::Recovery;
use crate::outcome::{UNIT, score_from_units};
use crate::state::{Reason, Snapshot, Standing, State, Transition};

impl Circuit {
    /// Returns what of the circuit outlives the process.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        // Under the lock no transition comes between the parts.
        let cold = inner.cold.lock();
        let (word, now) = (inner.load(), inner.now());
        let left = |until: Tick| (until != Tick::NEVER).then(|| until.saturating_since(now));
        Snapshot {
            state: word.state(),
            mode: word.mode(),
            generation: cold.generation,
            open_for: left(inner.open_until()).filter(|_| word.state() == State::Open),
            held_for: left(inner.hold_until()).filter(|_| word.mode().is_hold()),
            attempt: cold.attempt,
            probe_successes: inner.probes.verdict(word.era()).successes,
            run: score_from_units(inner.run.weight(word.era())),
        }
    }

    /// Takes over a snapshot, of this circuit's past or of another instance, with the reason that is then told.
    ///
    /// If state, mode and deadlines are what they were (to a quarter of a second), only the generation is taken: the era goes
    /// on, and calls under way still count. Otherwise a new era begins, and the transition is returned. Nothing in a snapshot
    /// is trusted: an opening lasts no longer than this circuit's own could, and as long as its own would if it does not say;
    /// numbers that make no sense are zero.
    pub fn adopt(&self, snapshot: &Snapshot, reason: Reason) -> Option<Transition> {
        let inner = self.inner();
        let now = inner.now();
        let own = inner.config.open.of(snapshot.attempt.max(1), inner.random(snapshot.generation.get()));
        let open_for = snapshot.open_for.unwrap_or(own).min(inner.config.open.longest());
        inner.change_any(|cold, word| {
            cold.generation = snapshot.generation;
            let plan = self.planned(snapshot, reason, now, open_for);
            if self.is_already(word, &plan) {
                return None;
            }
            cold.attempt = snapshot.attempt;
            // How long the last opening was is not told, only what is left of it: less would let the attempts decay too soon.
            cold.last_open = if snapshot.state == State::Open { open_for.max(own) } else { own };
            Some(plan)
        })
    }

    fn planned(&self, snapshot: &Snapshot, reason: Reason, now: Tick, open_for: Duration) -> Plan {
        let mut plan = Plan::new(Standing::new(snapshot.state, snapshot.mode), reason, now);
        if snapshot.state == State::Open && self.inner().config.recovery == Recovery::Automatic {
            plan.open_until = now.saturating_add(open_for);
        }
        if snapshot.mode.is_hold() {
            plan.hold_until = snapshot.held_for.map_or(Tick::NEVER, |hold| now.saturating_add(hold));
        }
        if snapshot.state == State::Closed {
            plan.run = units(snapshot.run);
        }
        if snapshot.state == State::HalfOpen {
            plan.successes = snapshot.probe_successes;
        }
        plan
    }

    fn is_already(&self, word: Word, plan: &Plan) -> bool {
        let close = |a: Tick, b: Tick| {
            // When a deadline has passed, it no longer matters when it did.
            let (a, b) = (a.max(plan.now), b.max(plan.now));
            let apart = a.saturating_since(b).max(b.saturating_since(a));
            apart <= SAME_DEADLINE
        };
        let inner = self.inner();
        // A run brought along must not vanish because the circuit is closed already, as it is at a restore.
        let brings_evidence =
            plan.run > inner.run.weight(word.era()) || plan.successes > inner.probes.verdict(word.era()).successes;
        word.standing() == plan.standing
            && (word.state() != State::Open || close(inner.open_until(), plan.open_until))
            && (!word.mode().is_hold() || close(inner.hold_until(), plan.hold_until))
            && !(brings_evidence && plan.reason == Reason::Restored)
    }
}

/// Turns a score of a record into 1/256; nonsense is nothing.
fn units(score: f64) -> u64 {
    if !score.is_finite() || score <= 0.0 {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and a cast saturates")]
    let units = (score * f64::from(UNIT)).round() as u64;
    units
}

/// Two deadlines that went through a record and a clock's offset are the same if they are this close.
const SAME_DEADLINE: Duration = Duration::from_millis(250);
