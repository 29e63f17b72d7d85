//! A member of the fleet: a small desk that chooses commands by what it knows.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{
    CircuitRecord, Command, Effect, FleetChange, FleetCommand, Lease, Timestamp, apply, join,
};
use tower_circuit_breaker::state::Generation;

use super::truth::Truth;
use super::{Content, LEASE_MS, PROBES, QUIET_MS, VOTE_MS, generation, state};
use crate::dice::Dice;

/// A write that a member proposes.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) who: usize,
    pub(super) at: u64,
    pub(super) record: CircuitRecord,
    /// The requested change. `None` for a member that only writes back what the register has lost.
    pub(super) change: Option<FleetChange>,
    /// The probe whose result the write has.
    pub(super) probe: Option<Probe>,
}

/// A probe, or its result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) id: u64,
    pub(super) round: u64,
    ends: u64,
    /// The time until which the member holds the result back.
    held_until: u64,
    passes: bool,
    deadline: u64,
}

#[derive(Debug)]
pub(super) struct Member {
    id: usize,
    in_flight: u32,
    tolerated: u32,
    count: u64,
    pub(super) start: u64,
    pub(super) is_bad: bool,
    /// True if a copy of the record has replaced a newer decision that the member knew.
    pub(super) has_forgotten: bool,
    known: CircuitRecord,
    pub(super) etag: Option<u64>,
    is_loaded: bool,
    /// True if the register lacks something that the member knows.
    is_behind: bool,
    after: u64,
    /// True while a write is under way.
    pub(super) waits: bool,
    until: u64,
    /// The last opening on evidence of its own.
    opened_at: Option<u64>,
    probes: Vec<Probe>,
    /// The end of the lease that was used for a probe last.
    used: (u64, u64),
}

impl Member {
    pub(super) fn new(id: usize, in_flight: u32, tolerated: u32, count: u64) -> Self {
        Self {
            id,
            in_flight,
            tolerated,
            count,
            start: 0,
            is_bad: false,
            has_forgotten: false,
            known: CircuitRecord::unknown("payments"),
            etag: None,
            is_loaded: false,
            is_behind: false,
            after: 0,
            waits: false,
            until: 0,
            opened_at: None,
            probes: Vec::new(),
            used: (0, 0),
        }
    }

    pub(super) fn crash(&mut self) {
        let (start, is_bad) = (self.start + 1, self.is_bad);
        *self = Self { start, is_bad, ..Self::new(self.id, self.in_flight, self.tolerated, self.count) };
    }

    /// Returns true if the member can load: after an answer that was lost, and before its first write.
    pub(super) fn is_ready(&self, now: u64) -> bool {
        if self.waits { now >= self.until } else { true }
    }

    pub(super) fn load(&mut self, register: &Content, now: u64) {
        // A member also works with an older copy for some time.
        if self.waits || !self.is_loaded || now >= self.until {
            self.answered(register);
            self.until = now + 1_000;
        }
    }

    pub(super) fn sends(&mut self, now: u64) {
        (self.waits, self.until) = (true, now + 2_000);
    }

    pub(super) fn answered(&mut self, register: &Content) {
        (self.waits, self.is_loaded) = (false, true);
        self.etag = register.as_ref().map(|(etag, _)| *etag);
        if let Some((_, record)) = register {
            let joined = join(&self.known, record);
            self.has_forgotten |= generation(&joined) < generation(&self.known);
            self.known = joined;
        }
        let stored = register.as_ref().map(|(_, record)| record);
        self.is_behind = stored.is_some_and(|stored| *stored != self.known)
            || stored.is_none() && self.known.updated_at != Timestamp::default();
    }

    fn name(&self) -> String {
        format!("node-{}", self.id)
    }

    fn own_lease(&self) -> Option<&Lease> {
        let round = Generation::new(generation(&self.known));
        self.known.instances.get(&self.name())?.lease.as_ref().filter(|lease| lease.round == round)
    }

    fn is_pending(&self, now: u64) -> bool {
        self.own_lease().and_then(|lease| lease.until).is_some_and(|until| until.as_millis() > now)
    }

    /// Chooses a command, and applies it to the known record.
    pub(super) fn act(
        &mut self,
        now: u64,
        is_up: bool,
        faulty: bool,
        dice: &mut Dice,
        truth: &mut Truth,
    ) -> Option<Proposal> {
        self.probe(now, is_up, faulty, dice);
        if self.waits {
            return None;
        }
        if self.is_behind {
            return Some(Proposal { who: self.id, at: now, record: self.known.clone(), change: None, probe: None });
        }
        let (on, change, probe) = self.choose(now, is_up, faulty, dice)?;
        let command = FleetCommand {
            on: Generation::new(on),
            after: self.after,
            instance: self.name(),
            incarnation: format!("start-{}", self.start),
            follows: false,
            change: change.clone(),
        };
        let mut record = self.known.clone();
        if apply(&mut record, &Command::Fleet(command), Timestamp::from_millis(now)) != Effect::Applied {
            // A result that cannot count is dropped. Sometimes its member tries again.
            if faulty && dice.chance(50) {
                return None;
            }
            self.probes.retain(|other| probe.is_none_or(|probe| probe.id != other.id || probe.ends > now));
            return None;
        }
        if let FleetChange::Vote { .. } = change {
            truth.voted(self.id, on, now);
        }
        let sequence = record.instances[&self.name()].sequence;
        self.after = self.after.max(generation(&record)).max(sequence);
        Some(Proposal { who: self.id, at: now, record, change: Some(change), probe })
    }

