//! A group caps the number of its circuits that are open at the same time.
//!
//! The file is longer than others, because all tests share the endpoints that its top defines.

mod settings;
mod shown;

use std::cell::Cell;
use std::fmt;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::state::{Mode, Reason, Snapshot};
use tower_circuit_breaker::{Circuit, Config, Failure, Group, OpenDuration, State};

use crate::rig::{admit, alice, fail, millis, no_rules, secs, state, succeed, why};

/// Circuits of one group, each of which opens at its first failure for 10 s, and closes after one probe.
struct Endpoints {
    clock: MockClock,
    group: Group,
    circuits: Vec<Circuit>,
}

fn setting(clock: &MockClock, group: &Group) -> ConfigBuilder {
    let settings = Config::builder("endpoint").clock(clock.clone()).open_for(OpenDuration::fixed(secs(10))).seed(1);
    no_rules(settings).consecutive_failures(1).probes(1).group(group)
}

fn endpoints(number: usize, share: f64, change: impl Fn(ConfigBuilder) -> ConfigBuilder) -> Endpoints {
    let (clock, group) = (MockClock::new(), Group::new("endpoints").at_most_open(share));
    let circuits = (0..number).map(|_| Circuit::new(change(setting(&clock, &group)).build().unwrap())).collect();
    Endpoints { clock, group, circuits }
}

fn four() -> Endpoints {
    endpoints(4, 0.5, |settings| settings)
}

impl Endpoints {
    /// Lets a call of each named circuit fail.
    #[track_caller]
    fn fail(&self, circuits: impl IntoIterator<Item = usize>) {
        circuits.into_iter().for_each(|at| fail(&self.circuits[at], 1));
    }

    fn states(&self) -> Vec<State> {
        self.circuits.iter().map(state).collect()
    }

    /// Returns the taken slots, the slots and the members.
    fn counts(&self) -> (u32, u32, u32) {
        (self.group.open(), self.group.open_slots(), self.group.members())
    }

    fn suppressed(&self, at: usize) -> u64 {
        self.circuits[at].totals().suppressed
    }
}

const CLOSED: State = State::Closed;
const OPEN: State = State::Open;
const HALF_OPEN: State = State::HalfOpen;

#[test]
fn at_most_half_of_the_circuits_of_a_group_open() {
    let endpoints = four();
    endpoints.fail(0..4);
    assert_eq!(endpoints.states(), [OPEN, OPEN, CLOSED, CLOSED]);
    assert_eq!(endpoints.counts(), (2, 2, 4));
    assert_eq!([0, 1, 2, 3].map(|at| endpoints.suppressed(at)), [0, 0, 1, 1]);
}

#[test]
fn a_group_always_has_one_slot_and_never_more_than_members() {
    for (number, share, opened) in [(1, 0.5, 1), (3, 0.1, 1), (3, 0.5, 1), (5, 0.5, 2), (3, 1.0, 3), (10, 0.29, 2)] {
        let endpoints = endpoints(number, share, |settings| settings);
        endpoints.fail(0..number);
        let open = endpoints.states().into_iter().filter(|state| *state == OPEN).count();
        assert_eq!(open, opened, "{share} of {number}");
    }
}

#[test]
fn a_circuit_without_a_group_opens_as_ever() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    let alone = Circuit::new(no_rules(Config::builder("alone")).consecutive_failures(1).build().unwrap());
    endpoints.fail(0..2);
    fail(&alone, 1);
    assert_eq!((state(&alone), alone.totals().suppressed, alone.status().suppressed), (OPEN, 0, None));
}

#[test]
fn a_suppressed_circuit_opens_at_the_next_failure_once_a_slot_is_free() {
    let endpoints = endpoints(2, 0.5, |settings| settings.consecutive_failures(3));
    fail(&endpoints.circuits[0], 3);
    fail(&endpoints.circuits[1], 5);
    assert_eq!((endpoints.states(), endpoints.suppressed(1)), (vec![OPEN, CLOSED], 3));
    endpoints.clock.advance(secs(10));
    succeed(&endpoints.circuits[0], 1);
    assert_eq!(endpoints.states(), [CLOSED, CLOSED], "a free slot alone opens no circuit");
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [CLOSED, OPEN]);
    assert_eq!(why(&endpoints.circuits[1]).to_string(), "failures in a row weighed 6.0, the limit is 3.0 now");
    assert_eq!(endpoints.suppressed(1), 3, "the opening itself was not suppressed");
}

