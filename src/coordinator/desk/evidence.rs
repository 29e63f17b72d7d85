//! The call counts of one circuit in this instance, which the entry of this instance in the record stores.
//!
//! [`Evidence`] decides on the time and the content of the entry. The counts change with every failure, but a restart
//! that loses the counts of a few seconds does little harm. Therefore, except at a shutdown or an eviction, counts
//! alone are written at most every 12 s. A restart restores the state from the entry. Therefore a change of the state
//! is written at once, even if the change does not become the published state of the record because the state of
//! another instance is newer. `write.rs` handles the record around the entry, and `takeover.rs` handles the entries of
//! other instances.
//!
//! The file is longer than others, because the counts, the entry and the time of its next write change together.

use std::time::Duration;

use super::usual::Usual;
use super::{Now, Who};
use crate::circuit::{Circuit, Totals};
use crate::clock::Tick;
use crate::random::Dice;
use crate::record::{InstanceEntry, Opening};
use crate::state::{Reason, Snapshot, State, Transition};

/// The counts of this instance for one circuit, and the entry in the record that stores the counts. An order to forget
/// resets most of the fields (`forget`).
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The highest sequence number of an entry of this instance so far. `entry` takes the next number, and `observed`
    /// raises the number.
    sequence: u64,
    /// The last entry that this process has restored or written. Set by `continues` and `written`, and removed by
    /// `forget` and `renamed`.
    written: Option<InstanceEntry>,
    /// The sequence number of the last entry that this process has stored under its present id. Set by `written`, and
    /// cleared by `renamed`.
    taken: Option<u64>,
    /// True if this desk has created an entry for a write. If false, an entry of this process in the record belongs to
    /// an earlier circuit of the same name. Set by `entry`, and cleared by `forget`.
    has_proposed: bool,
    /// The numbers of failures and successes in earlier processes of this instance. `continues` sets the numbers, and
    /// `forget` and `renamed` clear the numbers.
    before: (u64, u64),
    /// The id of the earlier process of this instance. This process continues the totals of the earlier process. `None`
    /// if there was no earlier process. Set by `continues`.
    earlier: Option<String>,
    /// The numbers of failures and successes in this process before the last order to forget. The totals in the entry
    /// do not include these numbers. Set by `forget`.
    forgotten: (u64, u64),
    /// The full open duration of the last opening. A snapshot has only the remaining time. Set by `moved` and
    /// `continues`.
    open_whole: Option<Duration>,
    /// True if calls or an operator caused the last transition from closed to another state, and false if other
    /// instances or their advice caused that transition. An opening that follows a failed probe does not change the
    /// flag, because one probe of a circuit that opened on advice is too little to advise other instances. Set by
    /// `moved` and `continues`.
    left_closed_on_own: bool,
    /// The total weight of the failures that caused the last opening of the circuit. Set by `moved` and `continues`.
    opened_by: f64,
    /// The number of failures in this process when `look` last counted them. Set by `look` and `forget`.
    failures: u64,
    /// The usual error rate of the last minutes. Each `look` adds the calls since the last look.
    usual: Usual,
    /// The last time at which `look` found a new failure.
    last_failure: Option<Tick>,
    /// True if the process is about to end, so that the next entry gets the mark `stopped`. Set by `stop`, and cleared
    /// by `go_on`.
    is_stopping: bool,
    /// True if the only reason to write the entry is to set or to remove the mark `stopped`. Set by `look`, `stop` and
    /// `written`, and cleared by `look`, `hurry`, `go_on` and `owe`.
    has_only_mark: bool,
    /// The number of changes of the state that had to be stored so far. `owe` increments the number.
    owed: u64,
    /// The number of changes counted in `owed` that are already stored. If the two numbers are equal, no change waits
    /// to be stored. Set by `written` and `settle`.
    settled: u64,
    /// The time at which the entry must be written. `None` if no write is planned. `look`, `spread` and `refused` set
    /// the time, `owe`, `renew`, `stop` and `hurry` set the present time, and `written`, `settle` and `go_on` clear the
    /// time.
    due: Option<Tick>,
    /// The earliest time of the next write of counts. Set by `written` and `spread`.
    next_write: Option<Tick>,
}

