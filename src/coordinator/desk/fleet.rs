//! The role of an instance in the decisions of its fleet, under `Sharing::Quorum` and `Sharing::Follow`.
//!
//! A fleet is the instances that share a store and a fleet name. The decision of the fleet about a circuit is a part of
//! the record. If the fleet opens, the circuit opens in each instance that does not decline the opening. This file
//! chooses the next command of this instance to the fleet. `adopt.rs` applies decisions to the circuit, and `turn.rs`
//! follows the probe under a lease (the permission for one probe). `sent.rs` puts a command into a write, and
//! `shown.rs` shows the decision to people. The guards and effects of the commands are in `record/fleet/rules.rs`.
//!
//! A *check* is the moment at which the desk compares the circuit with the record. The task makes a check after each
//! look and after each answer of the store, and once a second. A check chooses the first of these commands that the
//! record would accept:
//!
//! | command | reason |
//! |---|---|
//! | `Passed`, `Failed`, `Returned`, `Late` | the probe of this instance has ended |
//! | `Overdue` | the probe of this instance has reached its deadline |
//! | `Unopposed` | the probe of this instance failed at least a second ago, no lease is pending, no probe of another instance has passed, and more probes failed than are tolerated |
//! | `Vote` | the calls of this instance have opened the circuit, and the age of this opening is at most the length of the window, or 10 s if the window is shorter |
//! | `Withdraw` | this instance has voted, and its circuit has closed again or is no longer allowed to vote (see below), or the vote is over by the clock of this process |
//! | `Healthy` | a health probe of this instance has ended the opening of the circuit |
//! | `Lease` | the next call could be a probe |
//! | `Renew` | the probe is under way, and half of its lease is over |
//! | `Returned` | this instance has a lease that it cannot use |
//!
//! If a check has chosen no command, a write of new counts can contain the command `Merged`, which opens the fleet by
//! the counts of several instances. A circuit in shadow, a held circuit and a circuit under the kill switch neither
//! vote nor probe for the fleet.
//!
//! Under `Sharing::Follow` one vote opens the fleet. An instance then declines an opening (its circuit stays closed)
//! only if the circuit is in a group that allows no more open circuits. Under `Sharing::Follow`, a state that an
//! instance without a fleet publishes is a decision, too.
//!
//! The file is longer than others, because the table above is read together with the function that carries it out.

mod adopt;
mod sent;
mod shown;
mod turn;

use std::time::Duration;

use super::{Desk, Now, Report, Who};
use crate::clock::Tick;
use crate::coordinator::restore::restoration;
use crate::random::Dice;
use crate::record::{Command, Effect, Fleet, FleetChange, FleetCommand, InstanceEntry, apply};
use crate::state::{Generation, Mode, Reason, Snapshot, Standing, State, Transition};
pub(super) use sent::Sent;
use shown::Probed;
use turn::Turn;

/// The role of this instance in the decisions of the fleet about one circuit.
#[derive(Debug, Default)]
pub(super) struct InFleet {
    /// The last opening of the circuit by calls of this instance. Set and cleared by `saw`.
    opening: Option<Opening>,
    /// The time before which this instance must make no calls, because the service sent a `Retry-After`. Set by
    /// `note_for_fleet`, cleared by `saw`.
    floor: Option<Tick>,
    /// The probe that the instance may make, is making or has made for the fleet. `turn.rs` describes the steps of a
    /// probe.
    turn: Turn,
    /// True if this instance has calls that could be a probe. Only then is a request for a lease (the permission for
    /// one probe) worth a write.
    has_demand: bool,
    /// The time from which the first request for a lease may be written. The time is random within `REQUEST_JITTER`, so
    /// that the instances of a fleet do not all write at once.
    ask_at: Option<Tick>,
    /// True if the cause of the last transition of the circuit is a successful health probe of this instance.
    is_healthy: bool,
    /// The time of the last check that found a new rejection of a call.
    last_rejection: Option<Tick>,
    /// The next two fields are the numbers of rejections and successes of the circuit at the last check. The next check
    /// finds new calls by these numbers.
    rejected: u64,
    successes: u64,
    /// The time of the last check that found a new success of a call.
    last_success: Option<Tick>,
    /// The generation (version number) of the last opening of the fleet, and the end of that opening by the clock of
    /// this process.
    ends: Option<(Generation, Tick)>,
    /// The generation (version number) of the last opening of the fleet that this instance declined, so that its
    /// circuit stayed closed.
    declined: Option<Generation>,
    /// True if `lease_probes` last found that probes of the circuit need leases (permissions of the fleet).
    is_leased: bool,
    /// The command that the last check has chosen. `None` if the record would accept no command.
    wanted: Option<FleetChange>,
    /// The probes of the present half-open era that `shown.rs` has counted.
    probed: Probed,
    /// The generation (version number) of the last decision of the fleet that this instance proposed. `None` once the
    /// record has this decision or a later decision.
    decided: Option<Generation>,
}

