//! The probe that a lease allows, from the grant (the right to make the probe) to the result in the record. A *turn* is
//! the use of one lease by this instance.
//!
//! | turn | the instance | next |
//! |---|---|---|
//! | `None` | has no lease | the record has a lease of this instance: `Probe`, or `Passive` if the circuit is closed |
//! | `Probe` | may make a probe, or is making the probe | the probe ends, or its era ends: `Ended` |
//! | `Passive` | counts the calls of its closed circuit as the probe | a call succeeds or fails: `Ended` |
//! | `Ended` | has a result for the record | the record has the result: `None` |
//!
//! The end of a round (half-open phase of the fleet) also ends the turn, because a result counts only in its own round.
//! A lease is requested only while the turn is `None`. If the answer to the write of a result was lost, the result is
//! written again. The result does not count twice, because the first write has ended the lease. If a lease expires
//! before a call comes, the circuit keeps its grant until another instance has a lease. Otherwise an instance with few
//! calls could not close the fleet.

use std::time::Duration;

use super::{Desk, LEASE, Now, Who};
use crate::clock::{Tick, nanos};
use crate::record::{Fleet, FleetChange, Lease};
use crate::state::{Generation, Reason, State, Transition};

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// The probe ended without a result, for example because it was cancelled or ignored.
    Without,
}

/// The use of one lease by this instance, in one round (half-open phase) of the fleet. The table at the top of this
/// file describes the variants.
#[derive(Debug, Default)]
pub(super) enum Turn {
    #[default]
    None,
    Probe {
        round: Generation,
        /// The next three fields are the half-open era (version of the state) of the circuit, and the numbers of
        /// successes and failures in this era before the grant.
        era: u64,
        successes: u32,
        failures: u32,
        granted: Tick,
        /// The start of the probe. `None` until a check has found the probe under way.
        used: Option<Tick>,
    },
    Passive {
        round: Generation,
        successes: u64,
        failures: u64,
    },
    Ended {
        round: Generation,
        outcome: Outcome,
        /// True if a call used the grant (the right to make the probe) within a second. Always true after `Passive`.
        was_soon: bool,
    },
}

impl Turn {
    /// Notes a transition of the circuit. If the transition ends the half-open era of the probe, the turn becomes
    /// `Ended`.
    pub(super) fn saw(&mut self, edge: &Transition) {
        let Self::Probe { round, era, granted, used, .. } = *self else { return };
        if edge.era <= era {
            return;
        }
        let outcome = match (&edge.reason, edge.to.state) {
            (Reason::ProbesPassed { .. } | Reason::QuietService { .. }, _) => Outcome::Passed,
            (Reason::ProbeFailed { .. } | Reason::NoSuccess { .. } | Reason::NoVerdict { .. }, State::Open) => {
                Outcome::Failed
            }
            _ => Outcome::Without,
        };
        *self = Self::ended(round, outcome, used.is_some_and(|used| is_soon(granted, used)));
    }

    const fn ended(round: Generation, outcome: Outcome, was_soon: bool) -> Self {
        Self::Ended { round, outcome, was_soon }
    }

    /// Returns the round of the fleet to which the turn belongs. `None` without a turn.
    pub(super) const fn round(&self) -> Option<Generation> {
        match self {
            Self::None => None,
            Self::Probe { round, .. } | Self::Passive { round, .. } | Self::Ended { round, .. } => Some(*round),
        }
    }

    pub(super) const fn outcome(&self) -> Option<Outcome> {
        if let Self::Ended { outcome, .. } = self { Some(*outcome) } else { None }
    }

    /// Returns true if the instance may make a probe with a lease, or is making the probe.
    pub(super) const fn is_probe(&self) -> bool {
        matches!(self, Self::Probe { .. })
    }