    /// Begins a probe if a lease allows one.
    fn probe(&mut self, now: u64, is_up: bool, faulty: bool, dice: &mut Dice) {
        let round = generation(&self.known);
        let Some(until) = self.own_lease().and_then(|lease| lease.until).map(Timestamp::as_millis) else { return };
        let is_used = self.used == (round, until) || self.probes.iter().any(|probe| probe.round == round);
        if self.known.fleet.is_none() || is_used || !dice.chance(60) {
            return;
        }
        self.used = (round, until);
        let length = match dice.roll(20) {
            0 => 15_000,
            1 if faulty => 40_000,
            2..5 => 2_000,
            _ => 50,
        };
        let ends = now + dice.roll(length);
        let held_until = if faulty && dice.chance(20) { ends + dice.roll(40_000) } else { ends };
        self.probes.push(Probe { id: dice.next(), round, ends, held_until, passes: is_up, deadline: now + 20_000 });
    }

    fn choose(
        &mut self,
        now: u64,
        is_up: bool,
        faulty: bool,
        dice: &mut Dice,
    ) -> Option<(u64, FleetChange, Option<Probe>)> {
        let present = generation(&self.known);
        let (alone, open_for) = (self.count == 1, Some(Duration::from_secs(5)));
        self.forget_done();
        // Results come first, and are tried in any order.
        let place = usize::try_from(dice.roll(self.probes.len() as u64)).unwrap();
        if let Some(&probe) = self.probes.get(place) {
            // The member looked at its lease some time ago.
            let looked = if faulty && dice.chance(20) { now - dice.roll(8_000) } else { now };
            let pending = self.is_pending(looked);
            if now >= probe.held_until {
                let tolerated = self.tolerated;
                let change = match (pending, probe.passes) {
                    _ if faulty && dice.chance(5) => FleetChange::Returned,
                    (true, true) => FleetChange::Passed { probes: PROBES },
                    (true, false) => FleetChange::Failed { open_for, alone, tolerated },
                    (false, passed) => FleetChange::Late {
                        passed,
                        probes: PROBES,
                        in_flight: self.in_flight,
                        open_for,
                        alone,
                        tolerated,
                    },
                };
                return Some((probe.round, change, Some(probe)));
            }
            if pending && probe.round == present && now < probe.ends && dice.chance(70) {
                let change = if now >= probe.deadline {
                    FleetChange::Overdue
                } else {
                    FleetChange::Renew { lasts: Duration::from_millis(LEASE_MS) }
                };
                return Some((present, change, Some(probe)));
            }
        }
        // A health probe can succeed at any time, and the knowledge of its instance can be old.
        if is_up && dice.chance(3) {
            return Some((present, FleetChange::Healthy, None));
        }
        let lease = || FleetChange::Lease {
            lasts: Duration::from_millis(LEASE_MS),
            probes: PROBES,
            in_flight: self.in_flight,
            tolerated: self.tolerated,
            quiet_after: Duration::from_millis(QUIET_MS),
            longest: Duration::from_secs(300),
            open_for,
        };
        // The result of the last probe ends the lease of this probe only. A member that requested the next lease before it knew
        // the end of the result could send the result twice.
        let is_free = self.probes.iter().all(|probe| probe.round != present);
        let has_failed = self.own_lease().is_some_and(|lease| lease.failed_at.is_some());
        match state(&self.known) {
            State::Closed if !is_up && faulty && dice.chance(30) => {
                let opened_at = *self.opened_at.get_or_insert(now);
                let left = (opened_at + VOTE_MS).saturating_sub(now);
                if left == 0 {
                    self.opened_at = None;
                }
                let needed = u32::try_from(self.count.min(2)).unwrap();
                let change = FleetChange::Vote {
                    lasts: Duration::from_millis(left),
                    needed,
                    live: None,
                    open_for,
                    attempt: 1,
                    reason: "the service is down".to_owned(),
                };
                Some((present, change, None))
            }
            State::Closed if is_up && self.opened_at.take().is_some() => Some((present, FleetChange::Withdraw, None)),
            State::HalfOpen if has_failed && dice.chance(50) => {
                Some((present, FleetChange::Unopposed { open_for, tolerated: self.tolerated }, None))
            }
            // The end of a forced opening also begins a round.
            State::Closed => dice.chance(20).then(|| (present, lease(), None)),
            State::Open | State::HalfOpen => (is_free && dice.chance(60)).then(|| (present, lease(), None)),
        }
    }

    /// Forgets results of earlier rounds, late enough that the register must fence them.
    fn forget_done(&mut self) {
        if self.probes.len() > 3 {
            self.probes.remove(0);
        }
    }
}