impl Evidence {
    /// Notes the open duration and the cause of a change of the state.
    pub(super) fn moved(&mut self, edge: &Transition) {
        if edge.from.state == State::Closed {
            // If other instances or their advice caused the opening, this instance gives no advice until the circuit
            // has closed. Otherwise the instances could prolong the advice for each other without end.
            let borrowed =
                matches!(edge.reason, Reason::Advised { .. } | Reason::Restored | Reason::Followed | Reason::Fleet);
            self.left_closed_on_own = !borrowed;
        }
        if edge.to.state != State::Open {
            return;
        }
        self.open_whole = edge.lasts;
        if let Some(weight) = weight(&edge.reason) {
            self.opened_by = weight;
        }
    }

    /// Returns the total weight of the failures since the last success. If the circuit is not closed, returns the total
    /// weight of the failures that opened the circuit.
    fn run(&self, snapshot: &Snapshot) -> f64 {
        if snapshot.state == State::Closed { snapshot.run } else { self.opened_by }
    }

    /// Compares the counts of the circuit with the last written entry, and plans a write of the entry if a restart
    /// would need the new counts.
    ///
    /// If `is_common` is true, the decision of the fleet in the record is open or half-open, and a restart restores
    /// that decision. The counts then wait until the fleet closes, because counts of all instances would make the
    /// record long in an outage.
    pub(super) fn look(&mut self, circuit: &Circuit, is_common: bool, now: Tick) {
        let totals = circuit.totals();
        let (before, is_closed) = circuit.calls_before();
        self.usual.look(before, is_closed, now);
        if totals.failures != self.failures {
            self.failures = totals.failures;
            self.last_failure = Some(now);
        }
        if !is_common && (self.due.is_none() || self.has_only_mark) && self.differs(circuit) {
            self.has_only_mark = false;
            self.plan(now);
        } else if self.due.is_none()
            && self.written.as_ref().is_some_and(|entry| entry.is_stopped() != self.is_stopping)
        {
            self.has_only_mark = true;
            self.plan(now);
        }
    }

    /// Plans a write of the entry after [`FIRST_AFTER`], or at `next_write` if that is later, unless a write is planned
    /// already.
    fn plan(&mut self, now: Tick) {
        let first = now.saturating_add(FIRST_AFTER);
        let due = self.next_write.map_or(first, |next| first.max(next));
        self.due.get_or_insert(due);
    }

    /// Returns true if the counts that matter after a restart differ from the counts in the record. Successes alone do
    /// not matter, so that a healthy circuit writes nothing.
    fn differs(&self, circuit: &Circuit) -> bool {
        let (failures, snapshot) = (self.total_failures(), circuit.snapshot());
        let (run, probe_successes) = (self.run(&snapshot), snapshot.probe_successes);
        match &self.written {
            None => self.failures > self.forgotten.0 || probe_successes > 0,
            // An act or another instance may have changed the state since the last write of the entry.
            Some(written) => {
                snapshot.state != written.state
                    || failures != written.total_failures
                    || (run - written.run).abs() > f64::EPSILON
                    || probe_successes != written.probe_successes
            }
        }
    }

    /// Returns the error rate of the last minutes.
    pub(super) fn usual_rate(&self) -> f64 {
        self.usual.rate()
    }

    const fn total_failures(&self) -> u64 {
        self.before.0.saturating_add(self.failures.saturating_sub(self.forgotten.0))
    }

    /// Returns true if a write of the entry is planned, immediately or for later.
    pub(super) const fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// Returns true if a write of the entry is planned, and the mark `stopped` is not the only reason for the write.
    pub(super) const fn has_news(&self) -> bool {
        self.is_waiting() && !self.has_only_mark
    }