    /// Returns true if there is no turn, so that the instance may request a lease.
    pub(super) const fn is_free(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns true if a call used the grant within a second, and the probe passed.
    pub(super) const fn has_passed_soon(&self) -> bool {
        matches!(self, Self::Ended { was_soon: true, outcome: Outcome::Passed, .. })
    }
}

impl Desk {
    /// Begins, continues or ends the turn (the use of one lease), as the record and the circuit require.
    pub(super) fn take_turn(&mut self, fleet: &Fleet, who: &Who, now: Now) {
        if self.fleet.turn.round().is_some_and(|round| round != fleet.generation) {
            self.end_turn();
        }
        match self.fleet.turn {
            Turn::None => self.begin_turn(fleet, who, now),
            Turn::Probe { round, era, successes, failures, granted, used } => {
                let Some(seen) = self.circuit.probing().filter(|seen| seen.era == era) else {
                    // The desk has not yet read the transition that ended the era of the probe. When the desk reads the
                    // transition, `saw` ends the turn.
                    return;
                };
                let outcome = if seen.failures > failures {
                    Outcome::Failed
                } else if seen.successes > successes {
                    Outcome::Passed
                } else if seen.under_way > 0 {
                    let began = Tick::from_nanos(now.here.as_nanos().saturating_sub(nanos(seen.oldest)));
                    let used = Some(used.unwrap_or(began).max(granted));
                    self.fleet.turn = Turn::Probe { round, era, successes, failures, granted, used };
                    return;
                } else if seen.granted > 0 {
                    if self.is_overtaken(who, now) {
                        self.end_turn();
                    }
                    return;
                } else if let Some(used) = used.filter(|used| self.is_overdue(*used, now.here)) {
                    // The overdue probe has lost its slot, but can still have a result. After twice the deadline no
                    // result is expected, because the probe was perhaps cancelled. The turn then ends without a result.
                    let deadline = self.circuit.config().probes.deadline;
                    if now.here.saturating_since(used) >= deadline.saturating_mul(2) {
                        self.end_turn();
                    }
                    return;
                } else {
                    Outcome::Without
                };
                self.circuit.withhold(era);
                self.fleet.turn = Turn::ended(round, outcome, is_soon(granted, used.unwrap_or(now.here)));
            }
            Turn::Passive { round, successes, failures } => {
                let totals = self.circuit.totals();
                let outcome = if totals.failures > failures {
                    Outcome::Failed
                } else if totals.successes > successes {
                    Outcome::Passed
                } else if self.is_overtaken(who, now) || self.circuit.state() != State::Closed {
                    return self.end_turn();
                } else {
                    return;
                };
                self.fleet.turn = Turn::ended(round, outcome, true);
            }
            Turn::Ended { .. } => {}
        }
    }

    /// Begins a turn if the record has a lease of this instance. The next call of a half-open circuit may then be a
    /// probe, and a closed circuit counts its calls as the probe.
    fn begin_turn(&mut self, fleet: &Fleet, who: &Who, now: Now) {
        if !self.own_lease(who).is_some_and(|lease| lease.is_pending(now.store)) || !self.is_active() {
            return;
        }
        let round = fleet.generation;
        if let Some(seen) = self.circuit.probing() {
            if self.circuit.grant(seen.era) {
                let (era, successes, failures) = (seen.era, seen.successes, seen.failures);
                self.fleet.turn = Turn::Probe { round, era, successes, failures, granted: now.here, used: None };
            }
        } else if self.circuit.state() == State::Closed {
            let totals = self.circuit.totals();
            self.fleet.turn = Turn::Passive { round, successes: totals.successes, failures: totals.failures };
        }
    }

    /// Returns the lease of this process in the present round, or `None` if this process has no lease. Two processes
    /// can have the same instance id for a time, and must not both use the lease.
    pub(super) fn own_lease(&self, who: &Who) -> Option<&Lease> {
        let record = self.known.record();
        let is_own = record.instances.get(&who.id).is_some_and(|entry| entry.incarnation == who.incarnation);
        record.own_lease(&who.id, who.follows()).filter(|_| is_own)
    }