/// In the outage of a whole group every failure of the other circuits meets the rule.
#[test]
fn a_suppressed_opening_writes_no_text_of_its_failure() {
    struct Refused(Cell<u32>);
    impl fmt::Display for Refused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("connection refused")
        }
    }
    let endpoints = four();
    endpoints.fail(0..2);
    let error = Refused(Cell::new(0));
    for _ in 0..100 {
        endpoints.circuits[2].try_acquire().unwrap().failure_because(Failure::hard(), &error);
    }
    assert_eq!((state(&endpoints.circuits[2]), endpoints.suppressed(2)), (CLOSED, 100));
    assert_eq!(error.0.get(), 1, "only the first failure tries to take a slot");
}

#[test]
fn a_success_ends_the_evidence_of_a_suppressed_circuit() {
    let endpoints = endpoints(2, 0.5, |settings| settings.consecutive_failures(3));
    fail(&endpoints.circuits[0], 3);
    fail(&endpoints.circuits[1], 5);
    endpoints.circuits[0].reset(&alice(), To::Closed);
    succeed(&endpoints.circuits[1], 1);
    endpoints.fail([1, 1]);
    assert_eq!(endpoints.states(), [CLOSED, CLOSED], "two failures in a row are fewer than three");
}

#[test]
fn half_open_and_a_reopening_keep_the_slot() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    endpoints.fail([0, 1]);
    endpoints.clock.advance(secs(10));
    let probe = admit(&endpoints.circuits[0]);
    assert_eq!((endpoints.states(), endpoints.group.open()), (vec![HALF_OPEN, CLOSED], 1));
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [HALF_OPEN, CLOSED], "the half-open circuit still has the slot");
    probe.failure(Failure::hard());
    assert_eq!((endpoints.states(), endpoints.group.open()), (vec![OPEN, CLOSED], 1));
    assert_eq!(endpoints.suppressed(0), 0);
}

#[test]
fn a_closing_and_a_reset_give_the_slot_back() {
    let endpoints = four();
    endpoints.fail([0, 1]);
    assert_eq!(endpoints.group.open(), 2);
    endpoints.circuits[0].reset(&alice(), To::Closed);
    assert_eq!(endpoints.group.open(), 1);
    endpoints.clock.advance(secs(10));
    succeed(&endpoints.circuits[1], 1);
    assert_eq!(endpoints.counts(), (0, 2, 4));
    endpoints.fail([2, 3]);
    assert_eq!(endpoints.states(), [CLOSED, CLOSED, OPEN, OPEN]);
}

#[test]
fn a_reset_to_half_open_keeps_the_slot_until_the_closing() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    endpoints.fail([0]);
    endpoints.circuits[0].reset(&alice(), To::HalfOpen);
    assert_eq!(endpoints.group.open(), 1);
    succeed(&endpoints.circuits[0], 1);
    assert_eq!((endpoints.states(), endpoints.group.open()), (vec![CLOSED; 2], 0));
}

#[test]
fn a_dropped_circuit_gives_its_slot_back_and_leaves() {
    let mut endpoints = four();
    endpoints.fail([0, 1]);
    let first = endpoints.circuits.remove(0);
    let in_flight = first.try_acquire().expect_err("it is open");
    drop(first);
    assert_eq!(endpoints.counts(), (2, 2, 4), "the rejection is a handle to the circuit");
    drop(in_flight);
    assert_eq!(endpoints.counts(), (1, 1, 3));
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [OPEN, CLOSED, CLOSED], "three members have one slot, which is taken");
    drop(endpoints.circuits);
    assert_eq!((endpoints.group.members(), endpoints.group.open(), endpoints.group.open_slots()), (0, 0, 1));
}

