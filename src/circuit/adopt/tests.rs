//! Tests of the wait for a restore, and of the transitions since an era.

use std::time::Duration;

use super::super::{Peek, To};
use super::*;
use crate::config::{Config, OpenDuration};
use crate::outcome::{Failure, Outcome};
use crate::state::{By, State};

fn circuit() -> Circuit {
    let open_for = OpenDuration::fixed(Duration::from_secs(60));
    Circuit::new(Config::builder("orders").consecutive_failures(1).open_for(open_for).build().expect("they are valid"))
}

fn by() -> By {
    By::new("alice", "a test").expect("it is valid")
}

#[test]
fn a_call_without_a_poll_for_readiness_does_not_wait_for_a_restore() {
    let circuit = circuit();
    circuit.await_restore();
    assert_eq!((circuit.peek(), circuit.status().retry_after), (Peek::AwaitsRestore, None));
    circuit.try_acquire().expect("it is closed").success();
    circuit.try_acquire().expect("it is closed").failure(Failure::hard());
    assert!(circuit.try_acquire().is_err(), "the circuit opens as ever");
    assert!(circuit.status().retry_after.is_some(), "the time until the next probe is known");
    assert_eq!(circuit.totals().stale, 0);
    assert_eq!(circuit.peek(), Peek::AwaitsRestore, "no transition ends the wait");
    circuit.restored();
    assert!(matches!(circuit.peek(), Peek::Rejecting(Some(_))));
    circuit.reset(&by(), To::Closed);
    assert_eq!(circuit.peek(), Peek::MayPass, "a reset does not begin the wait again");
}

#[test]
fn the_wait_begins_and_ends_within_an_era() {
    let circuit = circuit();
    let before = circuit.try_acquire().expect("it is closed");
    circuit.await_restore();
    circuit.await_restore();
    let between = circuit.try_acquire().expect("it is closed");
    circuit.restored();
    circuit.restored();
    before.success();
    assert_eq!(circuit.totals().successes, 1);
    between.failure(Failure::hard());
    assert_eq!((circuit.status().state, circuit.status().era, circuit.totals().stale), (State::Open, 2, 0));
}

#[test]
fn a_transition_decided_before_the_wait_changed_is_not_lost() {
    let circuit = circuit();
    for change in [Circuit::await_restore, Circuit::restored] {
        circuit.reset(&by(), To::Closed);
        let seen = circuit.inner().load();
        change(&circuit);
        let reason = Reason::ProbesPassed { successes: 1, half_open_for: Duration::ZERO };
        circuit.inner().trip(seen, circuit.inner().now(), reason, || None);
        assert_eq!(circuit.status().state, State::Open);
    }
}

#[test]
fn an_error_of_readiness_counts_while_a_restore_is_awaited() {
    let circuit = circuit();
    circuit.await_restore();
    circuit.record_ready_error(Outcome::failure(), crate::circuit::Text::NONE);
    assert_eq!(circuit.status().state, State::Open);
    circuit.record_ready_error(Outcome::failure(), crate::circuit::Text::NONE);
    assert_eq!(circuit.totals().rejected, 0, "no call was made");
}

#[cfg(feature = "store")]
#[test]
fn transitions_since_an_era_are_oldest_first_and_the_forgotten_are_counted() {
    let circuit = circuit();
    assert_eq!((circuit.status().era, circuit.transitions_since(0)), (1, (Vec::new(), 0)));
    for _ in 0..2 {
        circuit.reset(&by(), To::Closed);
    }
    let eras = |since| {
        let (edges, forgotten) = circuit.transitions_since(since);
        (edges.iter().map(|edge| edge.era).collect::<Vec<_>>(), forgotten)
    };
    assert_eq!([eras(0), eras(1), eras(2)], [(vec![2, 3], 0), (vec![2, 3], 0), (vec![3], 0)]);
    assert_eq!([eras(3), eras(77), eras(u64::MAX - 1)], [(vec![], 0), (vec![], 0), (vec![], 0)]);
    for _ in 0..128 {
        circuit.reset(&by(), To::Closed);
    }
    assert_eq!(eras(1), ((4..=131).collect(), 2), "two and three are forgotten");
    assert_eq!(eras(2).1, 1);
    assert_eq!(eras(3), ((4..=131).collect(), 0));
    assert_eq!((eras(130), circuit.status().era), ((vec![131], 0), 131));
}

#[cfg(feature = "store")]
#[test]
fn a_stamp_changes_the_generation_and_nothing_else() {
    let circuit = circuit();
    circuit.try_acquire().expect("it is closed").success();
    let in_flight = circuit.try_acquire().expect("it is closed");
    let mut expected = circuit.status();
    circuit.stamp(Generation::new(7));
    let mut after = circuit.status();
    expected.generation = Generation::new(7);
    (expected.since, after.since) = (Duration::ZERO, Duration::ZERO);
    assert_eq!(after, expected);
    in_flight.success();
    assert_eq!(circuit.totals().stale, 0);
    assert!(circuit.now() > Tick::ZERO);
}
