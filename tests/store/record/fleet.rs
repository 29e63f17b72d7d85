//! The rules of a fleet: each row of the table in `src/record/fleet/rules.rs`, and each guard.

mod leases;
mod openings;
mod results;
mod stored;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{
    CircuitRecord, Command, Effect, Fleet, FleetChange, FleetCommand, Lease, Timestamp, apply,
};
use tower_circuit_breaker::state::Generation;

use super::{NOW, read};
use crate::rig::secs;

const TEN: Duration = Duration::from_secs(10);
const FIVE: Duration = Duration::from_secs(5);

/// A record at a time of the store.
#[derive(Debug, Clone)]
struct Stored {
    record: CircuitRecord,
    now: Timestamp,
}

impl Stored {
    fn new() -> Self {
        Self { record: CircuitRecord::unknown("payments"), now: NOW }
    }

    fn of(value: &Value) -> Self {
        Self { record: read(value), now: NOW }
    }

    /// A fleet that was opened a while ago, and may probe from now on.
    fn due() -> Self {
        let mut stored = Self::new();
        assert_eq!(stored.give("a", vote(1)), Effect::Applied);
        stored.wait(FIVE);
        stored
    }

    /// A round in which the instance has a lease.
    fn round(id: &str) -> Self {
        let mut stored = Self::due();
        assert_eq!(stored.give(id, lease()), Effect::Applied);
        stored
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    fn generation(&self) -> Generation {
        self.record.fleet.as_ref().map_or(Generation::new(0), |fleet| fleet.generation)
    }

    fn state(&self) -> State {
        self.record.fleet.as_ref().map_or(State::Closed, |fleet| fleet.state)
    }

    fn fleet(&self) -> Fleet {
        self.record.fleet.clone().unwrap()
    }

    fn lease(&self, id: &str) -> Lease {
        self.record.instances[id].lease.clone().unwrap()
    }

    /// Gives the command of an instance that knows the present decision.
    fn give(&mut self, id: &str, change: FleetChange) -> Effect {
        let on = self.generation();
        self.give_on(on, id, change)
    }

    fn give_on(&mut self, on: Generation, id: &str, change: FleetChange) -> Effect {
        let before = self.record.clone();
        let effect = apply(&mut self.record, &Command::Fleet(command(on, id, change)), self.now);
        if effect != Effect::Applied {
            assert_eq!(self.record, before, "{effect:?} changes nothing");
        } else {
            let bytes = self.record.encode().unwrap();
            assert_eq!(CircuitRecord::decode("payments", &bytes, self.now).as_ref(), Ok(&self.record));
            assert!(self.record.instances[id].sequence > before.instances.get(id).map_or(0, |entry| entry.sequence));
        }
        if self.record.fleet != before.fleet {
            let fleet = self.fleet();
            assert!(fleet.generation > before.generation && fleet.generation > on, "a decision has a new number");
            let published = (self.record.state, self.record.generation, self.record.until, self.record.open_ms);
            assert_eq!(published, (fleet.state, fleet.generation, fleet.until, fleet.open_ms), "also published");
            let shown = (self.record.last_state_change, &self.record.reason, self.record.half_open_attempts);
            assert_eq!(shown, (Some(fleet.since), &fleet.reason, fleet.attempt), "also published");
            assert_eq!((&self.record.instance, fleet.since), (&fleet.instance, self.now));
        }
        effect
    }
}

fn command(on: Generation, id: &str, change: FleetChange) -> FleetCommand {
    FleetCommand {
        on,
        after: 0,
        instance: id.to_owned(),
        incarnation: format!("start-of-{id}"),
        follows: false,
        change,
    }
}

fn vote(needed: u32) -> FleetChange {
    FleetChange::Vote {
        lasts: TEN,
        needed,
        live: Some(3),
        open_for: Some(FIVE),
        attempt: 1,
        reason: "5 failures in a row".to_owned(),
    }
}

fn lease() -> FleetChange {
    lease_of(3, 1)
}

fn lease_of(probes: u32, in_flight: u32) -> FleetChange {
    FleetChange::Lease {
        lasts: TEN,
        probes,
        in_flight,
        tolerated: 0,
        quiet_after: secs(60),
        longest: secs(300),
        open_for: Some(TEN),
    }
}

const fn passed() -> FleetChange {
    FleetChange::Passed { probes: 3 }
}

const fn failed() -> FleetChange {
    FleetChange::Failed { open_for: Some(TEN), alone: false, tolerated: 0 }
}

const fn late(passed: bool) -> FleetChange {
    FleetChange::Late { passed, probes: 3, in_flight: 1, open_for: Some(TEN), alone: false, tolerated: 0 }
}

const fn unopposed() -> FleetChange {
    FleetChange::Unopposed { open_for: Some(TEN), tolerated: 0 }
}

/// A random command.
pub(super) fn change() -> impl Strategy<Value = FleetChange> {
    let time = || prop_oneof![Just(Duration::ZERO), Just(TEN), Just(Duration::MAX)];
    let few = || prop_oneof![0u32..4, Just(u32::MAX)];
    let numbers = (few(), few(), few(), proptest::option::of(few()));
    (0usize..14, time(), time(), proptest::option::of(time()), numbers, any::<bool>()).prop_map(
        |(kind, lasts, window, open_for, (probes, in_flight, attempt, live), yes)| {
            let reason = "a reason\n\"".repeat(40);
            match kind {
                0 | 1 => FleetChange::Vote { lasts, needed: probes, live, open_for, attempt, reason },
                2 => FleetChange::Merged { needed: probes, window, open_for, attempt, reason },
                3 => FleetChange::Withdraw,
                4 | 5 => FleetChange::Lease {
                    lasts,
                    probes,
                    in_flight,
                    tolerated: attempt,
                    quiet_after: window,
                    longest: window,
                    open_for,
                },
                6 => FleetChange::Renew { lasts },
                7 => FleetChange::Passed { probes },
                8 => FleetChange::Failed { open_for, alone: yes, tolerated: in_flight },
                9 => FleetChange::Unopposed { open_for, tolerated: in_flight },
                10 => FleetChange::Late { passed: yes, probes, in_flight, open_for, alone: !yes, tolerated: attempt },
                11 => FleetChange::Overdue,
                12 => FleetChange::Healthy,
                _ => FleetChange::Returned,
            }
        },
    )
}

/// The commands that need a pending lease of the instance.
fn of_a_lease() -> [FleetChange; 6] {
    [
        FleetChange::Renew { lasts: TEN },
        passed(),
        failed(),
        FleetChange::Overdue,
        FleetChange::Returned,
        FleetChange::Failed { open_for: None, alone: true, tolerated: 0 },
    ]
}

/// Every command, each in a form that changes much.
fn every_command() -> Vec<FleetChange> {
    let merged = FleetChange::Merged {
        needed: 1,
        window: TEN,
        open_for: Some(FIVE),
        attempt: 1,
        reason: "the merged rate".to_owned(),
    };
    let mut all = vec![
        vote(1),
        merged,
        FleetChange::Withdraw,
        FleetChange::Healthy,
        lease(),
        unopposed(),
        late(true),
        late(false),
    ];
    all.extend(of_a_lease());
    all
}

#[test]
fn a_command_on_another_generation_of_the_fleet_is_superseded() {
    for stored in [Stored::new(), Stored::due(), Stored::round("a")] {
        for change in every_command() {
            for on in [stored.generation().get() + 1, stored.generation().get().wrapping_sub(1)] {
                let effect = stored.clone().give_on(Generation::new(on), "a", change.clone());
                assert_eq!(effect, Effect::Superseded, "{change:?}");
            }
        }
    }
}

#[test]
fn a_hold_of_an_operator_supersedes_every_command() {
    let at = NOW.as_millis();
    for (act, mode, is_held) in
        [("trip", "forced_open", true), ("disable", "disabled", true), ("shadow", "shadow", false)]
    {
        let operator = json!({"sequence": at, "act": act, "mode": mode, "until": at + 60_000, "at": at});
        for stored in [Stored::new(), Stored::due(), Stored::round("a")] {
            let mut held = stored.clone();
            held.record.operator = read(&json!({"state": "closed", "operator": operator})).operator;
            for change in every_command() {
                let expected = if is_held { Effect::Superseded } else { stored.clone().give("a", change.clone()) };
                assert_eq!(held.clone().give("a", change.clone()), expected, "{act}: {change:?}");
            }
        }
    }
}

#[test]
fn a_record_of_a_later_version_and_an_id_of_no_entry_take_no_command() {
    let mut later = Stored::of(&json!({"version": 2, "state": "closed"}));
    let mut present = Stored::new();
    for change in every_command() {
        assert_eq!(later.give("a", change.clone()), Effect::Unwritable);
        for id in ["", "a\nb", "i".repeat(201).as_str()] {
            assert_eq!(present.give(id, change.clone()), Effect::Unwritable, "{id:?}");
        }
    }
}

#[test]
fn new_numbers_are_higher_than_any_that_the_instance_has_proposed() {
    let mut stored = Stored::new();
    let after = NOW.as_millis() + 5_000;
    let command = FleetCommand { after, ..command(Generation::new(0), "a", vote(1)) };
    assert_eq!(apply(&mut stored.record, &Command::Fleet(command.clone()), NOW), Effect::Applied);
    assert_eq!((stored.generation().get(), stored.record.instances["a"].sequence), (after + 1, after + 1));
    let far = FleetCommand { after: u64::MAX - 9, on: stored.generation(), change: lease(), ..command };
    stored.wait(TEN);
    assert_eq!(apply(&mut stored.record, &Command::Fleet(far), stored.now), Effect::Unwritable, "no reader accepts it");
}