#[test]
fn members_that_leave_shrink_the_slots_and_close_no_circuit() {
    let mut endpoints = endpoints(6, 0.5, |settings| settings);
    endpoints.fail(0..3);
    endpoints.circuits.truncate(4);
    assert_eq!(endpoints.counts(), (3, 2, 4));
    assert_eq!(endpoints.states(), [OPEN, OPEN, OPEN, CLOSED]);
    endpoints.clock.advance(secs(10));
    for at in [0, 1, 2] {
        fail(&endpoints.circuits[at], 1);
    }
    assert_eq!(
        endpoints.states(),
        [OPEN, OPEN, OPEN, CLOSED],
        "their probes reopen them although the group has fewer slots"
    );
    endpoints.clock.advance(secs(10));
    succeed(&endpoints.circuits[0], 1);
    endpoints.fail([0]);
    assert_eq!(endpoints.states(), [CLOSED, OPEN, OPEN, CLOSED], "the slots that are left are taken");
}

#[test]
fn members_that_join_add_slots() {
    let mut endpoints = endpoints(2, 0.5, |settings| settings);
    endpoints.fail([0, 1]);
    assert_eq!(endpoints.states(), [OPEN, CLOSED]);
    let joined = (0..2).map(|_| Circuit::new(setting(&endpoints.clock, &endpoints.group).build().unwrap()));
    endpoints.circuits.extend(joined);
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [OPEN, OPEN, CLOSED, CLOSED]);
}

#[test]
fn an_operators_trip_neither_needs_nor_takes_a_slot() {
    let endpoints = four();
    endpoints.circuits[2].trip(&alice(), None);
    endpoints.circuits[3].trip(&alice(), None);
    assert_eq!(endpoints.group.open(), 0);
    endpoints.fail([0, 1]);
    assert_eq!(endpoints.group.open(), 2);
    endpoints.circuits[3].reset(&alice(), To::Closed);
    assert_eq!(endpoints.group.open(), 2, "a circuit without a slot gives none back");
    endpoints.circuits[3].trip(&alice(), None);
    assert!(endpoints.circuits.iter().all(Circuit::is_open), "an operator may open all circuits");
    assert_eq!(endpoints.group.open(), 2);
}

#[test]
fn an_operators_trip_of_an_open_circuit_keeps_its_slot() {
    for mode in [Mode::ForcedOpen, Mode::Disabled, Mode::Shadow] {
        let endpoints = endpoints(2, 0.5, |settings| settings);
        endpoints.fail([0]);
        match mode {
            Mode::ForcedOpen => endpoints.circuits[0].trip(&alice(), None),
            Mode::Disabled => endpoints.circuits[0].disable(&alice(), None),
            Mode::Shadow | Mode::Automatic => endpoints.circuits[0].shadow(&alice()),
        };
        endpoints.fail([1]);
        assert_eq!((endpoints.group.open(), endpoints.states()), (1, vec![OPEN, CLOSED]), "{mode}");
        endpoints.circuits[0].resume(&alice()).expect("a mode to resume");
        assert_eq!((endpoints.group.open(), endpoints.states()), (1, vec![OPEN, CLOSED]), "{mode}");
    }
}

#[test]
fn a_circuit_that_an_operator_tripped_recovers_without_a_slot() {
    let endpoints = four();
    endpoints.fail([0, 1]);
    let third = &endpoints.circuits[2];
    third.trip(&alice(), Some(secs(1)));
    endpoints.clock.advance(secs(1));
    fail(third, 1);
    assert_eq!((state(third), endpoints.group.open()), (OPEN, 2), "its failed probe reopens it without a slot");
    endpoints.clock.advance(secs(10));
    succeed(third, 1);
    assert_eq!((state(third), endpoints.group.open()), (CLOSED, 2), "it gives back no slot of others");
    endpoints.fail([2]);
    assert_eq!((state(third), endpoints.suppressed(2)), (CLOSED, 1), "its next opening needs a slot");
}

