//! Makes the transitions of a circuit (trip, reopen, probe, close, change of mode). If several threads want to make a
//! transition, one thread wins. The winner writes the data of the new era under the cold mutex, and then publishes the
//! atomic word.
//!
//! A thread plans a change for the word that the thread has loaded. If a new era has begun since, another thread has
//! won, and the planned change is dropped. The observers are notified after the lock is released, because observers are
//! foreign code.
//!
//! At the beginning of a half-open era, the patience of the era is set. The patience is the time after which the
//! circuit opens again if a probe is overdue and no probe has succeeded.
//!
//! The trip rules are in `trip_rules`. The transitions are requested by `admit`, `adopt`, `at_once`, `hanging`,
//! `health`, `notify`, `operate`, `outcomes` and `verdict`.

use std::sync::Arc;
use std::time::Duration;

use super::cold::{Cold, Since};
use super::failed::Failed;
use super::inner::Inner;
use super::trip_rules;
use super::word::Word;
use crate::clock::Tick;
use crate::config::{LONGEST_RETRY_AFTER, Recovery};
use crate::state::order::To;
use crate::state::order_hash::OrderHash;
use crate::state::{Act, EarlierReason, Generation, Mode, Reason, Standing, State, Transition};
use crate::sync::{MutexGuard, Relaxed, Release};
use crate::window::{Tally, run};

/// The data with which an era begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) standing: Standing,
    pub(super) reason: Reason,
    pub(super) now: Tick,
    /// The end of the open duration, if the new state is open. `None` if the circuit stays open until an operator
    /// resets it.
    pub(super) open_until: Option<Tick>,
    /// The end of the hold, if the new mode is a hold. `None` if the hold lasts until an operator ends the hold.
    pub(super) hold_until: Option<Tick>,
    /// The `earlier` reason of the snapshot from which the new state comes. `None` without a snapshot, or if the
    /// snapshot has no `earlier` reason.
    pub(super) earlier: Option<Arc<EarlierReason>>,
    /// The time since the beginning of the state that the reason `earlier` explains.
    pub(super) earlier_for: Option<Duration>,
    /// The time for which the new state has already lasted on another instance or before a restart. `None` without a
    /// snapshot.
    pub(super) state_for: Option<Duration>,
    /// The time since an operator gave the order that begins the hold. `None` if no such order makes the transition,
    /// for example if the hold comes from a snapshot.
    pub(super) hold_for: Option<Duration>,
    /// The time since the circuit closed on another instance or before a restart. `None` if the closed state does not
    /// come from a snapshot.
    pub(super) closed_for: Option<Duration>,
    /// The failure that opens the circuit, or keeps the circuit open for longer. `None` if no single failure is the
    /// cause.
    pub(super) failure: Option<Failed>,
    /// The weight of the run (the failures since the last success) at the start of the era. Zero without a snapshot.
    pub(super) run: u64,
    /// The sums of the window at the start of the era. Empty without a snapshot.
    pub(super) tally: Tally,
    /// The number of successful probes at the start of the era. Zero without a snapshot.
    pub(super) successes: u32,
    /// The time since the circuit left the closed state or was tripped by an operator, if this happened before the
    /// present transition. The time comes from a snapshot, or is the age of an operator's order to trip. `None` for
    /// other transitions. If one of these other transitions trips the circuit, the time begins now.
    pub(super) tripped_for: Option<Duration>,
    /// The id and the hash of the order that makes the transition. `None` without an order, or if the order has no id.
    pub(super) order: Option<(Arc<str>, OrderHash)>,
    /// The state to which an operator resets the circuit. A healthy circuit may stay closed after a reset to half-open.
    /// `None` if the transition is not a reset.
    pub(super) resets_to: Option<To>,
    /// True if the coordinator logs the transition. The observer for logs then skips the transition.
    pub(super) is_logged: bool,
}

impl Plan {
    pub(super) const fn new(standing: Standing, reason: Reason, now: Tick) -> Self {
        Self {
            standing,
            reason,
            now,
            open_until: None,
            hold_until: None,
            earlier: None,
            earlier_for: None,
            state_for: None,
            hold_for: None,
            closed_for: None,
            failure: None,
            run: 0,
            tally: Tally::EMPTY,
            successes: 0,
            tripped_for: None,
            order: None,
            resets_to: None,
            is_logged: false,
        }
    }
}

