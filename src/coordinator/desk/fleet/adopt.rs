//! The adoption of the fleet's decisions by the circuit of this instance.
//!
//! | decision that the circuit has not adopted | circuit of this instance | effect |
//! |---|---|---|
//! | open | closed, and its own calls succeed; not under `Sharing::Follow` | the instance *declines*: the opening is advice, and the next check decides again |
//! | open | closed, and its group allows no more open circuits | the instance declines, as above |
//! | open | any other | the circuit opens until the opening of the fleet ends, or stays open for longer |
//! | half-open | open, has health probes, and rejects the next call | the circuit is half-open, because a health probe of another instance succeeded |
//! | half-open | any other | none, because the first call after the open duration begins to probe |
//! | closed | left the closed state after the decision | none, because the evidence of the circuit is newer than the decision |
//! | closed | not closed | the circuit closes |
//!
//! The calls of an instance succeed if its last success is younger than its window, or than 10 s if the window is
//! shorter. Single failures between successes are no outage. In an outage the advice opens the circuit after a few
//! failures in a row. A state that one instance has published is a decision under `Sharing::Follow`, with the reason
//! `Followed`.

use std::time::Duration;

use super::{Desk, Now, Who, at_least_ten_seconds};
use crate::circuit::Peek;
use crate::clock::Tick;
use crate::config::Recovery;
use crate::coordinator::restore::decided;
use crate::record::{Fleet, Timestamp};
use crate::state::{Mode, Reason, State};

impl Desk {
    /// Requires a lease for each probe of the half-open circuit, while the fleet is not closed and the store answers.
    pub(in crate::coordinator::desk) fn lease_probes(&mut self, fleet: &Fleet, is_up: bool, now: Now) {
        let is_probing = fleet.state != State::Closed || self.forces_probes(fleet, now.store);
        // A circuit in shadow mode is a trial of one instance, which must not wait for other instances.
        let is_leased = is_probing
            && !self.is_endless(fleet)
            && !self.is_overdue_here(fleet, now)
            && self.circuit.standing().mode != Mode::Shadow;
        if is_leased && is_up {
            self.circuit.lease_probes(FALLBACK_TIMEOUT);
        } else if !is_leased && self.fleet.is_leased {
            self.circuit.lease_probes(Duration::ZERO);
        }
        self.fleet.is_leased = is_leased;
    }

    /// Returns true if the fleet stays open until a reset, because the instance that gave the last vote has manual
    /// recovery, but the circuit of this instance recovers by itself. This circuit must not wait for that reset.
    fn is_endless(&self, fleet: &Fleet) -> bool {
        fleet.state == State::Open && fleet.until.is_none() && self.circuit.config().recovery == Recovery::Automatic
    }

    /// Returns true if an opening of the fleet ended at least [`FALLBACK_TIMEOUT`] ago by the clock of this process,
    /// but has not ended by the clock of the store. The clock of the store was perhaps set back, and the record accepts
    /// no lease before the opening ends by that clock. The circuit then probes without leases.
    fn is_overdue_here(&mut self, fleet: &Fleet, now: Now) -> bool {
        let Some(left) = fleet.open_for(now.store) else { return false };
        if self.fleet.ends.is_none_or(|(generation, _)| generation != fleet.generation) {
            self.fleet.ends = Some((fleet.generation, now.here.saturating_add(left)));
        }
        self.fleet.ends.is_some_and(|(_, end)| now.here >= end.saturating_add(FALLBACK_TIMEOUT) && !left.is_zero())
    }

    /// Returns true if an operator's forced opening still holds, or ended after the decision of the fleet. The probes
    /// after a forced opening need leases even if the fleet is closed.
    fn forces_probes(&self, fleet: &Fleet, now: Timestamp) -> bool {
        let operator = self.known.record().operator.as_ref();
        let forced = operator.filter(|operated| operated.mode == Mode::ForcedOpen);
        forced.is_some_and(|forced| forced.holds(now) || forced.until.is_some_and(|until| until > fleet.since))
    }