#[test]
fn a_circuit_that_an_operator_tripped_reopens_with_a_free_slot() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    endpoints.circuits[0].trip(&alice(), Some(secs(1)));
    endpoints.clock.advance(secs(1));
    fail(&endpoints.circuits[0], 1);
    assert_eq!(endpoints.group.open(), 1, "its reopening is automatic");
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [OPEN, CLOSED]);
}

#[test]
fn a_disabled_circuit_takes_no_slot_and_is_a_member() {
    let endpoints = four();
    endpoints.circuits[0].disable(&alice(), None);
    endpoints.fail([0, 0, 1, 2, 3]);
    assert_eq!((endpoints.states(), endpoints.counts()), (vec![CLOSED, OPEN, OPEN, CLOSED], (2, 2, 4)));
    assert_eq!(endpoints.suppressed(0), 0);
}

#[test]
fn a_circuit_in_shadow_takes_slots_as_in_automatic_mode() {
    let endpoints = endpoints(2, 0.5, ConfigBuilder::shadow);
    endpoints.fail([0, 1]);
    assert_eq!((endpoints.states(), endpoints.group.open()), (vec![OPEN, CLOSED], 1));
}

#[test]
fn a_failure_that_trips_at_once_is_suppressed_once() {
    for failure in [Failure::hard().trips_at_once(), Failure::hard().trips_at_once().with_retry_after(secs(60))] {
        let endpoints = endpoints(2, 0.5, ConfigBuilder::without_consecutive_failures);
        for (at, expected) in [(0, OPEN), (1, CLOSED)] {
            admit(&endpoints.circuits[at]).failure(failure);
            assert_eq!(state(&endpoints.circuits[at]), expected);
        }
        assert_eq!(endpoints.suppressed(1), 1);
    }
}

#[test]
fn a_suppressed_time_to_wait_is_a_floor_of_the_later_opening() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    endpoints.fail([0]);
    admit(&endpoints.circuits[1]).failure(Failure::hard().trips_at_once().with_retry_after(secs(60)));
    assert_eq!(endpoints.states(), [OPEN, CLOSED]);
    endpoints.circuits[0].reset(&alice(), To::Closed);
    endpoints.clock.advance(secs(1));
    endpoints.fail([1]);
    assert_eq!((state(&endpoints.circuits[1]), endpoints.circuits[1].status().retry_after), (OPEN, Some(secs(59))));
}

#[test]
fn a_late_failure_that_asks_for_no_calls_is_suppressed_too() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    let late = admit(&endpoints.circuits[1]);
    endpoints.circuits[1].reset(&alice(), To::Closed);
    endpoints.fail([0]);
    late.failure(Failure::hard().trips_at_once().with_retry_after(secs(60)));
    assert_eq!((endpoints.states(), endpoints.suppressed(1)), (vec![OPEN, CLOSED], 1));
    endpoints.circuits[0].reset(&alice(), To::Closed);
    endpoints.fail([1]);
    assert_eq!(endpoints.circuits[1].status().retry_after, Some(secs(60)));
}

#[test]
fn a_late_failure_keeps_an_open_member_open_for_longer() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    let late = admit(&endpoints.circuits[0]);
    endpoints.fail([0]);
    late.failure(Failure::hard().trips_at_once().with_retry_after(secs(60)));
    assert_eq!(endpoints.circuits[0].status().retry_after, Some(secs(60)));
    assert_eq!((endpoints.group.open(), endpoints.suppressed(0)), (1, 0));
}

#[test]
fn a_restored_opening_needs_a_slot() {
    for restored in [OPEN, HALF_OPEN] {
        let endpoints = endpoints(2, 0.5, |settings| settings);
        let mut snapshot = Snapshot::closed();
        (snapshot.state, snapshot.attempt) = (restored, 3);
        endpoints.circuits[0].adopt(&snapshot, Reason::Restored).expect("a slot is free");
        assert_eq!(endpoints.circuits[1].adopt(&snapshot, Reason::Restored), None);
        assert_eq!((endpoints.states(), endpoints.group.open()), (vec![restored, CLOSED], 1));
        let suppressed = endpoints.circuits[1].status().suppressed.expect("it was suppressed");
        assert_eq!((suppressed.reason, suppressed.openings), (Reason::Restored, 1));
        assert_eq!(endpoints.circuits[1].snapshot().attempt, 3, "the openings in a row still count");
        endpoints.circuits[1].adopt(&Snapshot::closed(), Reason::Restored);
        assert_eq!(endpoints.group.open(), 1);
    }
}