    /// Returns true if the entry must be written now.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Plans an immediate write of the entry if its last write is so old that other instances would soon count this
    /// instance as gone. `own` is the entry in the record, if the record has one. Does nothing if this instance has no
    /// entry, for example because the circuit has only taken over a published state.
    pub(super) fn renew(&mut self, own: Option<&InstanceEntry>, now: Now) {
        let Some(written) = &self.written else { return };
        if !self.is_stopping && own.unwrap_or(written).must_be_renewed(now.store) {
            self.due = Some(now.here);
        }
    }

    /// Lets the next entry have the mark `stopped`, because the process is about to end. The entry must be written now
    /// if this process has written or restored an entry before. Returns true if the mark is the only reason to write
    /// the entry.
    pub(super) fn stop(&mut self, now: Tick) -> bool {
        let is_new = !std::mem::replace(&mut self.is_stopping, true);
        if self.written.is_none() || !is_new {
            return false;
        }
        self.has_only_mark |= self.due.is_none();
        self.due = Some(now);
        self.has_only_mark
    }

    /// Lets the next entry have no mark `stopped`, because the process continues or the store does not answer.
    pub(super) fn go_on(&mut self) {
        self.is_stopping = false;
        if std::mem::take(&mut self.has_only_mark) {
            self.due = None;
        }
    }

    /// Returns true if the next entry gets the mark `stopped`.
    pub(super) const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    pub(super) const fn has_only_mark(&self) -> bool {
        self.has_only_mark
    }

    /// Plans an immediate write of the entry, because a restart would restore another state from the record. The write
    /// stays planned until the store has an entry that was created after the present change of the state.
    pub(super) fn owe(&mut self, now: Tick) {
        self.owed += 1;
        self.has_only_mark = false;
        self.due = Some(now);
    }

    /// Returns true if a change of the state is not stored yet, so that a restart would lose the change.
    pub(super) const fn is_owed(&self) -> bool {
        self.owed != self.settled
    }

    /// Marks all changes of the state so far as stored, and cancels the write of the entry. The caller knows that a
    /// restart would restore the present state without another entry.
    pub(super) fn settle(&mut self) {
        self.settled = self.owed;
        self.due = None;
    }

    /// Delays the next write of counts by a random time. Otherwise all instances of a fleet would write at the same
    /// moment when the fleet closes. The longest delay grows with the number of instances.
    pub(super) fn spread(&mut self, instances: u32, now: Tick, dice: &mut Dice) {
        let longest = FOR_EACH.saturating_mul(instances).min(AT_MOST_EVERY);
        let next = now.saturating_add(longest.mul_f64(dice.share()));
        let next = self.next_write.map_or(next, |before| before.max(next));
        self.next_write = Some(next);
        if !self.is_owed() && !self.has_only_mark {
            self.due = self.due.map(|due| due.max(next));
        }
    }

    /// Returns the number of changes of the state so far. The caller keeps the number during a write, and passes the
    /// number to [`written`](Self::written) when the write ends.
    pub(super) const fn owed(&self) -> u64 {
        self.owed
    }

    /// Plans an immediate write of the entry if a write is planned for later or the counts have changed, even if the
    /// counts wait until the fleet closes.
    pub(super) fn hurry(&mut self, circuit: &Circuit, now: Tick) {
        if self.due.is_some() || self.differs(circuit) {
            self.has_only_mark &= self.due.is_some();
            self.due = Some(now);
        }
    }

    /// Notes that the record did not accept the entry, because the record has a newer entry of this id, or has no room
    /// for the entry. Plans another attempt for later.
    pub(super) fn refused(&mut self, now: Tick) {
        self.due = Some(now.saturating_add(AT_MOST_EVERY));
    }

    /// Returns true if calls or an operator caused the last transition from closed to another state, and not other
    /// instances or their advice.
    pub(super) const fn left_closed_on_own(&self) -> bool {
        self.left_closed_on_own
    }

