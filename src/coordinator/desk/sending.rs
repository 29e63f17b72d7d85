//! The times at which one desk may write.
//!
//! [`Sending`] gives each desk its own backoff after a failed write. The link to the store has another backoff, for all
//! desks. `write.rs` decides the content of a write, and the task runs the operation.

use std::time::Duration;

use crate::clock::Tick;
use crate::coordinator::link::backoff;
use crate::random::Dice;
use crate::store::StoreErrorKind;

/// The state of the writes of one desk. A write is a compare-and-set or a deletion.
#[derive(Debug)]
pub(super) struct Sending {
    /// True while a write is under way. Set by `begin`, and cleared by `end` and `abandon`.
    in_flight: bool,
    /// The number of writes that have begun, plus the number of writes that have ended. If the number has increased
    /// since a load began, the answer to that load is old.
    turn: u64,
    /// The number of writes in a row that met a conflict. Set to zero by `written`, and by `conflicted` after
    /// `MANY_CONFLICTS` conflicts.
    conflicts: u32,
    /// The number of writes in a row that failed. Set to zero by `written` and `deleted`.
    failures: u32,
    /// The earliest time of the next write. `failed`, `conflicted`, `pause` and `wait_until` set this time, and `hurry`
    /// ends the wait.
    retry_at: Tick,
    /// The highest generation or sequence that this desk has proposed in a write, even in a write without an answer.
    /// Later proposals use higher numbers. `propose` raises the number.
    proposed: u64,
}

impl Sending {
    pub(super) const fn new(turn: u64) -> Self {
        Self { in_flight: false, turn, conflicts: 0, failures: 0, retry_at: Tick::ZERO, proposed: 0 }
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    pub(super) const fn turn(&self) -> u64 {
        self.turn
    }

    pub(super) const fn proposed(&self) -> u64 {
        self.proposed
    }

    /// Returns true if a write may begin.
    pub(super) fn is_free(&self, now: Tick) -> bool {
        !self.in_flight && now >= self.retry_at
    }

    /// Returns the time until which the next write waits. `None` if the next write need not wait, or if a write is
    /// under way.
    pub(super) fn waits_until(&self, now: Tick) -> Option<Tick> {
        (!self.in_flight && self.retry_at > now).then_some(self.retry_at)
    }

    /// Notes the generation and the sequence that a write proposes for the record.
    pub(super) fn propose(&mut self, generation: u64, sequence: u64) {
        self.proposed = self.proposed.max(generation).max(sequence);
    }

    /// Notes the beginning of a write.
    pub(super) fn begin(&mut self) {
        self.in_flight = true;
        self.turn += 1;
    }

    /// Notes the end of a write, with any result.
    pub(super) fn end(&mut self) {
        self.in_flight = false;
        self.turn += 1;
    }

    /// Notes that no write is under way any more. The task has ended, and the answer to its write is lost.
    pub(super) fn abandon(&mut self) {
        self.in_flight = false;
    }

    /// Notes that the store has made the write.
    pub(super) fn written(&mut self) {
        self.conflicts = 0;
        self.failures = 0;
    }

    /// Notes that the store has no record any more.
    pub(super) fn deleted(&mut self) {
        self.failures = 0;
    }

    /// Delays the next write after a conflict. `took` is the duration of the write, and `others` is the number of other
    /// instances that write at present.
    ///
    /// After an odd number of conflicts in a row, the next write begins immediately, because the answer to the last
    /// write has brought the present version. After an even number, the desk waits a random time if other instances
    /// write, so that the instances do not all write at once. After this wait, the known version is old. The next write
    /// therefore probably conflicts too, but brings the present version, and the following write begins immediately.
    ///
    /// The longest random time is twice `took`, multiplied by the number of other instances. After n conflicts in a
    /// row, this number is set to at least 2ⁿ.
    ///
    /// After [`MANY_CONFLICTS`] conflicts in a row, the desk waits even if no other instance seems to write. The
    /// longest random time is then at least ten times `took`. No wait is longer than [`LONGEST_WAY`].
    pub(super) fn conflicted(&mut self, took: Duration, others: u32, now: Tick, dice: &mut Dice) {
        self.conflicts += 1;
        let waits = others > 0 && self.conflicts.is_multiple_of(2);
        let writers = if waits { others.max(1 << self.conflicts) } else { 0 };
        let mut longest = took.saturating_mul(writers.saturating_mul(2));
        if self.conflicts >= MANY_CONFLICTS {
            self.conflicts = 0;
            longest = longest.max(took.max(Duration::from_millis(10)).saturating_mul(10));
        }
        self.retry_at = now.saturating_add(longest.min(LONGEST_WAY).mul_f64(dice.share()));
    }

    /// Notes that the write has failed, and begins the backoff of this desk. The store may answer other operations and
    /// fail only this write. Then the link to the store has no backoff, so the desk needs a backoff of its own.
    pub(super) fn failed(&mut self, kind: StoreErrorKind, has_order: bool, now: Tick, dice: &mut Dice) {
        self.failures = self.failures.saturating_add(1);
        let mut wait = backoff(self.failures, dice);
        if kind.is_lasting() {
            // A refused write waits longer than a failed write, because the store would refuse the next attempt too. A
            // caller may wait for the result of an order, so a write with an order takes the shorter of the two waits.
            let longer = REFUSED_AGAIN.mul_f64(0.5 + dice.share());
            wait = if has_order { wait.min(longer) } else { longer };
        }
        self.retry_at = now.saturating_add(wait);
    }

    /// Notes that the record cannot be written at present. The desk tries again after a minute.
    pub(super) fn pause(&mut self, now: Tick) {
        self.retry_at = now.saturating_add(UNWRITABLE_AGAIN);
    }

    /// Delays the next write until this time, unless the write already waits longer.
    pub(super) fn wait_until(&mut self, at: Tick) {
        self.retry_at = self.retry_at.max(at);
    }

    /// Lets the next write begin now.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.retry_at = self.retry_at.min(now);
    }
}

/// The number of conflicts in a row after which the desk waits even if no other instance seems to write.
const MANY_CONFLICTS: u32 = 8;
/// The longest wait after a conflict.
const LONGEST_WAY: Duration = Duration::from_secs(2);
/// The mean wait after a refused write. The actual wait is 50 % to 150 % of this time.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);
/// The wait before the next attempt to write a record that cannot be encoded, or that a later version of this crate has
/// written.
const UNWRITABLE_AGAIN: Duration = Duration::from_secs(60);