#[test]
fn a_restored_hold_holds_without_a_slot_for_the_state_beneath() {
    let endpoints = endpoints(2, 0.5, |settings| settings.recovery(Recovery::Manual));
    endpoints.fail([0]);
    let mut snapshot = Snapshot::closed();
    (snapshot.state, snapshot.mode, snapshot.held_for) = (OPEN, Mode::ForcedOpen, Some(secs(5)));
    endpoints.circuits[1].adopt(&snapshot, Reason::Restored).expect("the hold begins");
    let status = endpoints.circuits[1].status();
    assert_eq!((status.state, status.mode, status.held_for), (CLOSED, Mode::ForcedOpen, Some(secs(5))));
    endpoints.clock.advance(secs(5));
    succeed(&endpoints.circuits[1], 1);
    assert_eq!((state(&endpoints.circuits[1]), endpoints.group.open()), (CLOSED, 1));
}

#[test]
fn a_followed_opening_needs_a_slot() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    let mut snapshot = Snapshot::closed();
    snapshot.state = OPEN;
    for reason in [Reason::Followed, Reason::Fleet] {
        assert!(endpoints.circuits[0].adopt(&snapshot, reason.clone()).is_some());
        assert!(endpoints.circuits[1].adopt(&snapshot, reason.clone()).is_none());
        assert_eq!(endpoints.states(), [OPEN, CLOSED]);
        endpoints.circuits[0].adopt(&Snapshot::closed(), reason).expect("it was open");
        assert_eq!(endpoints.group.open(), 0);
    }
}

#[test]
fn evidence_goes_on_while_a_restored_opening_is_suppressed() {
    let endpoints = endpoints(2, 0.5, |settings| settings.consecutive_failures(2));
    fail(&endpoints.circuits[0], 2);
    endpoints.fail([1]);
    let mut snapshot = Snapshot::closed();
    snapshot.state = OPEN;
    let in_flight = admit(&endpoints.circuits[1]);
    assert_eq!(endpoints.circuits[1].adopt(&snapshot, Reason::Restored), None);
    endpoints.circuits[0].reset(&alice(), To::Closed);
    in_flight.failure(Failure::hard());
    assert_eq!((state(&endpoints.circuits[1]), endpoints.circuits[1].totals().stale), (OPEN, 0));
}

#[test]
fn a_health_probe_that_ends_an_opening_keeps_the_slot() {
    let endpoints = endpoints(2, 0.5, |settings| settings);
    endpoints.fail([0]);
    let mut probing = Snapshot::closed();
    probing.state = HALF_OPEN;
    endpoints.circuits[0].adopt(&probing, Reason::Followed).expect("it was open");
    assert_eq!(endpoints.group.open(), 1);
    endpoints.clock.advance(millis(1));
    succeed(&endpoints.circuits[0], 1);
    assert_eq!(endpoints.group.open(), 0);
}

#[test]
fn a_probe_without_a_verdict_closes_and_gives_the_slot_back() {
    let endpoints = endpoints(2, 0.5, |settings| settings.probe_deadline(secs(1)).cancelled_never_counts());
    endpoints.fail([0]);
    endpoints.clock.advance(secs(10));
    let first = admit(&endpoints.circuits[0]);
    first.ignore();
    admit(&endpoints.circuits[0]).ignore();
    endpoints.clock.advance(secs(2));
    admit(&endpoints.circuits[0]).ignore();
    assert_eq!((endpoints.states(), endpoints.group.open()), (vec![CLOSED, CLOSED], 0));
}