    /// Returns a new entry with the present state and counts. `own` is the entry in the record, whose vote and lease
    /// the new entry keeps. `acts` is the sequence number of the last act of an operator that the circuit has taken
    /// over. By this number, a restore recognises a later reset.
    pub(super) fn entry(
        &mut self,
        circuit: &Circuit,
        own: Option<&InstanceEntry>,
        who: &Who,
        acts: u64,
        now: Now,
    ) -> InstanceEntry {
        let (snapshot, totals) = (circuit.snapshot(), circuit.totals());
        self.has_proposed = true;
        self.sequence = self.sequence.saturating_add(1).max(now.store.as_millis());
        let mut entry = InstanceEntry::closed(&who.incarnation);
        entry.extra = self.written.as_ref().map(|written| written.extra.clone()).unwrap_or_default();
        entry.sequence = self.sequence;
        entry.state = snapshot.state;
        entry.mode = snapshot.mode;
        if snapshot.state == State::Open {
            entry.until = snapshot.open_for.map(|left| now.store.saturating_add(left));
            let whole = self.open_whole.or(snapshot.open_for);
            entry.open_ms = whole.map(|whole| u64::try_from(whole.as_millis()).unwrap_or(u64::MAX));
        }
        if snapshot.state != State::Closed {
            entry.advised = !self.left_closed_on_own;
            entry.left_closed_at = snapshot.tripped_for.map(|ago| now.store.saturating_sub(ago));
            entry.opening = opening(&snapshot, entry.sequence, now);
        }
        entry.attempt = snapshot.attempt;
        entry.probe_successes = snapshot.probe_successes;
        entry.run = self.run(&snapshot);
        entry.calls = snapshot.tally.calls();
        entry.score = snapshot.tally.score();
        entry.slow = snapshot.tally.slow();
        let (failures, successes) = self.forgotten;
        entry.total_failures = self.before.0.saturating_add(totals.failures.saturating_sub(failures));
        entry.total_successes = self.before.1.saturating_add(totals.successes.saturating_sub(successes));
        let here = self.last_failure.map(|at| now.store.saturating_sub(now.here.saturating_since(at)));
        entry.last_failure_at = here.or(self.written.as_ref().and_then(|written| written.last_failure_at));
        entry.updated_at = now.store;
        entry.stopped = self.is_stopping.then_some(entry.sequence);
        entry.acts = acts;
        entry.tiers.clone_from(&who.tiers);
        (entry.vote, entry.lease) = own.map(|own| (own.vote.clone(), own.lease.clone())).unwrap_or_default();
        entry
    }

    /// Notes that the store has the entry. The entry includes the first `owed` changes of the state. If there was a
    /// later change, the next entry must be written at once.
    pub(super) fn written(&mut self, entry: InstanceEntry, owed: u64, now: Tick, dice: &mut Dice) {
        // If the write began before `stop`, the entry has no mark `stopped`. Another entry with the mark must then be
        // written.
        let lacks_mark = self.is_stopping && !entry.is_stopped();
        self.settled = owed;
        let is_owed = self.is_owed();
        self.has_only_mark = lacks_mark && !is_owed;
        self.due = (lacks_mark || is_owed).then_some(now);
        self.taken = Some(entry.sequence);
        self.written = Some(entry);
        // The instances of a fleet have their first failures at the same time. The random part spreads the later writes
        // of the instances.
        self.next_write = Some(now.saturating_add(AT_MOST_EVERY.mul_f64(1.0 + dice.share() / 2.0)));
    }

    /// Notes an entry of this instance in the record. The next entry gets a higher sequence number, because a merge of
    /// two records keeps the entry with the higher number.
    pub(super) fn observed(&mut self, entry: &InstanceEntry) {
        self.sequence = self.sequence.max(entry.sequence);
    }

    /// Returns true if the entry was written by an earlier process of this instance, or for an evicted circuit of this
    /// name.
    pub(super) fn is_of_before(&self, entry: &InstanceEntry, who: &Who) -> bool {
        entry.incarnation != who.incarnation || !self.has_proposed
    }