impl Inner {
    /// Makes the change from `plan` and notifies the observers, if the circuit is still in the era of `expected`.
    ///
    /// `plan` runs under the lock. Returns the transition, or `None` if another era has begun or `plan` returns `None`.
    /// The comparison uses the era and not the whole word, because a word can change within an era, for example when a
    /// wait for a restore ends. Such a change does not make the plan invalid.
    pub(super) fn change(&self, expected: Word, plan: impl FnOnce(&mut Cold) -> Option<Plan>) -> Option<Transition> {
        self.change_any(|cold, word| if word.era() == expected.era() { plan(cold) } else { None })
    }

    /// Makes the change from `plan` in any era, and notifies the observers. `plan` runs under the lock and gets the
    /// present word. Returns the transition, or `None` if `plan` returns `None`.
    pub(super) fn change_any(&self, plan: impl FnOnce(&mut Cold, Word) -> Option<Plan>) -> Option<Transition> {
        let mut cold = self.cold.lock();
        // Relaxed, because the word changes only under the lock, which this thread holds.
        let word = Word::from_bits(self.word.load(Relaxed));
        let plan = plan(&mut cold, word)?;
        let transition = self.enter(cold, word, plan);
        self.wakers.wake();
        // Wakers and observers are foreign code, so `enter` has released the lock before.
        self.report_transitions();
        Some(transition)
    }