    /// Returns true if the circuit must become half-open before its own opening ends, because a health probe of another
    /// instance has made the fleet half-open. The circuit stays open if its opening is newer than that decision, or if
    /// the service has sent a `Retry-After` to this instance.
    fn begins_early(&self, fleet: &Fleet, now: Now) -> bool {
        let has_floor = self.fleet.floor.is_some_and(|floor| now.here < floor);
        let opened = self.circuit.snapshot().earlier_for.map(|ago| now.store.saturating_sub(ago));
        self.circuit.has_checks()
            && !has_floor
            && self.circuit.peek_at_gate() != Peek::MayPass
            && opened.is_none_or(|at| at <= fleet.since)
    }

    /// Returns true if the circuit is closed and its last success is younger than its window, or than 10 s if the
    /// window is shorter.
    pub(super) fn succeeds(&self, now: Tick) -> bool {
        let window = at_least_ten_seconds(self.circuit.config().window.length());
        let is_recent = self.fleet.last_success.is_some_and(|at| now.saturating_since(at) < window);
        is_recent && self.circuit.state() == State::Closed
    }

    /// Applies the decision of the fleet to the circuit, unless the circuit has adopted the decision already.
    pub(super) fn adopt_decision(&mut self, fleet: &Fleet, who: &Who, now: Now) {
        let generation = fleet.generation.get();
        // A pending reset is newer than the decision.
        if generation == 0 || self.changes.has_reset() || self.adopted.has_decided(generation) {
            return;
        }
        let state = self.circuit.state();
        let is_adopted = match fleet.state {
            State::Open if !who.follows() && self.succeeds(now.here) => return self.decline(fleet, now),
            State::Open => true,
            State::HalfOpen => state == State::Open && self.begins_early(fleet, now),
            // Because of a `Retry-After`, this instance must make no calls before `floor`. The circuit closes later.
            State::Closed if self.fleet.floor.is_some_and(|floor| now.here < floor) => return,
            State::Closed => {
                let left_closed = self.circuit.snapshot().tripped_for.map(|ago| now.store.saturating_sub(ago));
                state != State::Closed && left_closed.is_none_or(|at| at <= fleet.since)
            }
        };
        if is_adopted {
            let mut snapshot = self.circuit.snapshot();
            decided(&mut snapshot, self.known.record(), who, now.store);
            let is_of_one = self.known.record().is_decided_by_one(who.follows());
            let reason = if is_of_one { Reason::Followed } else { Reason::Fleet };
            let Ok(adopted) = self.circuit.adopt_at(self.changes.expected_era(), &snapshot, reason) else {
                // The circuit has made a transition that the desk has not read yet. The next check adopts the decision.
                return;
            };
            if adopted.is_suppressed {
                return self.decline(fleet, now);
            }
            self.changes.taken_over(adopted.edge);
        }
        if self.fleet.declined.take().is_some() {
            self.circuit.advise(Duration::ZERO);
        }
        self.adopted.decided(generation);
    }

    /// Declines an opening of the fleet. The circuit stays closed, and the opening is advice for the circuit. The next
    /// check renews the advice.
    fn decline(&mut self, fleet: &Fleet, now: Now) {
        let left = fleet.until.map_or(LONGEST_ADVICE, |until| until.since(now.store).min(LONGEST_ADVICE));
        self.circuit.advise_beside(self.evidence.usual_rate(), left);
        if self.fleet.declined.replace(fleet.generation) != Some(fleet.generation) {
            self.circuit.report_declined();
        }
    }
}

/// A half-open circuit probes without leases if the last check of the desk at which the store answered is at least this
/// long ago. The store, the task or the runtime may be gone by then.
const FALLBACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for which a declined opening is advice before the next check renews the advice.
const LONGEST_ADVICE: Duration = Duration::from_secs(60);