/// An opening of the circuit by calls of this instance, which is a reason to vote for an opening of the fleet.
#[derive(Debug)]
struct Opening {
    /// The time until which the opening is a reason to vote.
    votes_until: Tick,
    open_for: Option<Duration>,
    attempt: u32,
    reason: String,
}

impl Opening {
    /// Returns true if the vote for the opening ended at least [`SAME_END`] ago by the clock of this process.
    fn is_over(&self, now: Tick) -> bool {
        now >= self.votes_until.saturating_add(SAME_END)
    }
}

impl InFleet {
    /// Notes a transition of the circuit. `age` is the time since the transition. `is_own` is true if calls or an
    /// operator, and not other instances, caused the last transition from the closed state (`edge` or an earlier
    /// transition), and if the desk has not caused `edge` by taking over a stored state. `window` is the length of the
    /// time window, and `None` if the window counts calls.
    pub(super) fn saw(&mut self, edge: &Transition, is_own: bool, window: Option<Duration>, age: Duration, now: Tick) {
        self.turn.saw(edge);
        self.is_healthy = matches!(edge.reason, Reason::HealthProbe { .. });
        match edge.to.state {
            State::Closed => (self.opening, self.floor) = (None, None),
            // An operator's order is no reason to vote, because the order says nothing about the service.
            State::Open if is_own && !matches!(edge.reason, Reason::Operator { .. } | Reason::KillSwitch) => {
                let left = at_least_ten_seconds(window).saturating_sub(age);
                self.opening = Some(Opening {
                    votes_until: now.saturating_add(left),
                    open_for: edge.lasts,
                    attempt: edge.attempt,
                    reason: edge.because().to_string(),
                });
            }
            // The time of an opening or a hold has passed, and a call or a waiting task has made the circuit half-open.
            // The next call needs a lease to be a probe, so the request for a lease is worth a write.
            State::HalfOpen => {
                self.has_demand |= matches!(edge.reason, Reason::WaitElapsed { .. } | Reason::HoldEnded { .. });
                // A health probe makes the circuit half-open even if there are no calls. Therefore a lease is then
                // requested only if calls were rejected recently.
                let is_early = self.is_healthy || edge.reason == Reason::Fleet;
                let is_busy = self.last_rejection.is_some_and(|at| now.saturating_since(at) < BUSY);
                self.has_demand |= is_early && is_busy;
            }
            State::Open => {}
        }
    }

    /// Forgets everything but the counts of calls, because an order deletes the record.
    pub(super) fn forget(&mut self) {
        let (rejected, successes, last_success) = (self.rejected, self.successes, self.last_success);
        *self = Self { rejected, successes, last_success, ..Self::default() };
    }

    /// Returns true if a command to the fleet waits to be written.
    pub(super) const fn wants_write(&self) -> bool {
        self.wanted.is_some()
    }
}

impl Desk {
    /// Makes a check, which adopts the decision of the fleet and chooses the next command to the fleet. `is_up` is true
    /// if the store answers at present. `closing` is true if the process is about to end.
    pub(in crate::coordinator) fn check(&mut self, who: &Who, is_up: bool, closing: bool, now: Now, dice: &mut Dice) {
        // Each live instance of a fleet makes its share of the health checks.
        let shared = who.members.live.filter(|_| who.sharing.is_of_fleet());
        self.circuit.share_checks(shared.unwrap_or(1));
        if !who.sharing.is_of_fleet() || self.adopted.is_waiting_for_restore() {
            return;
        }
        let fleet = self.known.record().decision(who.follows());
        self.count_calls(fleet.state, now.here);
        self.lease_probes(&fleet, is_up, now);
        let had_adopted = self.adopted.has_decided(fleet.generation.get());
        self.adopt_decision(&fleet, who, now);
        if !had_adopted && fleet.state == State::Closed {
            self.evidence.spread(who.members.live.unwrap_or(0), now.here, dice);
        }
        if self.evidence.is_owed() && self.restores_the_same(who, now) {
            self.evidence.settle();
        }
        let had_lease = self.fleet.turn.is_probe();
        self.take_turn(&fleet, who, now);
        self.count_probes(had_lease, who);
        self.show(&fleet, who, now.store);
        self.fleet.wanted = self.next_command(&fleet, who, closing, now);
        if !matches!(self.fleet.wanted, Some(FleetChange::Lease { .. })) {
            self.fleet.ask_at = None;
        } else if self.fleet.ask_at.is_none() {
            let ask_at = now.here.saturating_add(REQUEST_JITTER.mul_f64(dice.share()));
            self.fleet.ask_at = Some(ask_at);
            self.sending.wait_until(ask_at);
        }
    }