    /// Begins the next era: writes the data of the era, publishes the word, and releases the lock. Returns the
    /// transition.
    fn enter(&self, mut cold: MutexGuard<'_, Cold>, from: Word, plan: Plan) -> Transition {
        let Plan { standing, reason, now, open_until, hold_until, failure, run, tally, .. } = plan;
        let Plan {
            successes,
            tripped_for,
            order,
            resets_to,
            earlier,
            earlier_for,
            state_for,
            hold_for,
            closed_for,
            is_logged,
            ..
        } = plan;
        let (failure, failure_text) = failure.map_or((None, None), |failed| (Some(failed.kind), failed.text));
        let to = from.next(standing);
        let rejected = self.rejected();
        let ends = match standing {
            Standing { mode, .. } if mode.is_hold() => hold_until,
            Standing { state: State::Open, .. } => open_until,
            Standing { .. } => None,
        };
        if !from.standing().is_tripped() {
            // A transition reports only the rejections since the trip. The number of earlier rejections, for example by
            // a ramp, is kept here. This transition and the later transitions of the outage subtract that number.
            cold.rejected_before = rejected;
        }
        let tripped_by_hand = matches!(reason, Reason::Operator { act: Act::Trip, .. });
        let lasted = now.saturating_since(self.entered());
        let past = cold.past_mut();
        let reason = reason.counted_from_the_begin(past.state_before, past.hold_before);
        let goes_on = standing.state == State::Open && from.state() == State::Open;
        let before = if goes_on { past.state_before.saturating_add(lasted) } else { Duration::ZERO };
        past.state_before = state_for.unwrap_or(before);
        let goes_on = standing.mode.is_hold() && standing.mode == from.mode();
        let before = if goes_on { past.hold_before.saturating_add(lasted) } else { Duration::ZERO };
        past.hold_before = hold_for.unwrap_or(before);
        if !has_left_closed(standing) {
            past.tripped = None;
        } else if tripped_by_hand || !has_left_closed(from.standing()) {
            past.tripped = Some(Since::new(now, tripped_for.unwrap_or_default()));
        }
        past.latest = Generation::new(past.latest.get().saturating_add(1));
        let order = order.map(|(id, hash)| {
            past.remember(&id, Some(hash));
            id
        });
        let transition = Transition {
            from: from.standing(),
            to: standing,
            reason,
            earlier,
            era: to.era(),
            generation: cold.generation,
            at: now,
            wall: self.config.clock.wall(),
            lasts: ends.map(|ends| ends.saturating_since(now)),
            attempt: cold.attempt,
            tally: self.tally(from.era(), now),
            failure,
            failure_text,
            rejected: rejected.saturating_sub(cold.rejected_before),
            bypassed: to.bypassed(),
            order,
            resets_to,
            is_logged,
        };
        if cold.history.len() == HISTORY {
            cold.history.pop_front();
        }
        cold.history.push_back(transition.clone());
        cold.past_mut().note_opening(&transition, earlier_for);

        // `closed_for` is the time spent closed, which reduces the number of openings in a row. An opening sets this
        // time to zero. Other transitions add the duration of the old era, if the circuit counted calls in the old era.
        if standing.state == State::Open && from.state() != State::Open {
            cold.closed_for = Duration::ZERO;
        } else if from.counts_calls() {
            cold.closed_for = cold.closed_for.saturating_add(now.saturating_since(self.entered()));
        }

        // The circuit is closed on trust if it closes before enough probes have succeeded, and some probes have ended
        // without a verdict.
        let has_gaps = matches!(transition.reason, Reason::NoVerdict { .. })
            || matches!(transition.reason, Reason::QuietService { .. }) && self.probes.verdict(from.era()).has_gaps();
        let on_trust = has_gaps && standing.state == State::Closed;
        // Relaxed, because the Release store of the word below publishes these values.
        self.entered.store(now.as_nanos(), Relaxed);
        // Each deadline is overwritten only if the new era uses the deadline. Otherwise a thread that still has the old
        // word could read `NEVER`, and reject a call as if the circuit stayed open for ever.
        if standing.state == State::Open {
            self.open_until.store(open_until.unwrap_or(Tick::NEVER).as_nanos(), Relaxed);
        }
        if standing.mode.is_hold() {
            self.hold_until.store(hold_until.unwrap_or(Tick::NEVER).as_nanos(), Relaxed);
        }
        self.run.begin(to.era(), run::Seen { weight: run, on_trust });
        self.evidence.begin(to.era());
        self.begin_under_way(to.era());
        self.evidence.seed(to.era(), now, tally);
        // The patience is the time that a half-open era waits for a first success. The reason `NoSuccess` doubles the
        // patience of the next half-open era. The reasons `WaitElapsed` and `NoVerdict` keep the patience. Every other
        // reason resets the patience.
        if let Reason::NoSuccess { .. } = transition.reason {
            cold.overdue = cold.overdue.saturating_add(1).min(MOST_OVERDUE);
        } else if !matches!(transition.reason, Reason::WaitElapsed { .. } | Reason::NoVerdict { .. }) {
            cold.overdue = 0;
        }
        let probing = &self.config.probes;
        // The patience is twice the probe deadline, and is doubled for each successive half-open era without a success.
        let patience = probing.deadline.saturating_mul(2 << cold.overdue);
        // Enough successes close the circuit only at the end of a probe. Therefore the restored successes are limited,
        // so that at least one more success is needed.
        self.probes.begin(to.era(), successes.min(probing.successes - 1), patience);
        self.leave_alone_until.begin(to.era(), 0);
        let to = self.begin_limit(from, to, &transition.reason, (closed_for, tally), now);
        if let Some(health) = self.health() {
            health.begin(from, to.era(), &transition);
        }
        if let Some(checks) = cold.checks_if_any_mut() {
            checks.note(&transition);
        }
        // Summaries of rejections also begin if the circuit is reset to half-open or restored as half-open, because a
        // half-open circuit rejects calls too.
        if standing.is_open() || to.is_limited() || standing.is_tripped() && !from.standing().is_tripped() {
            self.begin_summaries(now);
        }
        // Release, which pairs with the Acquire in `load`. A thread that sees the new era sees all data written above.
        self.word.store(to.bits(), Release);
        if standing.state == State::Closed {
            // Gives the open slot (the permission of the group to leave the closed state) back after the store of the
            // word. Therefore no other circuit of the group opens before this circuit is closed.
            drop(cold.slot_back());
        }
        transition
    }

    /// Opens a closed circuit for this reason, unless the group of the circuit has no free open slot.
    pub(super) fn trip(&self, expected: Word, now: Tick, reason: Reason, failed: impl FnOnce() -> Option<Failed>) {
        self.count_absent();
        if self.finds_no_slot(expected) {
            return self.suppress(expected.era(), now, &reason);
        }
        // The text of the failure is written before the mutex is taken, because the code of an error type is foreign
        // code.
        let failure = failed();
        let mut suppressed = None;
        self.change(expected, |cold| {
            if !self.take_slot(cold, expected) {
                suppressed = Some(reason);
                return None;
            }
            cold.attempt = self.openings_that_count(cold, expected, now);
            Some(self.open(cold, expected, now, reason, failure))
        });
        if let Some(reason) = suppressed {
            self.suppress(expected.era(), now, &reason);
        }
    }