#[test]
fn two_circuits_of_one_configuration_are_two_members() {
    let (clock, group) = (MockClock::new(), Group::new("endpoints"));
    let config = setting(&clock, &group).build().unwrap();
    assert_eq!(group.members(), 0, "a configuration is no member");
    let circuits: Vec<_> = (0..4).map(|_| Circuit::new(config.clone())).collect();
    let handles = circuits.clone();
    assert_eq!((group.members(), group.open_slots()), (4, 2), "a handle is no member either");
    handles.iter().for_each(|circuit| fail(circuit, 1));
    assert_eq!(group.open(), 2);
    drop(circuits);
    assert_eq!(group.members(), 4);
    drop(handles);
    assert_eq!((group.members(), group.open()), (0, 0));
}

#[test]
fn one_circuit_in_two_layers_is_one_member() {
    use tower::Layer as _;
    let endpoints = four();
    let layer = tower_circuit_breaker::CircuitBreakerLayer::new(&endpoints.circuits[0]);
    let _services = [layer.layer(()), layer.clone().layer(())];
    assert_eq!(endpoints.group.members(), 4);
}

#[test]
fn two_groups_of_one_name_are_two_groups() {
    let clock = MockClock::new();
    let groups = [Group::new("endpoints"), Group::new("endpoints")];
    let circuits = groups.each_ref().map(|group| Circuit::new(setting(&clock, group).build().unwrap()));
    circuits.iter().for_each(|circuit| fail(circuit, 1));
    assert_eq!((circuits.map(|circuit| state(&circuit)), groups.map(|group| group.members())), ([OPEN; 2], [0, 0]));
}

#[test]
fn a_new_share_decides_about_the_next_opening() {
    let endpoints = endpoints(4, 1.0, |settings| settings);
    endpoints.fail([0, 1, 2]);
    let _same_group = endpoints.group.clone().at_most_open(0.25);
    assert_eq!(endpoints.counts(), (3, 1, 4));
    endpoints.fail([3]);
    assert_eq!(endpoints.states(), [OPEN, OPEN, OPEN, CLOSED], "no open circuit is closed, and no other opens");
    // A share that no configuration accepts still leaves between one slot and all.
    for share in [f64::NAN, -1.0, 0.0, 1.5, f64::INFINITY] {
        assert!((1..=4).contains(&endpoints.group.clone().at_most_open(share).open_slots()), "{share}");
    }
}

#[test]
fn a_spread_circuit_needs_a_slot_too() {
    let endpoints = endpoints(2, 0.5, ConfigBuilder::sharded);
    endpoints.fail([0, 1]);
    assert_eq!(endpoints.states(), [OPEN, CLOSED]);
}

#[test]
fn a_circuit_with_manual_recovery_keeps_its_slot_until_its_reset() {
    let endpoints = endpoints(2, 0.5, |settings| settings.recovery(Recovery::Manual));
    endpoints.fail([0]);
    endpoints.clock.advance(secs(100_000));
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [OPEN, CLOSED]);
    endpoints.circuits[0].reset(&alice(), To::Closed);
    endpoints.fail([1]);
    assert_eq!(endpoints.states(), [CLOSED, OPEN]);
}

#[test]
fn suppressed_openings_do_not_lengthen_the_next_opening() {
    let endpoints = endpoints(2, 0.5, |settings| settings.open_for(OpenDuration::default().jitter(0.0)));
    endpoints.fail([0]);
    (0..50).for_each(|_| endpoints.fail([1]));
    endpoints.circuits[0].reset(&alice(), To::Closed);
    endpoints.fail([1]);
    let status = endpoints.circuits[1].status();
    assert_eq!((status.attempt, status.retry_after), (1, Some(secs(5))));
}

#[test]
fn threads_that_fail_all_circuits_open_no_more_than_the_slots() {
    let endpoints = endpoints(10, 0.3, |settings| settings);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for circuit in endpoints.circuits.iter().cycle().take(500) {
                    if let Ok(permit) = circuit.try_acquire() {
                        permit.failure(Failure::hard());
                    }
                    assert!(endpoints.group.open() <= 3);
                }
            });
        }
    });
    let open = endpoints.states().iter().filter(|state| **state == OPEN).count();
    assert_eq!((open, endpoints.group.open()), (3, 3));
}