    /// Notes a transition of the circuit for the fleet. `taken_over` is true if the transition is a restore, or if the
    /// desk has caused the transition by taking over a stored state.
    pub(super) fn note_for_fleet(&mut self, edge: &Transition, taken_over: bool, who: &Who, now: Tick) {
        let is_own = !taken_over && self.evidence.left_closed_on_own();
        let age = self.circuit.now().saturating_since(edge.at);
        let had_lease = self.fleet.turn.is_probe();
        self.fleet.saw(edge, is_own, self.circuit.config().window.length(), age, now);
        // Jitter makes an opening at most 1.5 times as long as its configured duration. Therefore a longer opening
        // comes from a `Retry-After` of the service.
        let is_by_calls = !taken_over && edge.to == Standing::new(State::Open, Mode::Automatic);
        let is_ordered = matches!(edge.reason, Reason::Operator { .. } | Reason::HoldEnded { .. });
        let lasts = edge.lasts.zip(self.circuit.open_duration(edge.attempt)).filter(|_| is_by_calls && !is_ordered);
        if let Some((lasts, _)) = lasts.filter(|(lasts, nominal)| *lasts > nominal.mul_f64(1.5)) {
            self.fleet.floor = Some(now.saturating_add(lasts.saturating_sub(age)));
        }
        self.count_last_probes(edge, taken_over, had_lease, who);
    }

    /// Returns true while the decision of the fleet is open or half-open. After a restart the state of the circuit
    /// comes from this decision, so that the entry of this instance need not have the state.
    pub(super) fn is_common(&self, who: &Who) -> bool {
        let (state, _) = self.known.record().decided(who.follows());
        who.sharing.is_of_fleet() && state != State::Closed
    }

    /// Returns true if a restart would restore the present state without a new entry of this instance. A half-open
    /// circuit and a circuit whose opening is over count as the same state, because both wait for a lease. The result
    /// is false if the entry of this instance in the record does not name the last act that this instance has taken
    /// over. The entries show to operators which instances have applied an act, so the entry must be written.
    fn restores_the_same(&self, who: &Who, now: Now) -> bool {
        let (record, circuit) = (self.known.record(), &self.circuit);
        let names = |entry: &InstanceEntry| entry.acts >= self.adopted.act_sequence();
        if !self.is_common(who)
            || circuit.standing().mode != Mode::Automatic
            || !record.instances.get(&who.id).map_or(self.adopted.act_sequence() == 0, names)
        {
            return false;
        }
        let Some(again) = restoration(record, who, circuit.config(), now.store) else { return false };
        let (again, present) = (again.snapshot, circuit.snapshot());
        let waits = |snapshot: &Snapshot| {
            let is_over = snapshot.open_for.is_some_and(|left| left < SAME_END);
            snapshot.state == State::HalfOpen || snapshot.state == State::Open && is_over
        };
        let ends_alike = match (again.open_for, present.open_for) {
            (Some(again), Some(present)) => again.abs_diff(present) < SAME_END,
            (again, present) => again == present,
        };
        waits(&again) && waits(&present) || again.state == present.state && ends_alike
    }

    /// Returns true if the record must be polled at the fastest pace ([`Pace::Bound`](super::Pace::Bound)). This is
    /// necessary while this instance has a reason to vote, and while the fleet is half-open.
    ///
    /// While the fleet is open, fast polls are not necessary. If a health probe ends the opening early, the write of
    /// the half-open state notifies the other instances. After the end of the opening, the first request for a lease
    /// either succeeds, or conflicts and gets the present record as the answer.
    pub(super) fn is_deciding(&self, follows: bool) -> bool {
        match self.known.record().decided(follows) {
            (State::Closed, _) => self.fleet.opening.is_some(),
            (State::Open, _) => false,
            (State::HalfOpen, _) => true,
        }
    }