    /// Returns the number of earlier openings in a row that still count if the circuit trips now. The time spent closed
    /// reduces the number. The number is not reduced during the time on trust or during a ramp, because these times do
    /// not show that the service has recovered.
    pub(super) fn openings_that_count(&self, cold: &Cold, word: Word, now: Tick) -> u32 {
        if word.state() != State::Closed || self.run.get(word.era()).on_trust || self.ramp_left(now).is_some() {
            return cold.attempt;
        }
        let era = if word.counts_calls() { now.saturating_since(self.entered()) } else { Duration::ZERO };
        trip_rules::decayed(cold.attempt, cold.last_open, cold.closed_for.saturating_add(era))
    }

    /// Opens a half-open circuit again.
    pub(super) fn reopen(&self, expected: Word, now: Tick, reason: Reason, failure: Option<Failed>) {
        self.change(expected, |cold| {
            // `take_slot` always returns true here, because a half-open circuit needs no free slot to open again.
            self.take_slot(cold, expected).then(|| self.open(cold, expected, now, reason, failure))
        });
    }

    /// Plans a change to open. The circuit stays open for the configured duration or for the `Retry-After` of the
    /// service, whichever is longer.
    fn open(&self, cold: &mut Cold, from: Word, now: Tick, reason: Reason, failure: Option<Failed>) -> Plan {
        let era = from.era();
        cold.attempt = cold.attempt.saturating_add(1).min(self.config.open.last_attempt());
        let alone_until = Duration::from_millis(self.leave_alone_until.get(era).unwrap_or(0));
        let floor = self.entered().saturating_add(alone_until).saturating_since(now);
        // The limit of a `Retry-After` is enforced again, because the clock may have jumped back since the failure.
        let floor = floor.min(LONGEST_RETRY_AFTER);
        cold.last_open = self.config.open.of(cold.attempt, self.random(era)).max(floor);
        cold.past_mut().leave_alone_until = now.saturating_add(floor);
        let mut plan = Plan::new(Standing::new(State::Open, from.mode()), reason, now);
        plan.failure = failure;
        if self.config.recovery == Recovery::Automatic {
            plan.open_until = Some(now.deadline(cold.last_open));
        }
        plan
    }

    /// Changes an open or forced open circuit to half-open.
    pub(super) fn half_open(&self, expected: Word, now: Tick, reason: Reason) {
        self.change(expected, |_| Some(Self::probing(expected, now, reason)));
    }

    /// Plans a change to half-open. If an operator holds the circuit, the hold ends, and the new mode is the mode
    /// beneath the hold.
    pub(super) fn probing(from: Word, now: Tick, reason: Reason) -> Plan {
        Plan::new(Standing::new(State::HalfOpen, from.beneath()), reason, now)
    }

    /// Closes a half-open circuit.
    pub(super) fn close(&self, expected: Word, now: Tick, reason: Reason) {
        self.change(expected, |_| Some(Plan::new(Standing::new(State::Closed, expected.mode()), reason, now)));
    }

    /// Ends a hold. From then on, the state beneath the hold decides about calls.
    pub(super) fn uncover(&self, expected: Word, now: Tick, reason: Reason) {
        self.change(expected, |_| Some(self.over_the_same_state(expected, expected.beneath(), reason, now)));
    }

    /// Plans a change of the mode. The state and the end of the open duration stay the same.
    pub(super) fn over_the_same_state(&self, from: Word, mode: Mode, reason: Reason, now: Tick) -> Plan {
        let mut plan = Plan::new(Standing::new(from.state(), mode), reason, now);
        plan.open_until = self.open_until().known();
        plan
    }
}

/// Returns true if the state is not closed, or if the circuit is forced open. Unlike [`Standing::is_tripped`], this
/// function also returns true for a disabled circuit if the state beneath the hold is not closed.
fn has_left_closed(standing: Standing) -> bool {
    standing.mode == Mode::ForcedOpen || standing.state != State::Closed
}

/// The largest number of doublings of the patience (the time that a half-open era waits for a first success). The
/// longest patience is 64 times the probe deadline.
const MOST_OVERDUE: u8 = 5;
/// The largest number of transitions in the history of a circuit.
const HISTORY: usize = 128;