    /// Returns true if the lease of this instance has expired and another instance has a lease.
    fn is_overtaken(&self, who: &Who, now: Now) -> bool {
        !self.own_lease(who).is_some_and(|lease| lease.is_pending(now.store))
            && self.known.record().others_probe(&who.id, who.follows(), now.store)
    }

    /// Ends the turn without a result.
    pub(in crate::coordinator::desk) fn end_turn(&mut self) {
        if let Turn::Probe { era, .. } = self.fleet.turn {
            self.circuit.withhold(era);
        }
        self.fleet.turn = Turn::None;
    }

    /// Returns the command that reports the result of a probe to the fleet. `None` if this instance has no lease in the
    /// present round (half-open phase), because the result would then change nothing.
    pub(super) fn result(&self, outcome: Outcome, fleet: &Fleet, who: &Who, now: Now) -> Option<FleetChange> {
        let probes = self.circuit.config().probes;
        let (open_for, alone) = (self.open_again(fleet, now), who.members.is_alone);
        let (tolerated, in_flight) = (self.failures_tolerated(), probes.in_flight);
        let probes = probes.successes;
        let lease = self.own_lease(who)?;
        let is_pending = lease.is_pending(now.store);
        Some(match outcome {
            Outcome::Passed if is_pending => FleetChange::Passed { probes },
            Outcome::Failed if is_pending => FleetChange::Failed { open_for, alone, tolerated },
            Outcome::Without => FleetChange::Returned,
            Outcome::Passed | Outcome::Failed => {
                let passed = outcome == Outcome::Passed;
                FleetChange::Late { passed, probes, in_flight, open_for, alone, tolerated }
            }
        })
    }

    /// Returns the command that gives back the lease of an overdue probe. `None` if no probe is overdue, or if the
    /// lease of the probe is not pending (granted and not ended).
    pub(super) fn overdue(&self, who: &Who, now: Now) -> Option<FleetChange> {
        let Turn::Probe { used: Some(used), .. } = self.fleet.turn else { return None };
        let lease = self.own_lease(who)?;
        (self.is_overdue(used, now.here) && lease.is_pending(now.store)).then_some(FleetChange::Overdue)
    }

    /// Returns true if a probe that began at `used` has reached its deadline. A millisecond is added, because the
    /// circuit keeps the start of a probe in whole milliseconds.
    fn is_overdue(&self, used: Tick, now: Tick) -> bool {
        now.saturating_since(used).saturating_add(Duration::from_millis(1)) >= self.circuit.config().probes.deadline
    }

    /// Returns the command that extends the lease of a probe under way. `None` if no probe is under way, or if at least
    /// half of the lease is left.
    pub(super) fn renew(&self, who: &Who, now: Now) -> Option<FleetChange> {
        let Turn::Probe { used: Some(_), .. } = self.fleet.turn else { return None };
        let until = self.own_lease(who)?.until?;
        (until.since(now.store) < LEASE / 2).then_some(FleetChange::Renew { lasts: LEASE })
    }

    /// Returns the command that gives back a pending lease that this instance cannot use. `None` if there is no such
    /// lease.
    pub(super) fn give_back(&self, who: &Who, closing: bool, now: Now) -> Option<FleetChange> {
        let is_unused = match self.fleet.turn {
            Turn::None => true,
            Turn::Probe { used, .. } => closing && used.is_none(),
            Turn::Passive { .. } => closing,
            Turn::Ended { .. } => false,
        };
        let lease = self.own_lease(who)?;
        (is_unused && lease.is_pending(now.store)).then_some(FleetChange::Returned)
    }
}

fn is_soon(granted: Tick, used: Tick) -> bool {
    used.saturating_since(granted) <= SOON
}

/// A probe counts as made soon if a call makes the probe within this time after the grant (the right to make the
/// probe).
const SOON: Duration = Duration::from_secs(1);