    /// Counts the rejections and successes since the last check. New calls are a reason to request a lease, and recent
    /// successes are a reason to decline an opening of the fleet.
    fn count_calls(&mut self, decided: State, now: Tick) {
        let (totals, state) = (self.circuit.totals(), self.circuit.state());
        let fleet = &mut self.fleet;
        let (is_rejecting, has_success) = (totals.rejected != fleet.rejected, totals.successes != fleet.successes);
        (fleet.rejected, fleet.successes) = (totals.rejected, totals.successes);
        if has_success {
            fleet.last_success = Some(now);
        }
        if is_rejecting {
            fleet.last_rejection = Some(now);
        }
        match state {
            State::HalfOpen => fleet.has_demand |= is_rejecting,
            // An instance that declines the opening keeps its circuit closed, so that its ordinary calls serve as the
            // probe.
            State::Closed => fleet.has_demand = decided != State::Closed && (fleet.has_demand || has_success),
            State::Open => {}
        }
    }

    /// Returns the first command of the table at the top of this file that the record would accept. Returns `None` if
    /// there is no such command, if an operator's order waits for the store, or if the record has a later format
    /// version.
    fn next_command(&mut self, fleet: &Fleet, who: &Who, closing: bool, now: Now) -> Option<FleetChange> {
        let record = self.known.record();
        if !record.is_writable() || self.changes.has_act() || self.changes.is_forgetting() {
            return None;
        }
        if let Some(outcome) = self.fleet.turn.outcome() {
            let result = self.result(outcome, fleet, who, now);
            if let Some(result) = result
                && self.would_apply(&result, who, now)
            {
                return Some(result);
            }
            // The record no longer accepts the result, so the turn (the use of the lease) is over.
            self.fleet.turn = Turn::None;
        }
        let commands = [
            self.overdue(who, now),
            self.unopposed(fleet, who, now),
            self.vote(fleet, who, now),
            self.withdraw(fleet, who, now),
            self.healthy(fleet),
            self.request(fleet, now).filter(|_| !closing),
            self.renew(who, now).filter(|_| !closing),
            self.give_back(who, closing, now),
        ];
        commands.into_iter().flatten().find(|change| self.would_apply(change, who, now))
    }

    fn would_apply(&self, change: &FleetChange, who: &Who, now: Now) -> bool {
        let command = Command::Fleet(self.fleet_command(change.clone(), who));
        apply(&mut self.known.record().clone(), &command, now.store) == Effect::Applied
    }

    fn fleet_command(&self, change: FleetChange, who: &Who) -> FleetCommand {
        FleetCommand {
            on: self.fleet.turn.round().filter(|_| is_result(&change)).unwrap_or_else(|| self.generation(who)),
            after: self.sending.proposed(),
            instance: who.id.clone(),
            incarnation: who.incarnation.clone(),
            follows: who.follows(),
            change,
        }
    }

    /// Returns the generation (version number) of the present decision of the fleet.
    fn generation(&self, who: &Who) -> Generation {
        let (_, generation) = self.known.record().decided(who.follows());
        generation
    }

    /// Returns true if the circuit may vote and probe for the fleet.
    fn is_active(&self) -> bool {
        self.circuit.standing().mode == Mode::Automatic && !self.circuit.is_bypassed()
    }

    /// Returns the next open duration of the fleet if the present probes of the fleet fail. `None` if only a reset ends
    /// the opening. The duration is at least the rest of a `Retry-After` that the service sent to this instance.
    fn open_again(&self, fleet: &Fleet, now: Now) -> Option<Duration> {
        let floor = self.fleet.floor.map_or(Duration::ZERO, |floor| floor.saturating_since(now.here));
        self.circuit.open_duration(fleet.attempt.saturating_add(1)).map(|open_for| open_for.max(floor))
    }

    fn unopposed(&self, fleet: &Fleet, who: &Who, now: Now) -> Option<FleetChange> {
        self.own_lease(who)?.failed_at?;
        Some(FleetChange::Unopposed { open_for: self.open_again(fleet, now), tolerated: self.failures_tolerated() })
    }

    /// Returns the number of failed probes that this instance tolerates in a round (half-open phase of the fleet). Zero
    /// if the probes of this instance have opened its circuit again, for example because a failure trips at once.
    fn failures_tolerated(&self) -> u32 {
        if self.circuit.state() == State::Open { 0 } else { self.circuit.config().probes.failures_tolerated }
    }