    /// Continues the totals of an earlier process, which wrote `entry`. If `restored` is true, the circuit has also
    /// taken over the state of `entry`. If that state is open or half-open, the next entry continues its opening.
    pub(super) fn continues(&mut self, entry: &InstanceEntry, restored: bool) {
        self.before = (entry.total_failures, entry.total_successes);
        self.earlier = Some(entry.incarnation.clone());
        if restored {
            self.left_closed_on_own = !entry.advised;
            self.open_whole = entry.open_ms.map(Duration::from_millis);
            self.opened_by = if entry.state == State::Closed { 0.0 } else { entry.run };
            self.written = Some(entry.clone());
        }
    }

    /// Returns true if another living process has written the entry under the id of this instance. The entry of such a
    /// process has a higher sequence number than the last entry that this process has stored.
    ///
    /// Returns false for an entry of the earlier process whose totals this process continues. A sequence number is at
    /// least the time of the store in milliseconds. The clocks of two tiers can differ, so a late write of the earlier
    /// process can have a higher number, too. If the earlier process still lives, the earlier process itself detects
    /// the clash.
    ///
    /// Only stored entries of this process are compared. If a write of this process met a conflict, the sequence number
    /// in that write can be higher than the number of the other process, and would hide the clash.
    pub(super) fn is_contested_by(&self, entry: &InstanceEntry, who: &Who) -> bool {
        let is_of_other = entry.incarnation != who.incarnation && self.earlier.as_ref() != Some(&entry.incarnation);
        is_of_other && self.taken.is_some_and(|taken| entry.sequence > taken)
    }

    /// Clears the counts after an operator's order to forget the circuit. The totals do not include calls before the
    /// order.
    pub(super) fn forget(&mut self, counted: Totals) {
        *self = Self {
            sequence: self.sequence,
            taken: self.taken,
            earlier: self.earlier.take(),
            usual: std::mem::take(&mut self.usual),
            failures: counted.failures,
            forgotten: (counted.failures, counted.successes),
            ..Self::default()
        };
    }

    /// Begins a new entry under another id, because another living instance has the old id. The earlier totals stay
    /// with the old id.
    pub(super) fn renamed(&mut self, now: Tick) {
        self.before = (0, 0);
        self.taken = None;
        // If the record has an entry under the old id, or a write under way adds one, the next write must add the entry
        // under the new id.
        if self.written.take().is_some() || self.has_proposed {
            self.owe(now);
        }
    }
}

/// Returns the last opening of the circuit for the entry, or `None` if there was none. If another instance opened the
/// circuit, the reason names that instance.
fn opening(snapshot: &Snapshot, sequence: u64, now: Now) -> Option<Opening> {
    let earlier = snapshot.earlier.as_ref()?;
    let reason = match earlier.instance() {
        Some(instance) => format!("on instance `{instance}`: {}", earlier.reason()),
        None => earlier.reason().to_owned(),
    };
    let at = snapshot.earlier_for.map(|ago| now.store.saturating_sub(ago));
    Some(Opening::new(&reason, at, sequence))
}

/// Returns the weight of the failures that caused a transition. `None` if the cause was not a rule about failures.
fn weight(reason: &Reason) -> Option<f64> {
    if let Reason::Advised { rule } | Reason::Relapsed { rule } = reason {
        return weight(rule);
    }
    if let Reason::ConsecutiveFailures { score, .. }
    | Reason::FailureRate { score, .. }
    | Reason::FailureScore { score, .. }
    | Reason::Unproven { score } = reason
    {
        return Some(*score);
    }
    None
}

/// The shortest time from a change of the counts to a write of the counts, so that failures at about the same time
/// share a write.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// The shortest time between two writes of counts. The actual time is up to 50 % longer.
const AT_MOST_EVERY: Duration = Duration::from_secs(12);
/// After the fleet has closed, the random delay of a write of counts is at most this time multiplied by the number of
/// instances.
const FOR_EACH: Duration = Duration::from_millis(100);