    fn vote(&self, fleet: &Fleet, who: &Who, now: Now) -> Option<FleetChange> {
        let opening = self.fleet.opening.as_ref().filter(|opening| !opening.is_over(now.here))?;
        if fleet.state != State::Closed || !self.is_active() || self.circuit.state() == State::Closed {
            return None;
        }
        let left = opening.votes_until.saturating_since(now.here);
        // The same vote has slightly different ends by the clock of this process and by the clock of the store. Unless
        // the new end is later by more than `SAME_END`, the command repeats the end in the record. A repeated vote is
        // written only if there are now enough votes to open the fleet.
        let given = self.known.record().own_vote(&who.id, who.follows(), now.store).map(|until| until.since(now.store));
        let lasts = given.filter(|given| left <= given.saturating_add(SAME_END)).unwrap_or(left);
        Some(FleetChange::Vote {
            lasts,
            needed: who.needed(),
            live: who.members.live,
            open_for: opening.open_for,
            attempt: opening.attempt,
            reason: opening.reason.clone(),
        })
    }

    fn withdraw(&self, fleet: &Fleet, who: &Who, now: Now) -> Option<FleetChange> {
        self.known.record().own_vote(&who.id, who.follows(), now.store)?;
        let is_void = fleet.state == State::Closed && self.circuit.state() == State::Closed || !self.is_active();
        // If the clock of the store was set back, the vote in the record ends too late. The clock of this process then
        // decides.
        let is_over = self.fleet.opening.as_ref().is_some_and(|opening| opening.is_over(now.here));
        (is_void || is_over).then_some(FleetChange::Withdraw)
    }

    /// Returns the command that makes the fleet half-open early, if a health probe of this instance has succeeded.
    fn healthy(&self, fleet: &Fleet) -> Option<FleetChange> {
        let is_early = self.fleet.is_healthy && fleet.state == State::Open;
        (is_early && self.circuit.state() == State::HalfOpen && self.is_active()).then_some(FleetChange::Healthy)
    }

    /// Returns the request for a lease, if the next call could be a probe.
    fn request(&self, fleet: &Fleet, now: Now) -> Option<FleetChange> {
        let Self { fleet: own, circuit, .. } = self;
        let can_probe = match circuit.state() {
            State::HalfOpen => true,
            State::Closed => fleet.state != State::Closed && self.succeeds(now.here),
            State::Open => false,
        };
        if !own.has_demand || !own.turn.is_free() || !can_probe || !self.is_active() {
            return None;
        }
        let probes = circuit.config().probes;
        // A round must last longer than a call, and the duration of the calls of this service is not known. Therefore a
        // round without a verdict lasts at least two probe deadlines. Each further opening in a row doubles this time,
        // up to 64 probe deadlines.
        let doublings = fleet.attempt.saturating_sub(1).min(MOST_DOUBLINGS);
        let patience = probes.deadline.saturating_mul(2 << doublings);
        Some(FleetChange::Lease {
            lasts: LEASE,
            probes: probes.successes,
            in_flight: probes.in_flight,
            tolerated: probes.failures_tolerated,
            quiet_after: probes.quiet_after.max(patience),
            longest: circuit.config().open.longest(),
            open_for: self.open_again(fleet, now),
        })
    }
}

const fn is_result(change: &FleetChange) -> bool {
    matches!(
        change,
        FleetChange::Passed { .. } | FleetChange::Failed { .. } | FleetChange::Late { .. } | FleetChange::Returned
    )
}

/// Returns the time for which a success is a reason to decline an opening, and an opening is a reason to vote. This
/// time is the length of the window, but at least ten seconds.
fn at_least_ten_seconds(window: Option<Duration>) -> Duration {
    window.unwrap_or_default().max(Duration::from_secs(10))
}

/// The duration of a lease (the permission for one probe). If an instance dies, its lease still blocks a probe slot for
/// up to this time.
const LEASE: Duration = Duration::from_secs(10);
/// The longest delay of a first request for a lease.
const REQUEST_JITTER: Duration = Duration::from_millis(250);
/// The time for which an instance counts as busy after its last rejection of a call.
const BUSY: Duration = Duration::from_secs(2);
/// The tolerance for two computed ends of the same vote or of the same opening.
const SAME_END: Duration = Duration::from_secs(1);
/// The largest number of doublings of the time for which a half-open fleet waits for a verdict of its probes. A circuit
/// without a fleet has the same limit.
const MOST_DOUBLINGS: u32 = 5;
